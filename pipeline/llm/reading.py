"""What a server's reply says: text, thinking, how it ended and what it used."""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from pipeline.llm.broken import Broken
from pipeline.llm.lists import read_moderations, read_vectors
from pipeline.llm.request import Moderation, OutcomeKind, Reply

_FILTERED = {"content_filter", "sensitive"}
"""Finish reasons of a reply withheld or cut by a content filter; `sensitive` is Zhipu's."""

_INTERRUPTED = {"network_error", "insufficient_system_resource", "error", "abort", "cancelled"}
"""Finish reasons of a reply that is not whole through the server's fault (Zhipu, DeepSeek, vLLM): asked again."""

_USAGE: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("prompt_tokens", (("prompt_tokens", ""),)),
    ("completion_tokens", (("completion_tokens", ""),)),
    (
        "cached_tokens",
        (("prompt_tokens_details", "cached_tokens"), ("prompt_cache_hit_tokens", ""), ("cached_tokens", "")),
    ),
    ("reasoning_tokens", (("completion_tokens_details", "reasoning_tokens"), ("reasoning_tokens", ""))),
)
"""Where a reply's `usage` tells what (a name, or one within another); the first that is there counts. Cached tokens:
OpenAI, Azure, vLLM, llama.cpp, DashScope, Zhipu and newer DeepSeek; DeepSeek; Moonshot. Ollama and LM Studio tell
none."""

