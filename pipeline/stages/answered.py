"""Asking for one answer until it is there, whole, or known not to come."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.llm.flow import Flow
from pipeline.llm.request import Reply, Request
from pipeline.prompt import load_prompt
from pipeline.record import Message

OVERLAP = (12, 400)
"""A continuation that begins with this many of the last characters (least, most) has repeated them: they are cut."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and the calls that made it."""

    message: Message
    model: str
    calls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Why there is no answer: a drop's reason, the raw evidence and the calls made."""

    reason: str
    detail: Mapping[str, Any]
    calls: tuple[str, ...]


def answered(request: Request, language: str, continuations: int = 0) -> Flow[Answered | Unanswered]:
    """Ask; when the answer is cut off at max_tokens, have it continued up to `continuations` times.

    Reasons for no answer: `answer-cut-off`, `answer-empty`, `answer-content-filter`, `answer-refused-by-server` (HTTP
    400 for this very input). A model that declines in words has answered; filters see to that.

    Args:
        language: of the question, for the words in which a chat model is told to go on (Chinese, else English).
    """
    reply = yield request
    calls, thoughts, text = [reply.key], [reply.thinking], reply.text.strip()
    for _ in range(continuations):
        if reply.outcome != "length" or not text:
            break
        seam = _seam(reply.text if len(calls) == 1 else text)
        reply = yield _going_on(request, seam, language)
        calls.append(reply.key)
        thoughts.append(reply.thinking)
        if reply.outcome in ("ok", "length"):
            text = spliced(seam, reply.text)
    reason = _missing(reply, text)
    if reason:
        detail = {"text": text or reply.text, "finish_reason": reply.finish_reason, "model": reply.model}
        if reply.outcome not in ("ok", "length"):
            detail["reply"] = reply.text
        return Unanswered(reason, detail, tuple(calls))
    thinking = "\n".join(t for t in thoughts if t) or None
    return Answered(Message(role="assistant", content=text, thinking=thinking), reply.model, tuple(calls))


def _missing(reply: Reply, text: str) -> str | None:
    match reply.outcome:
        case "content_filter":
            return "answer-content-filter"
        case "refused":
            return "answer-refused-by-server"
        case "length":
            return "answer-cut-off"
    return None if text else "answer-empty"


def _going_on(request: Request, seam: str, language: str) -> Request:
    """The request for the rest: the prompt grown by the answer so far, or one more turn that asks for it."""
    if request.prompt is not None:
        return replace(request, prompt=request.prompt + seam)
    prompt = load_prompt(f"answer.continue.chat.{'zh' if language.split('-')[0] == 'zh' else 'en'}", ())
    so_far = Message(role="assistant", content=seam.rstrip())
    return replace(request, messages=(*request.messages, so_far, *prompt.messages()))


def _seam(text: str) -> str:
    """The text without its last, maybe half-written word; its final space is kept, so that the rest can be joined."""
    text = text.lstrip()
    cut = len(text.rstrip())
    while cut and text[cut - 1].isascii() and not text[cut - 1].isspace():
        cut -= 1
    return text[:cut] if text[:cut].strip() else text.rstrip()


def spliced(seam: str, rest: str) -> str:
    """The first part and its continuation as one text, without a passage that the continuation repeats."""
    least, most = OVERLAP
    rest = rest.strip("\r\n").rstrip()
    bare, done = rest.lstrip(), seam.rstrip()
    for size in range(min(most, len(bare), len(done)), least - 1, -1):
        if done.endswith(bare[:size]):
            return (done + bare[size:]).strip()
    return (seam + (bare if seam[-1:].isspace() else rest)).strip()
