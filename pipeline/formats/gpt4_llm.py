"""GPT-4-LLM's comparisons: a question, the better and the worse of two answers.

`{"user_input", "completion_a", "completion_b"}`, where GPT-4 scored `completion_a` higher; see
comparison_data_v2.json of Instruction-Tuning-with-GPT-4/GPT-4-LLM. Its other files are `alpaca`.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.shape import Fields, Format, text
from pipeline.record import Message, Record

ROOM = Room(several=False, answer="no", choices="must")
_KNOWN = frozenset(("user_input", "completion_a", "completion_b"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "GPT-4-LLM comparison",
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("user_input", "completion_a", "completion_b")},
    "required": ["user_input", "completion_a", "completion_b"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """The three columns."""
    return row.keys() >= _KNOWN


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    user = Message(role="user", content=text(row, "user_input"))
    better, worse = (Message(role="assistant", content=text(row, f"completion_{x}")) for x in "ab")
    return [{"messages": (user,), "chosen": (better,), "rejected": (worse,), **leftover(row, _KNOWN)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    assert record.chosen is not None
    assert record.rejected is not None
    return {
        "user_input": asked(record)[0].content,
        "completion_a": record.chosen[0].content,
        "completion_b": record.rejected[0].content,
    }


FORMAT = Format(
    name="gpt4-llm",
    about="GPT-4-LLM's comparisons: a better and a worse completion",
    recognise=recognise,
    read=read,
    write=write,
    refuses=ROOM.refuses,
    losses=ROOM.losses,
    schema=SCHEMA,
)
