"""What an answer, or the lack of one, means for a call: an outcome, another attempt, or the end of the run."""

import email.utils
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import ModelError
from pipeline.llm.body import Call, list_of
from pipeline.llm.broken import Broken
from pipeline.llm.lists import require_answer
from pipeline.llm.models import ModelSpec
from pipeline.llm.reading import Reading, error_fields, error_message, read_error, read_reply
from pipeline.llm.request import Kind
from pipeline.llm.servers import normalised

_TRANSIENT = {408, 409, 425, 429}
_OF_THE_INPUT = {400, 413, 422}

_FILTER_CODES = {"content_filter", "content_policy_violation", "data_inspection_failed", "1301"}
"""OpenAI, Azure and Moonshot; OpenAI (images, some gateways); DashScope; Zhipu."""

_NO_CREDIT = {"insufficient_quota", "billing_hard_limit_reached", "exceeded_current_quota_error", "arrearage", "1113"}
"""Sent as 429 or 400 although waiting does not help. OpenAI (both), Moonshot, DashScope, Zhipu."""

_WRONG_MODEL = {"model_not_found", "model_not_exist", "invalid_model", "deploymentnotfound", "1211"}
_WRONG_PARAMETER = {"unknown_parameter", "unsupported_parameter", "unsupported_value", "1210"}

_MODEL_WORDS = re.compile(
    r"model[^.]{0,80}(does not exist|not exist|not found|is not supported|unknown)|(unknown|invalid|no such) model",
    re.I,
)
_PARAMETER_WORDS = re.compile(
    r"(unknown|unrecognized|unrecognised|unsupported|unexpected|extra) (request )?(parameter|argument|field|input|key)"
    r"|extra_forbidden|(parameter|argument) ?:? ?'?\w*'? is (not supported|unsupported|unknown)",
    re.I,
)

_TOO_LONG = re.compile(r"(input|text|prompt|sequence)\b[^.]{0,60}\b(too (large|long)|exceeds)|too many tokens", re.I)
"""What llama.cpp says with a 500 of a text that its embedding model cannot take; it would say so each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back over the wire: status, lower-case headers, and the body without the key should it hold it."""

    status: int
    headers: Mapping[str, str]
    body: str


class NoAnswer(Exception):
    """Nothing whole came back.

    Attributes:
        paid: True when the server may have worked on the call (a timeout or a connection that broke), so that it may
            be on the bill; False when it was never reached.
    """

    def __init__(self, reason: str, *, paid: bool) -> None:
        super().__init__(reason)
        self.paid = paid


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Another attempt is due.

    Attributes:
        why: a few words for reports.
        limited: the server said that we ask too much (429).
        down: the server was not there, did not answer in time, or met an error of its own (5xx).
        wait: seconds it wants to be left alone, or None when it does not say.
        paid: the attempt may be on the bill.
    """

    why: str
    limited: bool = False
    down: bool = False
    wait: float | None = None
    paid: bool = False


Verdict = Reading | Again | ModelError
"""A final outcome, another attempt, or the endpoint's refusal of all we ask."""


def judge(spec: ModelSpec, answer: Answer, call: Call | None = None) -> Verdict:
    """What an answer means.

    Args:
        spec: the model that was asked.
        answer: what came back.
        call: what was asked, so that a reply of another kind or with too few results is none; None to take any.
    """
    if answer.status == 200:
        try:
            reading = read_reply(answer.body)
            if call is not None:
                require_answer(list_of(call), len(reading.vectors), len(reading.moderations))
            return reading
        except Broken as error:
            return Again(why=str(error), paid=True)
    fields = error_fields(answer.body)
    asked = None if call is None else list_of(call)
    if asked is not None and answer.status in (404, 405, 501):
        return _not_served(spec, answer, asked[0])
    if asked is not None and answer.status == 500 and _TOO_LONG.search(error_message(answer.body)):
        return read_error(answer.body, "refused")
    codes = {str(fields.get(name)).lower() for name in ("code", "type") if fields.get(name) is not None}
    if codes & _NO_CREDIT or answer.status == 402:
        return _refusal(spec, answer, "the account has no credit left", "top it up, or use another key or model")
    if answer.status in _TRANSIENT or answer.status >= 500:
        limited = answer.status == 429
        down = answer.status >= 500
        return Again(why=f"HTTP {answer.status}", limited=limited, down=down, wait=retry_after(answer.headers))
    if answer.status in _OF_THE_INPUT:
        return _about_input(spec, answer, codes)
    return _of_endpoint(spec, answer)


