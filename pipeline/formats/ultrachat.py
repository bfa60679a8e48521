"""UltraChat's dialogues: a list of texts, a question and its answer in turn.

`{"id", "data": ["...", "..."]}`, see train/ultrachat_dataset.py of thunlp/UltraChat. (ultrachat_200k holds `messages`.)
"""

from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, alternating, asked
from pipeline.formats.shape import Bad, Fields, Format, wrong_type
from pipeline.record import Record

ROOM = Room()
_KNOWN = frozenset(("data",))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "UltraChat row",
    "type": "object",
    "properties": {"data": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
    "required": ["data"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """A `data` column; see `marks`."""
    return "data" in row


def marks(row: Mapping[str, Any]) -> bool:
    """It is a list that begins with a text, and not a file's list of rows."""
    value = row["data"]
    return isinstance(value, list) and bool(value) and isinstance(value[0], str)


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    if "data" not in row:
        raise Bad("missing-field", "data is missing", "data")
    texts = row["data"]
    if not isinstance(texts, list):
        raise wrong_type("data", "a list", texts)
    for i, value in enumerate(texts):
        if not isinstance(value, str):
            raise wrong_type(f"data[{i}]", "text", value)
    return [{"messages": alternating(texts), **leftover(row, _KNOWN)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    return {"data": [m.content for m in asked(record)]}


FORMAT = Format(
    name="ultrachat",
    about="UltraChat's dialogues: a list of texts in turn",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=ROOM.refuses,
    losses=ROOM.losses,
    schema=SCHEMA,
)
