"""OpenAI's chat messages, as the fine-tuning API, TRL, Axolotl and LLaMA-Factory's KTO files use them.

`{"messages": [{"role", "content", ...}]}` with optional `tools` (a list), `chosen` and `rejected` (a message, or a list
of them) and `label` (true or false).
"""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.json_text import tools_text
from pipeline.formats.shape import Fields, Format
from pipeline.formats.turns import (
    chat,
    content_losses,
    openai_turn,
    read_choice,
    read_label,
    read_turns,
    unknown_keys,
)
from pipeline.record import Record

_KNOWN = frozenset(("messages", "tools", "chosen", "rejected"))

_CALL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "type": {"type": "string"},
        "function": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "arguments": {"type": "string"}},
            "required": ["name", "arguments"],
        },
    },
    "required": ["function"],
}
MESSAGE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "user", "assistant", "tool"]},
        "content": {"type": "string"},
        "thinking": {"type": "string"},
        "tool_calls": {"type": "array", "items": _CALL, "minItems": 1},
        "tool_call_id": {"type": "string"},
        "name": {"type": "string"},
        "weight": {"type": "number"},
    },
    "required": ["role", "content"],
}
_CHOICE: dict[str, Any] = {"anyOf": [MESSAGE, {"type": "array", "items": MESSAGE}]}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Messages row",
    "type": "object",
    "properties": {
        "messages": {"type": "array", "items": MESSAGE, "minItems": 1},
        "tools": {"type": ["array", "object"]},
        "chosen": _CHOICE,
        "rejected": _CHOICE,
        "label": {"type": "boolean"},
    },
    "required": ["messages"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """A `messages` column."""
    return "messages" in row


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    messages = read_turns(row, "messages")
    label, label_column = read_label(row)
    fields: Fields = {
        "messages": messages,
        "tools": tools_text(row.get("tools")),
        "chosen": read_choice(row, "chosen"),
        "rejected": read_choice(row, "rejected"),
        "label": label,
    }
    return [{**fields, **leftover(row, _KNOWN | label_column, unknown_keys(row, "messages"))}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    row: dict[str, Any] = {"messages": [openai_turn(m) for m in chat(record)]}
    if record.tools is not None:
        row["tools"] = json.loads(record.tools)
    for name in ("chosen", "rejected"):
        choice = getattr(record, name)
        if choice is not None:
            turns = [openai_turn(m) for m in choice]
            row[name] = turns[0] if len(turns) == 1 else turns
    if record.label is not None:
        row["label"] = record.label
    return row


def refuses(record: Record) -> str | None:
    """Anything with a message can be written."""
    return None if record.messages else "no-messages"


def losses(record: Record) -> list[str]:
    """Only that the input no longer stands apart."""
    return content_losses(record, flat=False)


FORMAT = Format(
    name="messages",
    about="OpenAI's chat messages (fine-tuning, TRL, Axolotl, Swift)",
    recognise=recognise,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
    turns="messages",
)
