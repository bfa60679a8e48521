"""A whole conversation in one text, its speakers told by marks: cut apart, put together, and whether that is safe."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.formats.fit import Room, alternating, asked, system_text
from pipeline.formats.shape import Bad
from pipeline.record import Message, Record

OUTER_SPACE = "outer-space"
"""The loss of a format that cannot tell the white space around a text from its own."""


@dataclass(frozen=True, slots=True)
class Marks:
    """How a packed text names its speakers.

    Attributes:
        user, assistant: what is written before a question and before an answer.
        between: what is written after a text when another mark follows.
        pattern: finds marks when reading, more generously than they are written; its group 1 is one of `users` for a
            question.
        users: the names of those who ask, in lower case.
    """

    user: str
    assistant: str
    between: str
    pattern: re.Pattern[str]
    users: tuple[str, ...]

    def split(self, text: str, field: str) -> tuple[str, tuple[Message, ...]]:
        """What stands before the first mark, and the turns; their outer white space is not theirs.

        A mark at the very end opens a turn that nobody has taken yet, and is left out.

        Raises:
            Bad: no marks, or not a question and an answer in turn.
        """
        found = list(self.pattern.finditer(text))
        if not found:
            raise Bad("unmarked-text", f"{field} has no '{self.user.strip()}' in it", field)
        ends = [match.start() for match in found[1:]] + [len(text)]
        texts = [text[match.end() : end].strip() for match, end in zip(found, ends, strict=True)]
        asks = [match[1].lower() in self.users for match in found]
        if not texts[-1]:
            texts, asks = texts[:-1], asks[:-1]
        if not texts or any(ask != (i % 2 == 0) for i, ask in enumerate(asks)):
            raise Bad("role-order", f"{field} is no question and answer in turn", field)
        return text[: found[0].start()].strip(), alternating(texts)

    def mistaken(self, turns: Sequence[Message]) -> str | None:
        """Why these turns would not be found again when packed: marks in their text, or an empty last one."""
        try:
            _, found = self.split(self.join(turns), "")
        except Bad:
            return "not-separable"
        return None if _texts(found) == _texts(turns) else "not-separable"

    def join(self, turns: Sequence[Message], then: str = "") -> str:
        """The turns as one text; `then` is the mark of the turn that is open at the end."""
        marks = {"user": self.user, "assistant": self.assistant}
        pieces = [marks[m.role] + m.content.strip() for m in turns]
        return self.between.join([*pieces, then] if then else pieces)


def packing_losses(room: Room, record: Record) -> list[str]:
    """What a packed text leaves behind."""
    texts = [m.content for m in asked(record)] + [system_text(record) or ""]
    return room.losses(record) + ([OUTER_SPACE] if any(text != text.strip() for text in texts) else [])


def _texts(turns: Sequence[Message]) -> list[str]:
    return [m.content.strip() for m in turns]
