"""Alpaca's columns whose instruction packs a conversation up to its last question, and whose output is the answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.packed import Marks, packing_losses
from pipeline.formats.shape import Bad, Fields, text, text_or_none
from pipeline.record import Message, Record, joined

ROOM = Room()
_COLUMNS = ("instruction", "input", "output")


def schema(title: str) -> dict[str, Any]:
    """The JSON Schema of its rows."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "properties": {name: {"type": "string"} for name in _COLUMNS},
        "required": [*_COLUMNS],
    }


def recognise(row: Mapping[str, Any]) -> bool:
    """Alpaca's columns; only the marks in the instruction tell more."""
    return "instruction" in row and "output" in row and "instances" not in row


@dataclass(frozen=True, slots=True)
class PackedInstruction:
    """Reads and writes such rows.

    Attributes:
        marks: how the speakers are named.
        then: what stands at the end of the instruction, where the answer is due.
    """

    marks: Marks
    then: str = ""

    def read(self, row: dict[str, Any]) -> list[Fields]:
        """The row's one record; an input, which these rows do not have, belongs to the last question."""
        before, turns = self.marks.split(text(row, "instruction"), "instruction")
        if before or turns[-1].role != "user":
            raise Bad("role-order", "instruction is no conversation that ends in a question", "instruction")
        last = Message(role="user", content=joined(turns[-1].content, text_or_none(row, "input")))
        output = (text_or_none(row, "output") or "").strip()
        answer = (Message(role="assistant", content=output),) if output else ()
        return [{"messages": (*turns[:-1], last, *answer), **leftover(row, frozenset(_COLUMNS))}]

    def write(self, record: Record) -> dict[str, Any]:
        """The record as a row; see `refuses` for those that have none."""
        turns = asked(record)
        output = turns[-1].content.strip() if turns[-1].role == "assistant" else ""
        return {"instruction": self.marks.join(_history(record), self.then), "input": "", "output": output}

    def refuses(self, record: Record) -> str | None:
        """Questions and answers in turn, without the marks in them."""
        return ROOM.refuses(record) or self.marks.mistaken(_history(record))


def losses(record: Record) -> list[str]:
    """The input's column, message details, and white space around texts."""
    return packing_losses(ROOM, record)


def _history(record: Record) -> tuple[Message, ...]:
    turns = asked(record)
    return turns[:-1] if turns[-1].role == "assistant" else turns
