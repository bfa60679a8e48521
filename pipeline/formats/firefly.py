"""Firefly's conversations: a list of rounds, each a question and its answer; also Swift's.

`{"conversation_id", "category", "conversation": [{"human", "assistant"}], "dataset"}` with an optional `system`; see
component/dataset.py of yangjianxin1/Firefly. Firefly 1.1M, with `kind`, `input` and `target`, is `belle`.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import item_keys, leftover
from pipeline.formats.fit import Room, asked, paired, system_text
from pipeline.formats.shape import Bad, Fields, Format, text, text_or_none, wrong_type
from pipeline.record import Message, Record

ROOM = Room(system=True)
_KNOWN = frozenset(("conversation", "system"))
_ROUND = frozenset(("human", "assistant"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Firefly row",
    "type": "object",
    "properties": {
        "system": {"type": "string"},
        "conversation": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"human": {"type": "string"}, "assistant": {"type": "string"}},
                "required": ["human"],
            },
            "minItems": 1,
        },
    },
    "required": ["conversation"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """A `conversation` column; see `marks`."""
    return "conversation" in row


def marks(row: Mapping[str, Any]) -> bool:
    """Its first item is a round."""
    value = row["conversation"]
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "human" in value[0]


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record; a last round may lack its answer."""
    if "conversation" not in row:
        raise Bad("missing-field", "conversation is missing", "conversation")
    rounds = row["conversation"]
    if not isinstance(rounds, list):
        raise wrong_type("conversation", "a list", rounds)
    system = text_or_none(row, "system")
    messages = [Message(role="system", content=system)] if system else []
    for i, item in enumerate(rounds):
        if not isinstance(item, dict):
            raise wrong_type(f"conversation[{i}]", "an object", item)
        inside = f"conversation[{i}]."
        messages.append(Message(role="user", content=text(item, "human", inside)))
        if "assistant" in item or i + 1 < len(rounds):
            messages.append(Message(role="assistant", content=text(item, "assistant", inside)))
    return [{"messages": tuple(messages), **leftover(row, _KNOWN, item_keys("conversation", rounds, _ROUND))}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    rounds = [
        {"human": question} if answer is None else {"human": question, "assistant": answer}
        for question, answer in paired(asked(record))
    ]
    system = system_text(record)
    return {"conversation": rounds} | ({"system": system} if system is not None else {})


FORMAT = Format(
    name="firefly",
    about="Firefly's conversations (also Swift's): rounds of human and assistant",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=ROOM.refuses,
    losses=ROOM.losses,
    schema=SCHEMA,
)
