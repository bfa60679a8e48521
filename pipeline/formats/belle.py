"""Pairs of an input and a target: BELLE's 0.5M and 1M, and Firefly 1.1M.

`{"input", "target"}`, where an input is joined to its instruction already, with `kind` in Firefly's; see
data/1.5M/README.md of LianjiaTech/BELLE. `belle-multiturn` are BELLE's conversations.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.shape import Fields, Format, text, text_or_none
from pipeline.record import Message, Record

ROOM = Room(several=False)
_KNOWN = frozenset(("input", "target"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "BELLE row",
    "type": "object",
    "properties": {"input": {"type": "string"}, "target": {"type": "string"}},
    "required": ["input", "target"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """An input with a target."""
    return row.keys() >= _KNOWN


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    user, target = Message(role="user", content=text(row, "input")), text_or_none(row, "target")
    answer = (Message(role="assistant", content=target),) if target else ()
    return [{"messages": (user, *answer), **leftover(row, _KNOWN)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    return {"input": asked(record)[0].content, "target": record.output}


FORMAT = Format(
    name="belle",
    about="BELLE 0.5M and 1M, Firefly 1.1M: input and target",
    recognise=recognise,
    read=read,
    write=write,
    refuses=ROOM.refuses,
    losses=ROOM.losses,
    schema=SCHEMA,
)
