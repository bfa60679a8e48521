"""Calls that wait to go into a batch together."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.llm.batch.lines import Line
from pipeline.llm.batch.terms import Terms, terms_of
from pipeline.llm.models import ModelSpec


@dataclass(slots=True)
class Tray:
    """The waiting lines of one model and endpoint, in the order in which they came.

    Attributes:
        terms: how much a file may hold; tightened when the server says that one was too much.
        alone: one batch at a time only, since the server allows no more.
        broke: what is here waits for the money that batches under way give back.
    """

    spec: ModelSpec
    terms: Terms
    url: str
    alone: bool = False
    broke: bool = False
    _lines: dict[str, Line] = field(default_factory=dict)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def full(self) -> bool:
        """Whether a file is full."""
        return len(self._lines) >= self.terms.lines or self._bytes >= self.terms.bytes

    def add(self, line: Line) -> None:
        """Have a line wait."""
        self._lines[line.call.key] = line
        self._bytes += len(line.data)

    def drop(self, key: str) -> bool:
        """Take a line out; False when it is not here."""
        line = self._lines.pop(key, None)
        self._bytes -= 0 if line is None else len(line.data)
        return line is not None

    def empty(self) -> list[Line]:
        """Take everything out."""
        lines = list(self._lines.values())
        self._lines.clear()
        self._bytes = 0
        return lines

    def cut(self) -> list[Line]:
        """Take out the first lines, as many as one file holds."""
        lines: list[Line] = []
        size = 0
        for line in self._lines.values():
            size += len(line.data)
            if lines and (len(lines) == self.terms.lines or size > self.terms.bytes):
                break
            lines.append(line)
        for line in lines:
            self.drop(line.call.key)
        return lines


class Trays:
    """The trays of all roles and endpoints."""

    def __init__(self) -> None:
        self._trays: dict[tuple[str, str], Tray] = {}

    def __iter__(self) -> Iterator[Tray]:
        return iter(list(self._trays.values()))

    def of(self, spec: ModelSpec, url: str) -> Tray:
        """The tray of a role and endpoint."""
        if (spec.role, url) not in self._trays:
            self._trays[spec.role, url] = Tray(spec, terms_of(spec), url)
        return self._trays[spec.role, url]

    def drop(self, key: str) -> None:
        """Take a line out, wherever it is."""
        for tray in self:
            tray.drop(key)

    def empty(self, role: str | None = None) -> list[Line]:
        """Take out everything of a role, or of all."""
        return [line for tray in self if role in (None, tray.spec.role) for line in tray.empty()]
