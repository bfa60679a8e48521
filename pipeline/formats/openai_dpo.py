"""OpenAI's preference fine-tuning: an input, a preferred and a non-preferred output.

`{"input": {"messages": [...], "tools": [...], "parallel_tool_calls"}, "preferred_output": [message],
"non_preferred_output": [message]}`, see OpenAI's guide "Direct preference optimization"; Fireworks and Together take
the same. (Its files for supervised fine-tuning are `messages`.)
"""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.formats import choices
from pipeline.formats.extras import leftover
from pipeline.formats.json_text import tools_text
from pipeline.formats.messages import MESSAGE
from pipeline.formats.shape import Bad, Fields, Format, wrong_type
from pipeline.formats.turns import chat, content_losses, openai_turn, read_turns, unknown_keys
from pipeline.record import Record

_OUTPUTS = {"chosen": "preferred_output", "rejected": "non_preferred_output"}
_KNOWN = frozenset(("input", *_OUTPUTS.values()))
_INPUT = frozenset(("messages", "tools"))
_TURNS = {"type": "array", "items": MESSAGE, "minItems": 1}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "OpenAI preference row",
    "type": "object",
    "properties": {
        "input": {
            "type": "object",
            "properties": {"messages": _TURNS, "tools": {"type": ["array", "object"]}},
            "required": ["messages"],
        },
        "preferred_output": _TURNS,
        "non_preferred_output": _TURNS,
    },
    "required": ["input", "preferred_output", "non_preferred_output"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """The three columns."""
    return row.keys() >= _KNOWN


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    value = row.get("input")
    if not isinstance(value, dict):
        raise wrong_type("input", "an object", value)
    if "messages" not in value:
        raise Bad("missing-field", "input.messages is missing", "input.messages")
    messages = read_turns({"input.messages": value["messages"]}, "input.messages")
    chosen, rejected = (read_turns(row, name) for name in _OUTPUTS.values())
    renamed = {name: row[column] for name, column in _OUTPUTS.items()} | {"messages": value["messages"]}
    rest = unknown_keys(renamed, "messages")
    if others := {key: item for key, item in value.items() if key not in _INPUT}:
        rest["input.0"] = others
    fields: Fields = {"messages": messages, "chosen": chosen, "rejected": rejected}
    return [{**fields, "tools": tools_text(value.get("tools"), "input.tools"), **leftover(row, _KNOWN, rest)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    given: dict[str, Any] = {"messages": [openai_turn(m) for m in chat(record)]}
    if record.tools is not None:
        given["tools"] = json.loads(record.tools)
    outputs = {column: [openai_turn(m) for m in getattr(record, name)] for name, column in _OUTPUTS.items()}
    return {"input": given, **outputs}


def losses(record: Record) -> list[str]:
    """Only that the input no longer stands apart."""
    return content_losses(record, flat=False)


def find(row: Mapping[str, Any], name: str, index: str) -> Any:
    """The object of one turn, or the input's own."""
    columns = {name: row[column] for name, column in _OUTPUTS.items()}
    return choices.turn_in({**columns, "messages": row["input"]["messages"], "input": [row["input"]]}, name, index)


FORMAT = Format(
    name="openai-dpo",
    about="OpenAI's preference fine-tuning: input, preferred and non-preferred output",
    recognise=recognise,
    read=read,
    write=write,
    refuses=choices.refuses,
    losses=losses,
    schema=SCHEMA,
    find=find,
)
