"""GuanacoDataset's dialogues: Alpaca's columns, the history in the instruction and the new question in the input.

`{"instruction": "User: ...\\nAssistant: ...", "input": "System: knowledge\\nUser: ...", "output"}` as
JosephusCheung/GuanacoDataset describes them: the instruction is empty at a dialogue's beginning, and the system text
before the question may be missing. Its single tasks are `alpaca`.
"""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked, system_text
from pipeline.formats.packed import Marks, packing_losses
from pipeline.formats.shape import Bad, Fields, Format, text, text_or_none
from pipeline.record import Message, Record

ROOM = Room(system=True)
MARKS = Marks(
    user="User: ",
    assistant="Assistant: ",
    between="\n",
    pattern=re.compile(r"(?:\A|\n)(User|Assistant):"),
    users=("user",),
)
_SYSTEM = re.compile(r"\s*System:(.*?)(?=\nUser:|\Z)", re.DOTALL)
_KNOWN = frozenset(("instruction", "input", "output"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "GuanacoDataset dialogue",
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("instruction", "input", "output")},
    "required": ["instruction", "input", "output"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """Alpaca's columns; see `marks`."""
    return row.keys() >= _KNOWN and "instances" not in row


def marks(row: Mapping[str, Any]) -> bool:
    """The input asks as somebody does who is named, and the instruction is a dialogue or nothing."""
    history, given = row["instruction"], row["input"]
    if not isinstance(history, str) or not isinstance(given, str) or not given.startswith(("User:", "System:")):
        return False
    return "User:" in given and (not history.strip() or history.lstrip().startswith("User:"))


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    history, given = text(row, "instruction"), text(row, "input")
    system = _SYSTEM.match(given)
    before, question = MARKS.split(given[system.end() :] if system else given, "input")
    if before or len(question) != 1:
        raise Bad("role-order", "input is not one question", "input")
    turns: tuple[Message, ...] = ()
    if history.strip():
        before, turns = MARKS.split(history, "instruction")
        if before or len(turns) % 2:
            raise Bad("role-order", "instruction is no dialogue that ends in an answer", "instruction")
    told = (Message(role="system", content=system[1].strip()),) if system and system[1].strip() else ()
    output = (text_or_none(row, "output") or "").strip()
    answer = (Message(role="assistant", content=output),) if output else ()
    return [{"messages": (*told, *turns, *question, *answer), **leftover(row, _KNOWN)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    turns, system = asked(record), system_text(record)
    last = len(turns) - (2 if turns[-1].role == "assistant" else 1)
    told = f"System: {system.strip()}\n" if system else ""
    output = turns[-1].content.strip() if turns[-1].role == "assistant" else ""
    return {
        "instruction": MARKS.join(turns[:last]),
        "input": told + MARKS.join(turns[last : last + 1]),
        "output": output,
    }


def refuses(record: Record) -> str | None:
    """Questions and answers in turn, without the marks in them."""
    if reason := ROOM.refuses(record):
        return reason
    try:
        (fields,) = read(write(record))
    except Bad:
        return "not-separable"
    wanted = [(m.role, m.content.strip()) for m in (*record.messages[: bool(system_text(record))], *asked(record))]
    return None if [(m.role, m.content) for m in fields["messages"]] == wanted else "not-separable"


def losses(record: Record) -> list[str]:
    """The input's column, message details, and white space around texts."""
    return packing_losses(ROOM, record)


FORMAT = Format(
    name="guanaco-dialogue",
    about="GuanacoDataset's dialogues: 'User:' and 'Assistant:' packed in Alpaca's instruction and input",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
)
