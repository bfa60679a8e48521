"""Replies that are JSON of a stated form: asked for as strictly as the server can, read strictly, mended once."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from jsonschema import Draft202012Validator

from pipeline.errors import UsageError
from pipeline.llm.flow import Flow
from pipeline.llm.json_text import NotJson, read_json
from pipeline.llm.request import Profile, Reply, Request
from pipeline.prompt import load_prompt
from pipeline.record import Message

_NAMED = 3
"""At most so many faults of a reply are told to the model."""

_NOT_STRICT = ("allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "oneOf")
"""Keywords that no server's strict mode takes; OpenAI's guide to structured outputs."""

_WORDS: dict[str, tuple[str, str]] = {
    "no JSON": ("it holds no JSON object", "里面没有 JSON 对象"),
    "several values": ("it holds more than one JSON value", "里面有不止一个 JSON 值"),
    "invalid JSON": ("it is not valid JSON ({evidence})", "不是合法的 JSON（{evidence}）"),
    "duplicate key": ("the key {evidence} occurs twice", "键 {evidence} 出现了两次"),
    "no JSON number": ("{evidence} is no JSON number", "{evidence} 不是 JSON 数字"),
    "half a character": ("it holds half of a character", "里面有不完整的字符"),
    "wrong form": ("it does not fit the schema ({evidence})", "不符合 schema（{evidence}）"),
}
"""What a fault is called when the model is told of it, in English and Chinese."""


def closed(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object with exactly these properties, in this order, all of them there.

    That is what strict modes ask of every object. Put what a model should think of first before what follows from it.
    """
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


@dataclass(frozen=True)
class Form:
    """What a reply must be: a JSON Schema (draft 2020-12) under a name of letters, digits, _ and -."""

    name: str
    schema: Mapping[str, Any]

    @cached_property
    def strict(self) -> bool:
        """Whether it keeps to what strict modes take: every object closed, and no keyword that they lack."""
        return self.schema.get("type") == "object" and all(
            not any(word in part for word in _NOT_STRICT)
            and (
                part.get("type") != "object"
                or (
                    part.get("additionalProperties") is False
                    and set(part.get("required", ())) == set(part.get("properties", {}))
                )
            )
            for part in _parts(self.schema)
        )

    def response_format(self) -> dict[str, Any]:
        """As OpenAI writes it; a form that is not strict is only asked for, where the server tells the two apart."""
        return {
            "type": "json_schema",
            "json_schema": {"name": self.name, "strict": self.strict, "schema": dict(self.schema)},
        }

    def faults(self, value: Any) -> list[str]:
        """Where a value does not fit and why, at most some of it; empty when it does."""
        found = sorted(Draft202012Validator(dict(self.schema)).iter_errors(value), key=lambda error: error.json_path)
        return [f"{error.json_path}: {error.message[:160]}" for error in found[:_NAMED]]


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A schema and the schemas within it."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    for name in ("properties", "$defs"):
        for part in schema.get(name, {}).values():
            yield from _parts(part)
    for part in (schema.get("items"), *schema.get("anyOf", ()), *schema.get("prefixItems", ())):
        yield from _parts(part)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A value that fits the form, and every reply to the question."""

    value: Any
    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class Unparsed:
    """Why there is no value, for a drop's detail, and every reply to the question.

    Attributes:
        why: of the last reply: `content_filter`, `refused`, `cut off` (at max_tokens), `cut off while thinking`,
            `empty`, `wrong form`, or as NotJson has it; with the evidence behind a colon.
    """

    why: str
    replies: tuple[Reply, ...]


def require_json(profile: Profile, setting: str) -> None:
    """Raise UsageError for a model that cannot be asked for JSON: one that continues texts.

    Small ones are asked in chat form, as they are for answers.
    """
    if profile.style != "chat" and not profile.small:
        raise UsageError(
            f"the model '{profile.model}' (role {profile.role}) continues texts, but '{setting}' needs one that "
            "follows instructions",
            "leave the setting out, or use a chat model",
        )


def asking(request: Request, form: Form, tongue: str) -> Request:
    """The chat request with the form stated at its end and as `response_format`.

    It is the same whatever the server can, and what the server cannot is left out of the body. So a better profile
    of a server changes no ledger key.

    Args:
        tongue: language of the prompt, zh or else English.
    """
    stated = _words("json.form", tongue, schema=json.dumps(form.schema, ensure_ascii=False))
    *before, last = request.messages
    if last.role == "user":
        messages = (*before, replace(last, content=f"{last.content}\n\n{stated}"))
    else:
        messages = (*request.messages, Message(role="user", content=stated))
    return replace(request, messages=messages, response_format=form.response_format())


def ask_json(request: Request, form: Form, tongue: str) -> Flow[Parsed | Unparsed]:
    """Ask a chat request for a value of that form; see `settled` for what follows from a reply without one."""
    request = asking(request, form, tongue)
    reply = yield request
    return (yield from settled(request, reply, form, tongue))


def settled(request: Request, reply: Reply, form: Form, tongue: str) -> Flow[Parsed | Unparsed]:
    """The value in the reply to a request made by `asking`, or in the reply to one more that says what was wrong.

    The second request goes on with the conversation: it shows the model its reply, without its thinking. After an empty
    reply there is nothing to show, and the question itself is asked again with the next sample index. A reply that was
    cut off, withheld or refused is not mended: the next one would be too.
    """
    first = _read(reply, form)
    if not isinstance(first, NotJson):
        return Parsed(first, (reply,))
    if first.why in _FINAL:
        return Unparsed(str(first), (reply,))
    again = yield _mending(request, reply, first, tongue)
    second = _read(again, form)
    replies = (reply, again)
    return Unparsed(str(second), replies) if isinstance(second, NotJson) else Parsed(second, replies)


_FINAL = ("content_filter", "refused", "cut off", "cut off while thinking")


def _read(reply: Reply, form: Form) -> Any:
    """The value, or a NotJson that says why there is none."""
    if reply.outcome == "length":
        return NotJson("cut off" if reply.text.strip() else "cut off while thinking")
    if reply.outcome != "ok":
        return NotJson(reply.outcome)
    try:
        value = read_json(reply.text)
    except NotJson as error:
        return error
    faults = form.faults(value)
    return NotJson("wrong form", "; ".join(faults)) if faults else value


def _mending(request: Request, reply: Reply, fault: NotJson, tongue: str) -> Request:
    if not reply.text.strip():
        return replace(request, sample=request.sample + 1)
    problem = _WORDS[fault.why][tongue == "zh"].format(evidence=fault.evidence)
    said = Message(role="assistant", content=reply.text)
    turn = Message(role="user", content=_words("json.repair", tongue, problem=problem))
    return replace(request, messages=(*request.messages, said, turn))


def _words(name: str, tongue: str, **values: str) -> str:
    return load_prompt(f"{name}.{'zh' if tongue == 'zh' else 'en'}", tuple(values), chat=False).render(**values)
