"""OpenChat's conversations, and those that it takes from ShareGPT's pages: turns in a column `items`.

`{"items": [{"role", "content", "weight"}], "condition", "system"}`, see ochat/config/conversation_template.py of
imoneoi/openchat, whose trainer wants a weight everywhere: 0 for questions and 1 for answers stand for none here. A
scraped page gives `{"id", "views", "model", "items": [{"from", "value"}]}` (clean_sharegpt.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked, system_details, system_text
from pipeline.formats.shape import Fields, Format, text_or_none
from pipeline.formats.turns import read_turns, unknown_keys
from pipeline.record import Message, Record

ROOM = Room(system=True)
PLAIN = {"user": 0.0, "assistant": 1.0}
"""Weights of turns that have none of their own."""

_KNOWN = frozenset(("items", "system"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "OpenChat row",
    "type": "object",
    "properties": {
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "role": {"enum": ["user", "assistant"]},
                    "content": {"type": "string"},
                    "weight": {"type": "number"},
                },
                "required": ["role", "content", "weight"],
            },
            "minItems": 1,
        },
        "system": {"type": "string"},
    },
    "required": ["items", "system"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """An `items` column; see `marks`."""
    return "items" in row


def marks(row: Mapping[str, Any]) -> bool:
    """Its first item is a turn, and not a row of a file around it."""
    value = row["items"]
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], dict)
        and bool(value[0].keys() & {"from", "role"})
    )


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    messages, system = read_turns(row, "items"), text_or_none(row, "system")
    before = (Message(role="system", content=system),) if system else ()
    known = _KNOWN if system or row.get("system") in ("", None) else _KNOWN - {"system"}
    messages = tuple(replace(m, weight=None) if m.weight == PLAIN.get(m.role) else m for m in messages)
    return [{"messages": (*before, *messages), **leftover(row, known, unknown_keys(row, "items", len(before)))}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    items = [
        {"role": m.role, "content": m.content, "weight": PLAIN[m.role] if m.weight is None else m.weight}
        for m in asked(record)
    ]
    return {"items": items, "system": system_text(record) or ""}


def losses(record: Record) -> list[str]:
    """The input's column, and details of messages; of weights, those that look like none."""
    lost = [slug for slug in ROOM.losses(record) if slug != "weight"]
    plain = any(m.weight is not None and m.weight == PLAIN.get(m.role) for m in asked(record))
    return lost + (["weight"] if plain or "weight" in system_details(record) else [])


def find(row: Mapping[str, Any], name: str, index: str) -> Any:
    """The object of one turn, which stands after the system text's column."""
    if name != "messages" or not index.isdecimal():
        return None
    place = int(index) - bool(row["system"])
    return row["items"][place] if 0 <= place < len(row["items"]) else None


FORMAT = Format(
    name="openchat",
    about="OpenChat's conversations, and scraped ShareGPT pages: turns in 'items'",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=ROOM.refuses,
    losses=losses,
    schema=SCHEMA,
    find=find,
)
