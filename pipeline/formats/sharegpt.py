"""ShareGPT's conversations, as FastChat and LLaMA-Factory use them.

`{"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}` with optional `system`, `tools`
(JSON text), `chosen` and `rejected` (one turn each) and `kto_tag`. A function_call turn's value is the call as JSON.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.json_text import tools_text
from pipeline.formats.shape import Fields, Format, text_or_none
from pipeline.formats.turns import (
    chat,
    content_losses,
    flat_turn,
    read_choice,
    read_label,
    read_turns,
    unknown_keys,
)
from pipeline.record import Message, Record

ROLES = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
"""Our role -> LLaMA-Factory's default tag."""

_KNOWN = frozenset(("conversations", "system", "tools", "chosen", "rejected"))

_TURN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "from": {"enum": ["system", "human", "gpt", "observation", "function_call"]},
        "value": {"type": "string"},
    },
    "required": ["from", "value"],
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "ShareGPT row",
    "type": "object",
    "properties": {
        "conversations": {"type": "array", "items": _TURN, "minItems": 1},
        "tools": {"type": "string"},
        "chosen": _TURN,
        "rejected": _TURN,
        "kto_tag": {"type": "boolean"},
    },
    "required": ["conversations"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """A `conversations` column."""
    return "conversations" in row


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    messages = read_turns(row, "conversations")
    if len(row) == 1 and all(len(turn) == 2 for turn in row["conversations"]):
        return [{"messages": messages}]
    known, shift = _KNOWN, 0
    system = text_or_none(row, "system")
    if system and messages and messages[0].role == "system":
        known = known - {"system"}  # The conversation's own system text rules; the column survives in extra.
    elif system:
        messages, shift = (Message(role="system", content=system), *messages), 1
    label, label_column = read_label(row)
    fields: Fields = {
        "messages": messages,
        "tools": tools_text(row.get("tools")),
        "chosen": read_choice(row, "chosen"),
        "rejected": read_choice(row, "rejected"),
        "label": label,
    }
    return [{**fields, **leftover(row, known | label_column, unknown_keys(row, "conversations", shift))}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    row: dict[str, Any] = {"conversations": [flat_turn(m, ROLES) for m in chat(record)]}
    if record.tools is not None:
        row["tools"] = record.tools
    for name in ("chosen", "rejected"):
        choice = getattr(record, name)
        if choice is not None:
            row[name] = flat_turn(choice[0], ROLES)
    if record.label is not None:
        row["kto_tag"] = record.label
    return row


def refuses(record: Record) -> str | None:
    """A conversation has turns, and a choice is one turn."""
    if not record.messages:
        return "no-messages"
    choices = [choice for choice in (record.chosen, record.rejected) if choice is not None]
    return "preference-turns" if any(len(choice) != 1 for choice in choices) else None


def losses(record: Record) -> list[str]:
    """The input's column, and message details beside role and text."""
    return content_losses(record, flat=True)


FORMAT = Format(
    name="sharegpt",
    about="ShareGPT's conversations (FastChat, LLaMA-Factory, Axolotl, BELLE 3.5M)",
    recognise=recognise,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
    turns="conversations",
)
