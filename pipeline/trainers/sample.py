"""One row as the rules look at it."""

import string
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from pipeline.trainers.survey import Layout

_UNSEEN = string.whitespace + "\u00a0\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\u3000\ufeff"


class Turn(NamedTuple):
    """One turn, read by the keys of the layout; what is not there is None, as it is in a table."""

    role: Any
    content: Any
    raw: dict[str, Any]


class Sample:
    """A row and the layout of its file."""

    def __init__(self, row: dict[str, Any], layout: Layout) -> None:
        self.row, self.layout = row, layout

    def get(self, column: str | None) -> Any:
        """The value of a column, None when it is not there."""
        return None if column is None else self.row.get(column)

    def turns_of(self, value: Any) -> list[Turn] | None:
        """The turns in a value; None when it is no list of objects."""
        if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
            return None
        return [Turn(t.get(self.layout.role_key), t.get(self.layout.content_key), t) for t in value]

    @cached_property
    def conversation(self) -> list[Turn]:
        """All turns of the conversation's column, empty when there are none."""
        return self.turns_of(self.get(self.layout.turns)) or []

    @cached_property
    def system(self) -> Turn | None:
        """The system turn that leads the conversation."""
        first = self.conversation[0] if self.conversation else None
        return first if first is not None and first.role == self.layout.tags.system else None

    @cached_property
    def body(self) -> list[Turn]:
        """The turns after a leading system turn."""
        return self.conversation[self.system is not None :]

    @cached_property
    def choices(self) -> list[Turn]:
        """The two answers of a preference that is kept as turns; empty for any other row."""
        if self.layout.kind != "preference" or self.layout.turns is None:
            return []
        return self.turns_of([self.row["chosen"], self.row["rejected"]]) or []


def is_empty(value: Any) -> bool:
    """Whether a text says nothing: space and characters that are not seen are nothing."""
    return value is None or (isinstance(value, str) and not value.strip(_UNSEEN))


def ordinal(turns: Sequence[Turn], index: int) -> str:
    """How a detail names a turn: `turn 3 of 6`."""
    return f"turn {index + 1} of {len(turns)}"


def quoted(value: Any) -> str:
    """A role or another short value in quotation marks, cut."""
    return "nothing" if value is None else f"'{str(value)[:40]}'"
