"""A record as the texts in it that a translator gets, and put together again from their translations."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.record import Message, Record
from pipeline.spans import Protected, protect
from pipeline.stages.languages import weight

Kind = Literal["instruction", "input", "question", "answer", "system", "reasoning"]

Place = tuple[str, int, str]
"""Column (`messages`, `chosen`, `rejected` or `input`), index of the message in it, field of the message."""


@dataclass(frozen=True, slots=True)
class Part:
    """One text of a record.

    Attributes:
        kind: what it is to a reader; `instruction` is the first user turn and `question` any later one.
        source: the text without outer white space, its spans replaced by tokens.
        margins: the white space before and after it.
    """

    place: Place
    kind: Kind
    source: Protected
    margins: tuple[str, str]

    @property
    def is_request(self) -> bool:
        """Whether a careless translator may be tempted to answer it."""
        return self.kind in ("instruction", "question")

    @property
    def text(self) -> str:
        """The text as it stands in the record, without outer white space."""
        return self.source.restore(self.source.text)


def parts_of(record: Record, *, without_answer: bool = False) -> tuple[Part, ...]:
    """Every text of the record that has something to translate; what is all code, numbers or links is left out.

    Tool calls, tool results and tool definitions are data for programs and no parts.

    Args:
        without_answer: leave the final assistant message out.
    """
    parts: list[Part] = []
    first = 0
    for place, kind, text in _texts(record, without_answer):
        body = text.strip()
        at = text.find(body)
        source = protect(body, first)
        if body and not source.is_opaque:
            parts.append(Part(place, kind, source, (text[:at], text[at + len(body) :])))
            first += len(source.spans)
    return tuple(parts)


def _texts(record: Record, without_answer: bool) -> Iterator[tuple[Place, Kind, str]]:
    asked = False
    for column in ("messages", "chosen", "rejected"):
        messages: tuple[Message, ...] = getattr(record, column) or ()
        if column == "messages" and without_answer and messages and messages[-1].role == "assistant":
            messages = messages[:-1]
        for i, message in enumerate(messages):
            if message.role == "tool":
                continue
            kinds: dict[str, Kind] = {"assistant": "answer", "system": "system", "user": "question"}
            kind = kinds.get(message.role, "question")
            first = kind == "question" and not asked and column == "messages"
            if message.thinking:
                yield (column, i, "thinking"), "reasoning", message.thinking
            yield (column, i, "content"), "instruction" if first else kind, message.content
            if first:
                asked = True
                if record.input:
                    yield ("input", 0, "input"), "input", record.input


def with_texts(record: Record, texts: Mapping[Place, str]) -> Record:
    """The record with these texts in their places."""
    changed: dict[str, tuple[Message, ...] | None] = {}
    for column in ("messages", "chosen", "rejected"):
        messages: tuple[Message, ...] | None = getattr(record, column)
        if messages is not None:
            changed[column] = tuple(_changed(message, column, i, texts) for i, message in enumerate(messages))
    return replace(record, input=texts.get(("input", 0, "input"), record.input), **changed)  # type: ignore[arg-type]


def _changed(message: Message, column: str, at: int, texts: Mapping[Place, str]) -> Message:
    return replace(
        message,
        content=texts.get((column, at, "content"), message.content),
        thinking=texts.get((column, at, "thinking"), message.thinking),
    )


def packed(parts: tuple[Part, ...], most: float) -> Iterator[tuple[Part, ...]]:
    """The parts in order, in packs weighing at most `most` letters; no part is split, a longer one stands alone."""
    pack: list[Part] = []
    size = 0.0
    for part in parts:
        heavy = weight(part.source.text)
        if pack and size + heavy > most:
            yield tuple(pack)
            pack, size = [], 0.0
        pack.append(part)
        size += heavy
    if pack:
        yield tuple(pack)
