"""A request as the ledger knows it (its key) and as the wire carries it (its body)."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UsageError
from pipeline.llm.models import ModelSpec
from pipeline.llm.request import Kind, Request
from pipeline.record import Message

PATHS: dict[Kind, str] = {
    "chat": "/chat/completions",
    "completion": "/completions",
    "embeddings": "/embeddings",
    "moderations": "/moderations",
}

_WITH_LIST = re.compile(r'\{"endpoint":"(?:[^"\\]|\\.)*","input":')
"""How the document of a call with a list begins, its keys being sorted."""

LISTS: tuple[Kind, ...] = ("embeddings", "moderations")
"""Kinds that ask something about each text of a list (`input`), and use no completion tokens."""

_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_canonical_ascii = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one entry, before anything is known of its reply. Picklable and free of secrets.

    Attributes:
        key: sha256 of `document`, 64 hexadecimal digits; equal keys are the same call.
        document: canonical JSON of everything that decides the reply and nothing else: logical endpoint, kind, model,
            messages, prompt or input, params, tools, response_format, sample, and samples when there are several. The
            wire's body is made from it.
        role: which model is asked.
        entry: the recipe entry that asks.
    """

    key: str
    document: str
    role: str
    entry: str


def compose(spec: ModelSpec, request: Request, entry: str) -> Call:
    """The call that a request is, for this model.

    Parameters are the request's own over the model's max_tokens (which lists of texts have no use for), under the
    model's extra_body. Numbers that are equal
    are written alike (0.0 is 0), so that a recipe's spelling does not matter.

    Raises:
        UsageError: the request holds something that is not JSON.
    """
    kind = request.kind
    document: dict[str, Any] = {
        "endpoint": spec.endpoint,
        "kind": kind,
        "model": spec.model,
        "params": _params(spec, request.params, limited=kind not in LISTS),
        "sample": request.sample,
    }
    if request.samples > 1:
        document["samples"] = request.samples
    if kind in LISTS:
        document["input"] = list(request.texts)
    elif kind == "chat":
        document["messages"] = [_wire_message(m) for m in request.messages]
    else:
        document["prompt"] = request.prompt
    if request.tools:
        document["tools"] = list(request.tools)
    if request.response_format is not None:
        document["response_format"] = request.response_format
    try:
        text = _canonical(document)
        data = text.encode()
    except UnicodeEncodeError:  # half a character in somebody's data
        text = _canonical_ascii(document)
        data = text.encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"entry {entry}: a request to the model '{spec.model}' is not JSON: {error}") from error
    return Call(hashlib.sha256(data).hexdigest(), text, request.role, entry)


def _params(spec: ModelSpec, own: Mapping[str, Any], *, limited: bool) -> dict[str, Any]:
    params = {} if spec.max_tokens is None or not limited else {"max_tokens": spec.max_tokens}
    params |= own
    params |= spec.extra_body
    return {
        name: int(value) if type(value) is float and value.is_integer() else value
        for name, value in params.items()
        if value is not None
    }


def _wire_message(message: Message) -> dict[str, Any]:
    """A message as OpenAI writes it; weights are for trainers, and thinking is never sent back."""
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls is not None:
        wire["tool_calls"] = json.loads(message.tool_calls)
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        wire["name"] = message.name
    return wire


def wire_body(spec: ModelSpec, call: Call) -> tuple[str, bytes]:
    """Path below the base URL and JSON body; equal for equal calls, whatever sends them.

    The server's profile renames and drops parameters here, so a better profile changes no ledger key. Repeated askings
    of one question (sample 1 and on) get a seed from their key, in place of the request's own: else a server that is
    given the same body, or a cache before it, could only say the same again. An embedded model that is given no seed
    gets one for sample 0 too: its replies are then reproducible.
    """
    document = json.loads(call.document)
    kind: Kind = document["kind"]
    params = document["params"]
    forced = {name: params.pop(name) for name in spec.extra_body if name in params}
    if kind in LISTS:
        return PATHS[kind], _compact(_list_body(spec, document, forced)).encode("utf-8", "replace")
    if document["sample"] or (spec.local_sha256 is not None and "seed" not in params):
        params["seed"] = int(call.key[:7], 16)
    server, chat = spec.kind, kind == "chat"
    if "samples" in document and (most := server.rule("samples", spec.model)) > 1:
        params["n"] = min(document["samples"], most)
    if spec.token_param is not None and "max_tokens" in params:
        params[spec.token_param] = params.pop("max_tokens")
    params = server.fitted(params, spec.model, chat=chat)
    wanted = server.fitted_format(document.get("response_format"), spec.model) if chat else None
    if wanted is not None:
        params["response_format"] = wanted
    params = {name: value for name, value in params.items() if name not in spec.extra_body} | forced
    body: dict[str, Any] = {"model": spec.model}
    for part in ("messages", "prompt"):
        if part in document:
            body[part] = document[part]
    last = {name: params.pop(name) for name in ("response_format",) if name in params}
    body |= dict(sorted(params.items()))
    if "tools" in document:
        body["tools"] = document["tools"]
    return PATHS[kind], _compact(body | last).encode("utf-8", "replace")


def _list_body(spec: ModelSpec, document: Mapping[str, Any], forced: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a call with a list; vectors are asked for in base64, a third of their size, where that is known."""
    params = dict(document["params"])
    if document["kind"] == "embeddings" and spec.kind.rule("base64", spec.model):
        params["encoding_format"] = "base64"
    params = {name: value for name, value in params.items() if name not in spec.extra_body}
    params |= forced
    return {"model": spec.model, "input": document["input"]} | dict(sorted(params.items()))


def list_of(call: Call) -> tuple[Kind, int] | None:
    """What a call asks of how many texts; None for a call that wants a reply, which is told without parsing it."""
    if not _WITH_LIST.match(call.document):
        return None
    document = json.loads(call.document)
    return document["kind"], len(document["input"])


def token_bound(call: Call) -> int:
    """A rough guess at what a call will use, for tokens-per-minute limits: a token per 4 bytes, and max_tokens each."""
    document = json.loads(call.document)
    if document["kind"] in LISTS:
        return len(call.document.encode("utf-8", "replace")) // 4
    limit = document["params"].get("max_tokens", 512)
    each: int = limit if isinstance(limit, int) else 512
    return len(call.document.encode("utf-8", "replace")) // 4 + each * int(document.get("samples", 1))