def _about_input(spec: ModelSpec, answer: Answer, codes: set[str]) -> Verdict:
    """A 400 concerns this input, unless it says that the model or a parameter is unknown."""
    message = error_message(answer.body)
    inner = error_fields(answer.body).get("innererror")
    if codes & _FILTER_CODES or (isinstance(inner, dict) and "ContentFilter" in str(inner.get("code"))):
        return read_error(answer.body, "content_filter")
    if codes & _WRONG_MODEL or _MODEL_WORDS.search(message):
        return _unknown_model(spec, answer)
    if codes & _WRONG_PARAMETER or _PARAMETER_WORDS.search(message):
        hint = f"leave it out with 'extra_body: {{name: null}}' in models.{spec.role} of the recipe"
        return _refusal(spec, answer, "a parameter is not accepted", hint)
    return read_error(answer.body, "refused")


def _of_endpoint(spec: ModelSpec, answer: Answer) -> ModelError:
    if answer.status in (401, 403):
        name = spec.api_key_env or "LLM_API_KEY"
        what = f"the key in {name} is refused" if spec.api_key() else f"a key is asked for and {name} is not set"
        return _refusal(spec, answer, what, f"set {name}, in the environment or in .env, to a key of that server")
    if answer.status == 404:
        return _unknown_model(spec, answer)
    hint = "is this the base URL of a server that speaks the OpenAI protocol? It usually ends in /v1"
    return _refusal(spec, answer, "the call is refused", hint)


def _unknown_model(spec: ModelSpec, answer: Answer) -> ModelError:
    setting = "LLM_MODEL" if spec.role == "default" else f"models.{spec.role}.model in the recipe"
    hint = f"check {setting}, and that the base URL is right (it usually ends in /v1)"
    return _refusal(spec, answer, f"there is no model '{spec.model}'", hint)


def _not_served(spec: ModelSpec, answer: Answer, kind: Kind) -> ModelError:
    """Many servers of the protocol have no embeddings, and nearly all no moderations."""
    hint = f"name one that does in the recipe's 'models:', and that role as the entry's 'model'; not all have /{kind}"
    return _refusal(spec, answer, f"there are no {kind} of the model '{spec.model}'", hint)


def _refusal(spec: ModelSpec, answer: Answer, what: str, hint: str) -> ModelError:
    said = error_message(answer.body)
    where = normalised(spec.base_url)
    return ModelError(f"{where}: {what} (role {spec.role}, HTTP {answer.status}{f': {said}' if said else ''})", hint)


def nobody_there(spec: ModelSpec, reason: str) -> ModelError:
    """The error of an endpoint that never answered at all."""
    hint = "start the server, or check LLM_BASE_URL (for a role of its own: models.<role>.base_url) and HTTPS_PROXY"
    return ModelError(f"{normalised(spec.base_url)}: nobody answers there (role {spec.role}: {reason})", hint)


def down_for(spec: ModelSpec, seconds: float, why: str) -> ModelError:
    """The error of an endpoint that had answered and then was down for longer than a call is worth waiting for."""
    hint = "run the same command again when it is back; finished calls are kept"
    return ModelError(
        f"{normalised(spec.base_url)} has not answered for {seconds / 60:.0f} min (role {spec.role}: {why})", hint
    )


def left_alone(spec: ModelSpec, seconds: float, why: str) -> ModelError:
    """The error of an endpoint that wants to be left alone for longer than a call is worth waiting for."""
    hint = "run the same command again then; finished calls are kept"
    return ModelError(
        f"{normalised(spec.base_url)} asks to be left alone for {seconds / 60:.0f} min (role {spec.role}: {why})", hint
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a server wants to be left alone: `retry-after-ms`, or `retry-after` in seconds or as an HTTP date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            when = email.utils.parsedate_tz(value)
            if when is None:
                continue
            seconds = email.utils.mktime_tz(when) - time.time()
        if seconds == seconds and seconds < float("inf"):
            return max(0.0, seconds)
    return None
