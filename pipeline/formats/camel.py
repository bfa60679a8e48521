"""CAMEL's role plays: two agents' messages in columns of their own.

`{"role_1", "role_2", "original_task", "specified_task", "message_1": {"role_name", "role_type", "content", ...}, ...,
"num_messages", "termination_reason"}`, see examples/ai_society of camel-ai/camel. In its sets of problems (maths,
physics ...) `message_1` and `message_2` are plain texts. Its rows with an instruction are `alpaca`.
"""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.shape import Bad, Fields, Format, text, wrong_type
from pipeline.record import Message, Record

ROOM = Room()
_TURN = re.compile(r"message_(\d{1,6})")
_KNOWN = frozenset(("num_messages",))
_MESSAGE = frozenset(("role_type", "content"))
_ROLES = {"USER": "user", "ASSISTANT": "assistant"}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "CAMEL row",
    "type": "object",
    "properties": {
        "message_1": {
            "type": "object",
            "properties": {"role_type": {"type": "string"}, "content": {"type": "string"}},
            "required": ["role_type", "content"],
        },
        "num_messages": {"type": "integer"},
    },
    "required": ["message_1", "num_messages"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """A first message of its own."""
    return "message_1" in row


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record; who plays what, and the task, are kept as further columns."""
    found = sorted((int(match[1]), key) for key in row if (match := _TURN.fullmatch(key)))
    messages: list[Message] = []
    rest: dict[str, Any] = {}
    for i, (number, key) in enumerate(found):
        if number != i + 1:
            raise Bad("missing-field", f"message_{i + 1} is missing before {key}", f"message_{i + 1}")
        value = row[key]
        if isinstance(value, str):
            messages.append(Message(role=("user", "assistant")[i % 2], content=value))
            continue
        if not isinstance(value, dict):
            raise wrong_type(key, "an object or text", value)
        messages.append(Message(role=_role(value, key), content=text(value, "content", f"{key}.")))
        if others := {name: item for name, item in value.items() if name not in _MESSAGE}:
            rest[f"messages.{i}"] = others
    if not messages:
        raise Bad("missing-field", "message_1 is missing", "message_1")
    return [{"messages": tuple(messages), **leftover(row, _KNOWN | {key for _, key in found}, rest)}]


def _role(message: Mapping[str, Any], key: str) -> str:
    given = text(message, "role_type", f"{key}.")
    role = _ROLES.get(given.removeprefix("RoleType.").upper())
    if role is None:
        raise Bad("unknown-role", f"{key}.role_type is '{given[:40]}', not USER or ASSISTANT", f"{key}.role_type")
    return role


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    turns = asked(record)
    messages = {f"message_{i}": {"role_type": m.role.upper(), "content": m.content} for i, m in enumerate(turns, 1)}
    return {**messages, "num_messages": len(turns)}


def find(row: Mapping[str, Any], name: str, index: str) -> Any:
    """The object of one message."""
    return row.get(f"message_{int(index) + 1}") if name == "messages" and index.isdecimal() else None


FORMAT = Format(
    name="camel",
    about="CAMEL's role plays and problems: message_1, message_2, ...",
    recognise=recognise,
    read=read,
    write=write,
    refuses=ROOM.refuses,
    losses=ROOM.losses,
    schema=SCHEMA,
    find=find,
)
