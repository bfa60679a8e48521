"""LMFlow's text2text: pairs of an input and an output.

`{"type": "text2text", "instances": [{"input", "output"}]}`, see docs/source/examples/DATASETS.md of
OptimalScale/LMFlow; as JSON Lines and in other containers the rows stand alone. `lmflow-conversation` is its other
type.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.shape import Fields, Format, text, text_or_none
from pipeline.record import Message, Record

ROOM = Room(several=False)
_KNOWN = frozenset(("input", "output"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "LMFlow text2text row",
    "type": "object",
    "properties": {"input": {"type": "string"}, "output": {"type": "string"}},
    "required": ["input", "output"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """An input with an output and no instruction."""
    return row.keys() >= _KNOWN and "instruction" not in row


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    user, output = Message(role="user", content=text(row, "input")), text_or_none(row, "output")
    answer = (Message(role="assistant", content=output),) if output else ()
    return [{"messages": (user, *answer), **leftover(row, _KNOWN)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    return {"input": asked(record)[0].content, "output": record.output}


FORMAT = Format(
    name="lmflow",
    about="LMFlow's text2text: input and output",
    recognise=recognise,
    read=read,
    write=write,
    refuses=ROOM.refuses,
    losses=ROOM.losses,
    schema=SCHEMA,
    envelope={"type": "text2text"},
)
