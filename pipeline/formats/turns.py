"""Turns of a conversation: read from ShareGPT's and OpenAI's namings, and written in either."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.formats.json_text import bare_calls, dumps, tool_calls_text
from pipeline.formats.shape import Bad, text, text_or_none, wrong_type
from pipeline.record import Message, Record, joined

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "input": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "claude": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "output": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "observation": "tool",
    "tool": "tool",
    "function": "tool",
    "tool_response": "tool",
}
"""Role names that ShareGPT, FastChat, LLaMA-Factory, Swift, Unsloth and OpenAI files use (case ignored) -> ours."""

CALL_ROLES = ("function_call", "tool_call")
"""Turns whose text is itself the JSON of a tool call."""

_KNOWN = frozenset(
    (
        *("from", "role", "value", "content", "thinking", "reasoning_content"),
        *("tool_calls", "function_call", "tool_call_id", "name", "weight"),
    )
)


def read_turn(turn: Any, place: str) -> Message:
    """A message from `{"from", "value"}` or `{"role", "content"}`; `place` names it in errors. Raises Bad."""
    if not isinstance(turn, dict):
        raise wrong_type(place, "an object", turn)
    inside = f"{place}."
    role_key, content_key = _keys(turn)
    given = text(turn, role_key, inside)
    role = ROLES.get(given.lower())
    if role is None:
        raise Bad("unknown-role", f"{inside}{role_key} is '{given[:40]}', not a role we know", inside + role_key)
    if given.lower() in CALL_ROLES:
        calls = tool_calls_text(text(turn, content_key, inside), inside + content_key)
        content = ""
    else:
        calls_key = "tool_calls" if "tool_calls" in turn else "function_call"
        calls = tool_calls_text(turn.get(calls_key), inside + calls_key)
        content = _content(turn, content_key, inside, may_lack=calls is not None)
    if len(turn) == 2:
        return Message(role=role, content=content, tool_calls=calls)
    return Message(
        role=role,
        content=content,
        thinking=text_or_none(turn, "thinking" if "thinking" in turn else "reasoning_content", inside),
        tool_calls=calls,
        tool_call_id=text_or_none(turn, "tool_call_id", inside),
        name=text_or_none(turn, "name", inside),
        weight=_weight(turn.get("weight"), inside + "weight"),
    )


def _keys(turn: Mapping[str, Any]) -> tuple[str, str]:
    role_key = "from" if "from" in turn else "role"
    if "value" in turn:
        return role_key, "value"
    return role_key, "value" if role_key == "from" and "content" not in turn else "content"


def _content(turn: Mapping[str, Any], key: str, inside: str, *, may_lack: bool) -> str:
    value = turn.get(key)
    if value is None and may_lack:
        return ""
    if isinstance(value, list):
        parts = [p.get("text") if isinstance(p, dict) and p.get("type") == "text" else None for p in value]
        if not all(isinstance(p, str) for p in parts):
            raise Bad("not-text", f"{inside}{key} holds parts that are not text", inside + key)
        return "\n".join(str(p) for p in parts)
    return text(turn, key, inside)


def _weight(value: Any, field: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(field, "a number", value)
    return float(value)


def read_turns(row: Mapping[str, Any], column: str) -> tuple[Message, ...]:
    """The messages of a column that must be a list of turns; raises Bad."""
    if column not in row:
        raise Bad("missing-field", f"{column} is missing", column)
    return _turns(row[column], column)


def _turns(value: Any, field: str) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise wrong_type(field, "a list", value)
    return tuple([read_turn(turn, f"{field}[{i}]") for i, turn in enumerate(value)])


def read_choice(row: Mapping[str, Any], column: str) -> tuple[Message, ...] | None:
    """`chosen` or `rejected`: one turn, a list of turns or an answer's text; None when missing."""
    value = row.get(column)
    if value is None:
        return None
    if isinstance(value, str):
        return (Message(role="assistant", content=value),)
    return (read_turn(value, column),) if isinstance(value, dict) else _turns(value, column)