_LONE_CLOSING = re.compile(r"</think>[ \t]*(?=\n|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reply says, apart from whose it is.

    Attributes:
        cached_tokens: of the prompt, served from the server's cache.
        reasoning_tokens: of the completion, spent on thinking.
        logprobs: the text's tokens with their log probabilities.
        vectors, moderations: of each text of a list, see Reply.
        others: further samples, without tokens of their own.
    """

    text: str
    thinking: str | None = None
    finish_reason: str = "stop"
    outcome: OutcomeKind = "ok"
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    logprobs: tuple[tuple[str, float], ...] = ()
    vectors: tuple[bytes, ...] = ()
    moderations: tuple[Moderation, ...] = ()
    others: "tuple[Reading, ...]" = ()

    def reply(self, key: str, *, reused: bool) -> Reply:
        """The reply to the call of that key."""
        return Reply(
            key=key,
            text=self.text,
            thinking=self.thinking,
            finish_reason=self.finish_reason,
            outcome=self.outcome,
            model=self.model,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            reasoning_tokens=self.reasoning_tokens,
            logprobs=self.logprobs,
            vectors=self.vectors,
            moderations=self.moderations,
            reused=reused,
            others=tuple(other.reply(key, reused=reused) for other in self.others),
        )


def read_reply(body: str) -> Reading:
    """Read the body of an HTTP 200, of a call of any kind: its shape tells which.

    Raises:
        Broken: no JSON, none of what calls ask for, an error in place of it, or a reply the server did not finish.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Broken("a body that is not JSON") from error
    if not isinstance(data, dict):
        raise Broken("a body without choices")
    model = str(data.get("model") or "")
    if "choices" not in data and (listed := _list(data)) is not None:
        return replace(listed, model=model)
    if not isinstance(data.get("choices"), list) or not data["choices"]:
        raise Broken("a body without choices")
    first, *others = _in_order(data["choices"])
    return _choice(first, model, others=tuple([_choice(c, model) for c in others]), **_usage(data.get("usage")))


def _list(data: dict[str, Any]) -> Reading | None:
    """What is said of a list of texts, if this is such a reply. Some servers tell only the sum of its tokens."""
    if isinstance(data.get("data"), list):
        told = Reading(text="", vectors=read_vectors(data["data"]))
    elif isinstance(data.get("results"), list):
        told = Reading(text="", moderations=read_moderations(data["results"]))
    else:
        return None
    usage = _usage(data.get("usage"))
    if not usage.get("prompt_tokens") and isinstance(data.get("usage"), dict):
        usage = _usage({"prompt_tokens": data["usage"].get("total_tokens")})
    return replace(told, prompt_tokens=usage.get("prompt_tokens", 0), cached_tokens=usage.get("cached_tokens", 0))


def _in_order(choices: list[Any]) -> list[Any]:
    """The choices by their index, where they all have one."""
    if all(isinstance(choice, dict) and isinstance(choice.get("index"), int) for choice in choices):
        return sorted(choices, key=lambda choice: int(choice["index"]))
    return choices


def _choice(choice: Any, model: str, **shared: Any) -> Reading:
    """One sample; `shared` are the fields of a Reading that only the first one has."""
    if not isinstance(choice, dict) or (not isinstance(choice.get("message"), dict) and "text" not in choice):
        raise Broken("a choice without a message")
    finish = choice.get("finish_reason") or "stop"
    if finish in _INTERRUPTED:
        raise Broken(f"finish_reason {finish}")
    outcome: OutcomeKind = "length" if finish == "length" else "content_filter" if finish in _FILTERED else "ok"
    if isinstance(choice.get("message"), dict):
        text, thinking, withheld = _message(choice["message"])
        outcome = "content_filter" if withheld else outcome
    else:
        text, thinking = _clean(choice["text"] or ""), None
    logprobs = _logprobs(choice.get("logprobs"))
    return Reading(
        text=text,
        thinking=thinking,
        finish_reason=str(finish),
        outcome=outcome,
        model=model,
        logprobs=logprobs,
        **shared,
    )


def _logprobs(told: Any) -> tuple[tuple[str, float], ...]:
    """Tokens with their log probabilities, in a chat's form (llama.cpp's for completions too) or a completion's."""
    if not isinstance(told, dict):
        return ()
    items = told.get("content")
    pairs: list[tuple[Any, Any]]
    if isinstance(items, list):
        pairs = [(item.get("token"), item.get("logprob")) for item in items if isinstance(item, dict)]
    elif isinstance(told.get("tokens"), list) and isinstance(told.get("token_logprobs"), list):
        pairs = list(zip(told["tokens"], told["token_logprobs"], strict=False))
    else:
        return ()
    return tuple(
        (_clean(token), float(value))
        for token, value in pairs
        if isinstance(token, str) and isinstance(value, int | float)
    )


def _message(message: dict[str, Any]) -> tuple[str, str | None, bool]:
    """Text, thinking, and whether the model's provider withheld an answer (`refusal`)."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    if not content and isinstance(message.get("refusal"), str):
        return _clean(message["refusal"]), None, True
    text, thinking = split_thinking(_clean(content or ""))
    apart = message.get("reasoning_content") or message.get("reasoning")
    return text, _clean(apart) if isinstance(apart, str) else thinking, False


def split_thinking(text: str) -> tuple[str, str | None]:
    """Split a reasoning model's text into answer and thinking.

    `<think>` without its end means that the reply was cut off while thinking: there is no answer. A lone `</think>` at
    the end of a line means that the opening tag stood in the prompt, as some chat templates have it.
    """
    head = text.lstrip()
    if head.startswith("<think>"):
        thinking, closed, answer = head.removeprefix("<think>").partition("</think>")
        return (answer.lstrip("\n") if closed else ""), thinking.strip()
    closing = _LONE_CLOSING.search(text)
    if closing is not None and "<think>" not in text:
        return text[closing.end() :].lstrip("\n"), text[: closing.start()].strip()
    return text, None


def _clean(text: Any) -> str:
    """Text that can be written as UTF-8; half a character (a lone surrogate) becomes U+FFFD."""
    if not isinstance(text, str):
        raise Broken("a text that is not a string")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _usage(usage: Any) -> dict[str, int]:
    if not isinstance(usage, dict):
        return {}
    counts = {}
    for name, places in _USAGE:
        for outer, inner in places:
            found = usage.get(outer)
            if inner:
                found = found.get(inner) if isinstance(found, dict) else None
            if found is not None:
                counts[name] = found if type(found) is int and found >= 0 else 0
                break
    return counts


def error_message(body: str) -> str:
    """The server's words in an error's body, on one line and not too long."""
    said: Any = error_fields(body).get("message")
    text = said if isinstance(said, str) and said else re.sub(r"<[^>]*>", " ", body)
    return " ".join(_clean(text).split())[:300]


def error_fields(body: str) -> dict[str, Any]:
    """The fields of an error's body: message, type, param, code, as far as the server gives them."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    inner = data.get("error")
    if isinstance(inner, dict):
        return inner
    return {"message": inner, **data} if isinstance(inner, str) else data


def read_stored(body: str, outcome: str) -> Reading:
    """Read a body as the ledger holds it: a reply, or the error that was this input's outcome."""
    if outcome == "refused":
        return read_error(body, "refused")
    try:
        return read_reply(body)
    except Broken:
        return read_error(body, "content_filter")


def read_error(body: str, outcome: OutcomeKind) -> Reading:
    """An error that is this input's outcome, with the server's words as text."""
    return Reading(text=error_message(body), finish_reason=outcome, outcome=outcome)
