"""Guanaco's texts: a conversation in one column, after `### Human:` and `### Assistant:`.

`{"text": "### Human: ...### Assistant: ..."}`, as timdettmers/openassistant-guanaco (QLoRA) has it; other files put
line breaks before the marks. There is no place for a system text.
"""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.packed import Marks, packing_losses
from pipeline.formats.shape import Bad, Fields, Format, text
from pipeline.record import Record

ROOM = Room()
MARKS = Marks(
    user="### Human: ",
    assistant="### Assistant: ",
    between="",
    pattern=re.compile(r"###\s*(Human|Assistant):"),
    users=("human",),
)
_KNOWN = frozenset(("text",))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Guanaco row",
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """A text; see `marks`."""
    return "text" in row


def marks(row: Mapping[str, Any]) -> bool:
    """The text begins with the first mark."""
    value = row["text"]
    return isinstance(value, str) and value.lstrip().startswith("### Human:")


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    before, turns = MARKS.split(text(row, "text"), "text")
    if before:
        raise Bad("unmarked-text", f"text begins with '{before[:40]}', which nobody says", "text")
    return [{"messages": turns, **leftover(row, _KNOWN)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    return {"text": MARKS.join(asked(record))}


def refuses(record: Record) -> str | None:
    """Questions and answers in turn, without the marks in them."""
    return ROOM.refuses(record) or MARKS.mistaken(asked(record))


def losses(record: Record) -> list[str]:
    """The input's column, message details, and white space around texts."""
    return packing_losses(ROOM, record)


FORMAT = Format(
    name="guanaco",
    about="one text a conversation, after '### Human:' and '### Assistant:'",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
)
