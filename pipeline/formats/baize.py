"""Baize's self-chats: a topic, and the whole conversation in one text after `[|Human|]` and `[|AI|]`.

`{"topic", "input"}`, as preprocess.py of project-baize/baize-chatbot writes them: a first line that tells what follows,
the turns, and a last `[|Human|]` with nothing behind it. Another first line than Baize's own is a system text.
"""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked, system_text
from pipeline.formats.packed import Marks, packing_losses
from pipeline.formats.shape import Fields, Format, text
from pipeline.record import Message, Record

ROOM = Room(system=True)
HEADER = "The conversation between human and AI assistant."
MARKS = Marks(
    user="[|Human|] ",
    assistant="[|AI|] ",
    between="\n",
    pattern=re.compile(r"\[\|(Human|AI)\|\]"),
    users=("human",),
)
_KNOWN = frozenset(("input",))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Baize row",
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """An input without an instruction or an answer; see `marks`."""
    return "input" in row and not row.keys() & {"instruction", "output", "target"}


def marks(row: Mapping[str, Any]) -> bool:
    """The input holds a question's mark."""
    value = row["input"]
    return isinstance(value, str) and "[|Human|]" in value


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record; its topic is a tag."""
    header, turns = MARKS.split(text(row, "input"), "input")
    before = (Message(role="system", content=header),) if header not in ("", HEADER) else ()
    return [{"messages": (*before, *turns), **leftover(row, _KNOWN)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    turns = asked(record)
    # An answered conversation ends with the mark of the next question, as Baize's do.
    then = MARKS.user if turns[-1].role == "assistant" else ""
    return {"input": f"{(system_text(record) or HEADER).strip()}\n{MARKS.join(turns, then)}"}


def refuses(record: Record) -> str | None:
    """Questions and answers in turn, without the marks in them."""
    system = system_text(record) or ""
    if system and (MARKS.pattern.search(system) or system.strip() in ("", HEADER)):
        return ROOM.refuses(record) or "not-separable"
    return ROOM.refuses(record) or MARKS.mistaken(asked(record))


def losses(record: Record) -> list[str]:
    """The input's column, message details, and white space around texts."""
    return packing_losses(ROOM, record)


FORMAT = Format(
    name="baize",
    about="Baize's self-chats: one text after '[|Human|]' and '[|AI|]'",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
)
