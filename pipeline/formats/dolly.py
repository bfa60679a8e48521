"""Databricks Dolly's rows: an instruction, perhaps a context, and a response.

`{"instruction", "context", "response", "category"}`, the context "" when unused; see databrickslabs/dolly. The
category is a tag.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room
from pipeline.formats.shape import Fields, Format, text, text_or_none
from pipeline.record import Message, Record

ROOM = Room(several=False, input=True)
_KNOWN = frozenset(("instruction", "context", "response"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Dolly row",
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("instruction", "context", "response")},
    "required": ["instruction", "context", "response"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """An instruction with a response and a context, and no input that would be missed."""
    return row.keys() >= _KNOWN and "output" not in row and "input" not in row


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    user = Message(role="user", content=text(row, "instruction"))
    response = text_or_none(row, "response")
    answer = (Message(role="assistant", content=response),) if response else ()
    fields: Fields = {"messages": (user, *answer), "input": text_or_none(row, "context") or None}
    return [{**fields, **leftover(row, _KNOWN)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    return {"instruction": record.instruction, "context": record.input or "", "response": record.output}


FORMAT = Format(
    name="dolly",
    about="Dolly's rows: instruction, context and response",
    recognise=recognise,
    read=read,
    write=write,
    refuses=ROOM.refuses,
    losses=ROOM.losses,
    schema=SCHEMA,
)
