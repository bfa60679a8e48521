"""Anthropic's HH-RLHF: a better and a worse conversation, each in one text.

`{"chosen": "\\n\\nHuman: ...\\n\\nAssistant: ...", "rejected": ...}`, see anthropics/hh-rlhf. What both begin with,
up to the last question that they share, is the prompt.
"""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.formats import choices
from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.packed import OUTER_SPACE, Marks, packing_losses
from pipeline.formats.shape import Bad, Fields, Format, text
from pipeline.record import Message, Record

ROOM = Room(answer="no", choices="must")
MARKS = Marks(
    user="\n\nHuman: ",
    assistant="\n\nAssistant: ",
    between="",
    pattern=re.compile(r"(?:\A|\n\n)(Human|Assistant):"),
    users=("human",),
)
_KNOWN = frozenset(("chosen", "rejected"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "HH-RLHF row",
    "type": "object",
    "properties": {"chosen": {"type": "string"}, "rejected": {"type": "string"}},
    "required": ["chosen", "rejected"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """Two choices without a prompt; see `marks`."""
    return row.keys() >= _KNOWN and not row.keys() & {"prompt", "instruction", "messages", "conversations"}


def marks(row: Mapping[str, Any]) -> bool:
    """They are texts that begin with a question's mark."""
    return all(isinstance(row[name], str) and row[name].lstrip().startswith("Human:") for name in _KNOWN)


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    chosen, rejected = (_turns(text(row, name), name) for name in ("chosen", "rejected"))
    both = choices.shared(chosen, rejected)
    both -= both % 2 == 0  # The last message they share must be a question.
    if both < 1:
        raise Bad("no-prompt", "chosen and rejected do not begin with the same question", "chosen")
    fields: Fields = {"messages": chosen[:both], "chosen": chosen[both:], "rejected": rejected[both:]}
    return [{**fields, **leftover(row, _KNOWN)}]


def _turns(value: str, field: str) -> tuple[Message, ...]:
    before, turns = MARKS.split(value, field)
    if before:
        raise Bad("unmarked-text", f"{field} begins with '{before[:40]}', which nobody says", field)
    return turns


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    before = asked(record)
    both = (("chosen", record.chosen or ()), ("rejected", record.rejected or ()))
    return {name: MARKS.join([*before, *choice]) for name, choice in both}


def refuses(record: Record) -> str | None:
    """Questions and answers in turn and two different last answers, without the marks in them."""
    if reason := ROOM.refuses(record):
        return reason
    before = asked(record)
    both = [(*before, *choice) for choice in (record.chosen or (), record.rejected or ())]
    return MARKS.mistaken(both[0]) or MARKS.mistaken(both[1])


def losses(record: Record) -> list[str]:
    """The input's column, message details, and white space around texts."""
    texts = [m.content for m in (record.chosen or ()) + (record.rejected or ())]
    lost = packing_losses(ROOM, record)
    return lost if OUTER_SPACE in lost or all(t == t.strip() for t in texts) else [*lost, OUTER_SPACE]


FORMAT = Format(
    name="hh-rlhf",
    about="Anthropic's HH-RLHF: two conversations after 'Human:' and 'Assistant:'",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
)
