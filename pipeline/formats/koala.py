"""Koala's conversations: every turn a column of its own, and one that says how to put them together.

`{"marker_user", "marker_gpt", "human_0", "gpt_1", ..., "fields"}`, as process_chat_data.py of
young-geng/koala_data_pipeline writes them from `{"human_0", "gpt_1", ...}`, which is read too.
"""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.shape import Bad, Fields, Format, text
from pipeline.record import Message, Record

ROOM = Room()
END = "<|eos|>"
_TURN = re.compile(r"(human|gpt)_(\d{1,6})")
_KNOWN = frozenset(("marker_user", "marker_gpt", "fields"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Koala row",
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("marker_user", "marker_gpt", "fields", "human_0", "gpt_1")},
    "required": ["marker_user", "marker_gpt", "fields", "human_0"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """A first turn of its own."""
    return "human_0" in row


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record; the markers and fields can be told from the turns and are not kept."""
    found = sorted((int(match[2]), match[1], key) for key in row if (match := _TURN.fullmatch(key)))
    if not found:
        raise Bad("missing-field", "human_0 is missing", "human_0")
    messages = []
    for i, (number, who, key) in enumerate(found):
        if number != i or who != ("human", "gpt")[i % 2]:
            raise Bad("role-order", f"{key} stands where {('human', 'gpt')[i % 2]}_{i} should", key)
        messages.append(Message(role=("user", "assistant")[i % 2], content=text(row, key)))
    return [{"messages": tuple(messages), **leftover(row, _KNOWN | {key for _, _, key in found})}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    turns: dict[str, Any] = {}
    fields: list[str] = []
    for i, message in enumerate(asked(record)):
        key = f"{('human', 'gpt')[i % 2]}_{i}"
        turns[key] = message.content
        fields += [key, END] if i % 2 else [f"[marker_user+{key}+marker_gpt]"]
    return {"marker_user": "USER:", "marker_gpt": "GPT:", **turns, "fields": ",".join(fields)}


FORMAT = Format(
    name="koala",
    about="Koala's conversations: a column for each turn (human_0, gpt_1, ...)",
    recognise=recognise,
    read=read,
    write=write,
    refuses=ROOM.refuses,
    losses=ROOM.losses,
    schema=SCHEMA,
)
