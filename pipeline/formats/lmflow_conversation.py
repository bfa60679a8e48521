"""LMFlow's conversations: messages with the system text and the tools beside them.

`{"type": "conversation", "instances": [{"conversation_id", "system", "tools": [...], "messages": [...]}]}`, "" and
`[""]` when there is no system text and no tool; see docs/source/examples/DATASETS.md of OptimalScale/LMFlow.
"""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked, system_details, system_text
from pipeline.formats.json_text import tools_text
from pipeline.formats.shape import Fields, Format, text_or_none
from pipeline.formats.turns import content_losses, openai_turn, read_turns, unknown_keys
from pipeline.record import Message, Record

ROOM = Room(system=True, tools=True)
_KNOWN = frozenset(("system", "tools", "messages"))

_MESSAGE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "role": {"enum": ["user", "assistant"]},
        "content": {"type": "string"},
        "thinking": {"type": "string"},
        "tool_call_id": {"type": "string"},
        "name": {"type": "string"},
        "weight": {"type": "number"},
    },
    "required": ["role", "content"],
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "LMFlow conversation row",
    "type": "object",
    "properties": {
        "system": {"type": "string"},
        "tools": {"type": ["array", "object"]},
        "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
    },
    "required": ["system", "tools", "messages"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """Messages with the columns of a system text and of tools beside them, and no verdict."""
    return row.keys() >= _KNOWN and not row.keys() & {"chosen", "rejected", "label", "kto_tag"}


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    messages, system, tools = read_turns(row, "messages"), text_or_none(row, "system"), row.get("tools")
    before = (Message(role="system", content=system),) if system else ()
    none = tools in ([], [""], "[]", '[""]')
    fields: Fields = {"messages": (*before, *messages), "tools": None if none else tools_text(tools)}
    return [{**fields, **leftover(row, _KNOWN, unknown_keys(row, "messages", len(before)))}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    return {
        "system": system_text(record) or "",
        "tools": [""] if record.tools is None else json.loads(record.tools),
        "messages": [openai_turn(m) for m in asked(record)],
    }


def refuses(record: Record) -> str | None:
    """Questions and answers in turn, after at most one system text; a list without tools is none."""
    return ROOM.refuses(record) or ("no-tools" if record.tools == "[]" else None)


def losses(record: Record) -> list[str]:
    """The input's column, and details of the system message."""
    return content_losses(record, flat=False) + system_details(record)


def find(row: Mapping[str, Any], name: str, index: str) -> Any:
    """The object of one message, which stands after the system text's column."""
    if name != "messages" or not index.isdecimal():
        return None
    place = int(index) - bool(row["system"])
    return row["messages"][place] if 0 <= place < len(row["messages"]) else None


FORMAT = Format(
    name="lmflow-conversation",
    about="LMFlow's conversations: messages, with system text and tools beside them",
    recognise=recognise,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
    find=find,
    envelope={"type": "conversation"},
)