def read_label(row: Mapping[str, Any]) -> tuple[bool | None, frozenset[str]]:
    """The verdict of an unpaired preference row (`kto_tag` or `label`), and the columns that are read with it.

    A column of one of these names that is not true or false means something else and is not read.
    """
    empty = frozenset(column for column in ("kto_tag", "label") if row.get(column) is None)
    for column in ("kto_tag", "label"):
        if isinstance(row.get(column), bool):
            return row[column], empty | {column}
    return None, empty


def flat_turn(message: Message, roles: Mapping[str, str]) -> dict[str, Any]:
    """A message as ShareGPT's `{"from", "value"}`; `roles` names user, assistant, system and tool."""
    if message.tool_calls is not None:
        return {"from": "function_call", "value": dumps(bare_calls(message.tool_calls))}
    return {"from": roles[message.role], "value": message.content}


def openai_turn(message: Message) -> dict[str, Any]:
    """A message as OpenAI writes it; `tool_calls` is then a list of objects whose `arguments` are JSON text."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking is not None:
        turn["thinking"] = message.thinking
    if message.tool_calls is not None:
        turn["tool_calls"] = json.loads(message.tool_calls)
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        turn["name"] = message.name
    if message.weight is not None:
        turn["weight"] = int(message.weight) if message.weight.is_integer() else message.weight
    return turn


def unknown_keys(row: Mapping[str, Any], turns: str, shift: int = 0) -> dict[str, dict[str, Any]]:
    """What turns hold beside the keys we know, by place: `messages.3`, `chosen.0`.

    Args:
        row: the parsed row; its turns have been read without error.
        turns: the column of the conversation.
        shift: how many messages the record has before the column's first.
    """
    places: dict[str, dict[str, Any]] = {}
    for column, name, start in ((turns, "messages", shift), ("chosen", "chosen", 0), ("rejected", "rejected", 0)):
        value = row.get(column)
        items = value if isinstance(value, list) else [value]
        for i, turn in enumerate(items, start):
            if isinstance(turn, dict) and len(turn) > 2:
                used = _KNOWN.difference(_shadowed(turn))
                if rest := {key: item for key, item in turn.items() if key not in used}:
                    places[f"{name}.{i}"] = rest
    return places


def _shadowed(turn: Mapping[str, Any]) -> list[str]:
    """Keys that another key of the same meaning has pushed aside."""
    pairs = (
        *(("from", "role"), ("value", "content")),
        *(("thinking", "reasoning_content"), ("tool_calls", "function_call")),
    )
    return [second for first, second in pairs if first in turn and second in turn]


def chat(record: Record) -> tuple[Message, ...]:
    """The messages as a chat file shows them: the input joined to the first user message."""
    if not record.input:
        return record.messages
    messages = list(record.messages)
    first = next((i for i, m in enumerate(messages) if m.role == "user"), None)
    if first is None:
        messages.insert(leading_system(record), Message(role="user", content=record.input))
    else:
        messages[first] = replace(messages[first], content=joined(messages[first].content, record.input))
    return tuple(messages)


def leading_system(record: Record) -> int:
    """1 when the conversation begins with a system message, else 0."""
    return int(bool(record.messages) and record.messages[0].role == "system")


def content_losses(record: Record, *, flat: bool) -> list[str]:
    """What a chat row leaves behind or flattens, as slugs.

    Args:
        flat: whether the format's turns hold a role and a text only, as ShareGPT's and Alpaca's do.
    """
    lost = ["separate-input"] if record.input else []
    if not flat:
        return lost
    for message in record.messages + (record.chosen or ()) + (record.rejected or ()):
        lost += [field for field in ("thinking", "name", "weight") if getattr(message, field) is not None]
        if message.tool_call_id is not None:
            lost.append("tool-call-id")
        if message.tool_calls is not None:
            if message.content:
                lost.append("text-beside-tool-call")
            if tool_calls_text(bare_calls(message.tool_calls), "") != message.tool_calls:
                lost.append("tool-call-id")
    return list(dict.fromkeys(lost))
