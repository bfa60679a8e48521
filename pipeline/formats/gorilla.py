"""Gorilla's APIBench: an instruction and the API call that answers it, in one text.

`{"code": "###Instruction: ...\\n###Output: ...", "api_call", "provider", "api_data"}`, see data/apibench of
ShishirPatil/gorilla.
"""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.packed import Marks, packing_losses
from pipeline.formats.shape import Bad, Fields, Format, text
from pipeline.record import Record

ROOM = Room(several=False)
MARKS = Marks(
    user="###Instruction: ",
    assistant="###Output: ",
    between="\n",
    pattern=re.compile(r"###\s*(Instruction|Output):"),
    users=("instruction",),
)
_KNOWN = frozenset(("code",))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Gorilla row",
    "type": "object",
    "properties": {"code": {"type": "string"}},
    "required": ["code"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """A `code` column; see `marks`."""
    return "code" in row


def marks(row: Mapping[str, Any]) -> bool:
    """It begins with the mark of an instruction."""
    value = row["code"]
    return isinstance(value, str) and value.lstrip().startswith("###Instruction:")


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record; the API's description is kept as further columns."""
    before, turns = MARKS.split(text(row, "code"), "code")
    if before or len(turns) > 2:
        raise Bad("role-order", "code is not one instruction and one output", "code")
    return [{"messages": turns, **leftover(row, _KNOWN)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    return {"code": MARKS.join(asked(record))}


def refuses(record: Record) -> str | None:
    """One question and its answer, without the marks in them."""
    return ROOM.refuses(record) or MARKS.mistaken(asked(record))


def losses(record: Record) -> list[str]:
    """The input's column, message details, and white space around texts."""
    return packing_losses(ROOM, record)


FORMAT = Format(
    name="gorilla",
    about="Gorilla's APIBench: '###Instruction:' and '###Output:' in one text",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
)
