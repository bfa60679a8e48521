"""A prompt, a better and a worse answer as messages: TRL's conversational preference rows.

`{"prompt": [{"role", "content"}], "chosen": [...], "rejected": [...]}` with an optional `tools`; see
docs/source/dataset_formats.md of huggingface/trl. In rows such as those of UltraFeedback binarized the prompt is a
text, and both choices begin with it as a message; further columns (`messages`, `score_chosen`) are kept as they are.
"""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.formats import choices
from pipeline.formats.extras import leftover
from pipeline.formats.json_text import tools_text
from pipeline.formats.messages import MESSAGE
from pipeline.formats.shape import Fields, Format
from pipeline.formats.turns import chat, content_losses, openai_turn, read_choice, read_turns, unknown_keys
from pipeline.record import Message, Record

_KNOWN = frozenset(("prompt", "chosen", "rejected", "tools"))
_TURNS = {"type": "array", "items": MESSAGE, "minItems": 1}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Preference row of messages",
    "type": "object",
    "properties": {
        "prompt": _TURNS,
        "chosen": _TURNS,
        "rejected": _TURNS,
        "tools": {"type": ["array", "object"]},
    },
    "required": ["prompt", "chosen", "rejected"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """The three columns; see `marks`."""
    return row.keys() >= {"prompt", "chosen", "rejected"} and "instruction" not in row


def marks(row: Mapping[str, Any]) -> bool:
    """The choices are lists."""
    return isinstance(row["chosen"], list) and isinstance(row["rejected"], list)


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    chosen, rejected = (read_choice(row, name) or () for name in ("chosen", "rejected"))
    rest = unknown_keys(row, "prompt")
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        both = choices.shared(chosen, rejected)
        messages = chosen[:both] or (Message(role="user", content=prompt),)
        chosen, rejected = chosen[both:], rejected[both:]
        if both and rest:
            rest = choices.moved(rest, both)
    else:
        messages = read_turns(row, "prompt")
    fields: Fields = {"messages": messages, "chosen": chosen, "rejected": rejected}
    return [{**fields, "tools": tools_text(row.get("tools")), **leftover(row, _KNOWN, rest)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    row = {
        "prompt": [openai_turn(m) for m in chat(record)],
        "chosen": [openai_turn(m) for m in record.chosen or ()],
        "rejected": [openai_turn(m) for m in record.rejected or ()],
    }
    return row if record.tools is None else {**row, "tools": json.loads(record.tools)}


def losses(record: Record) -> list[str]:
    """Only that the input no longer stands apart."""
    return content_losses(record, flat=False)


def find(row: Mapping[str, Any], name: str, index: str) -> Any:
    """The object of one turn."""
    return choices.turn_in({**row, "messages": row["prompt"]}, name, index)


FORMAT = Format(
    name="preference-chat",
    about="TRL's conversational preference rows: prompt, chosen and rejected messages",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=choices.refuses,
    losses=losses,
    schema=SCHEMA,
    find=find,
)
