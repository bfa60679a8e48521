"""A prompt, a better and a worse answer as plain texts: TRL's standard preference rows.

`{"prompt", "chosen", "rejected"}`; see docs/source/dataset_formats.md of huggingface/trl. `preference-chat` is the
conversational form, `preference-implicit` the one without a prompt.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.shape import Fields, Format, text
from pipeline.record import Message, Record

ROOM = Room(several=False, answer="no", choices="must")
_KNOWN = frozenset(("prompt", "chosen", "rejected"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Preference row",
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("prompt", "chosen", "rejected")},
    "required": ["prompt", "chosen", "rejected"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """The three columns."""
    return row.keys() >= _KNOWN and "instruction" not in row


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    user = Message(role="user", content=text(row, "prompt"))
    better, worse = (Message(role="assistant", content=text(row, name)) for name in ("chosen", "rejected"))
    return [{"messages": (user,), "chosen": (better,), "rejected": (worse,), **leftover(row, _KNOWN)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    assert record.chosen is not None
    assert record.rejected is not None
    choices = {"chosen": record.chosen[0].content, "rejected": record.rejected[0].content}
    return {"prompt": asked(record)[0].content, **choices}


FORMAT = Format(
    name="preference",
    about="TRL's standard preference rows: prompt, chosen and rejected texts",
    recognise=recognise,
    read=read,
    write=write,
    refuses=ROOM.refuses,
    losses=ROOM.losses,
    schema=SCHEMA,
)
