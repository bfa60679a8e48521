"""BELLE's conversations of several turns: Alpaca's columns, the instruction holding all turns but the last answer.

`{"instruction": "Human:...\\nAssistant:...\\nHuman:...\\nAssistant:", "input": "", "output"}`, see data/10M/README.md
of LianjiaTech/BELLE (multiturn_chat_0.8M). BELLE's other files are `belle` (0.5M and 1M), `alpaca` (2M, school math,
and generated chats, whose dialogue between characters is the answer) and `sharegpt` (3.5M).
"""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.packed import Marks, packing_losses
from pipeline.formats.shape import Bad, Fields, Format, text, text_or_none
from pipeline.record import Message, Record, joined

ROOM = Room()
MARKS = Marks(
    user="Human:",
    assistant="Assistant:",
    between="\n",
    pattern=re.compile(r"(?:^|\n)(Human|Assistant):"),
    users=("human",),
)
_KNOWN = frozenset(("instruction", "input", "output"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "BELLE multi-turn row",
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("instruction", "input", "output")},
    "required": ["instruction", "input", "output"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """Alpaca's columns; see `marks`."""
    return "instruction" in row and "output" in row and "instances" not in row


def marks(row: Mapping[str, Any]) -> bool:
    """The instruction begins with a question and ends where an answer is due."""
    value = row["instruction"]
    return isinstance(value, str) and value.startswith("Human:") and value.rstrip().endswith("\nAssistant:")


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record; an input, of which BELLE has none, belongs to the last question."""
    before, turns = MARKS.split(text(row, "instruction"), "instruction")
    if before or turns[-1].role != "user":
        raise Bad("role-order", "instruction is no conversation that ends in a question", "instruction")
    last = Message(role="user", content=joined(turns[-1].content, text_or_none(row, "input")))
    output = (text_or_none(row, "output") or "").strip()
    answer = (Message(role="assistant", content=output),) if output else ()
    return [{"messages": (*turns[:-1], last, *answer), **leftover(row, _KNOWN)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    turns = asked(record)
    answered = turns[-1].role == "assistant"
    output = turns[-1].content.strip() if answered else ""
    packed = MARKS.join(turns[:-1] if answered else turns, MARKS.assistant)
    return {"instruction": packed, "input": "", "output": output}


def refuses(record: Record) -> str | None:
    """Questions and answers in turn, without the marks in them."""
    return ROOM.refuses(record) or MARKS.mistaken(_history(record))


def _history(record: Record) -> tuple[Message, ...]:
    turns = asked(record)
    return turns[:-1] if turns[-1].role == "assistant" else turns


def losses(record: Record) -> list[str]:
    """The input's column, message details, and white space around texts."""
    return packing_losses(ROOM, record)


FORMAT = Format(
    name="belle-multiturn",
    about="BELLE's conversations: 'Human:' and 'Assistant:' packed in Alpaca's instruction",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
)
