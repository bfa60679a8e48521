"""Vectors of records, from a server or from a local encoder, as one matrix."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SeedmillError
from pipeline.llm.each import Said, said_of
from pipeline.llm.flow import Unavailable
from pipeline.llm.request import Request
from pipeline.similar.cosine import unit_vectors
from pipeline.similar.encoder import Encoder
from pipeline.stage import Tools
from pipeline.stages.dedup_evidence import Fault
from pipeline.stages.pieces import pieces

_IN_MEMORY = 1 << 30
"""Bytes from which the matrix is a file of the scratch folder, whose pages the system may write out."""

_ROWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where vectors come from.

    Attributes:
        role: of the model that is asked; None for a local encoder.
        encoder, hub: see Encoder.
        prefix: put before every text.
        piece: characters of a text that are embedded at once.
        dimensions: asked for; None for the model's own.
        texts_per_call: at most; None for what the server is known to take.
        window: calls under way.
    """

    role: str | None
    encoder: str | None
    hub: str | None
    prefix: str
    piece: int
    dimensions: int | None
    texts_per_call: int | None
    window: int


@dataclass(slots=True)
class Matrix:
    """The vectors of some records, one row each.

    Attributes:
        vectors: unit vectors, shape (records, dimensions); zeros for a record without one. None before the first.
        faults: row -> why it has none.
        lost: rows whose call outlasted its deadline.
    """

    rows: int
    file: Path
    vectors: NDArray[np.float32] | None = None
    faults: dict[int, Fault] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)

    def put(self, row: int, vector: NDArray[np.float32]) -> None:
        """Set a row; SeedmillError when it has another size than those before it."""
        if self.vectors is None:
            self.vectors = self._room(len(vector))
        if len(vector) != self.vectors.shape[1]:
            raise SeedmillError(
                f"vectors of {self.vectors.shape[1]:,} and of {len(vector):,} dimensions came from one model",
                "its server has changed: prune this entry's calls (seedmill ledger prune) and run again",
            )
        self.vectors[row] = vector

    def close(self) -> None:
        """Bring all rows to length 1; those that have no direction are faults."""
        if self.vectors is None:
            return
        for begin in range(0, self.rows, _ROWS):
            block = self.vectors[begin : begin + _ROWS]
            block[:] = unit_vectors(block)
            for row in begin + np.flatnonzero(~block.any(axis=1)):
                self.faults.setdefault(int(row), ("no-vector", {"why": "all of its numbers are 0, or one is none"}))

    def _room(self, dimensions: int) -> NDArray[np.float32]:
        if self.rows * dimensions * 4 <= _IN_MEMORY:
            return np.zeros((self.rows, dimensions), np.float32)
        return np.lib.format.open_memmap(self.file, "w+", np.float32, (self.rows, dimensions))


def embed(texts: Iterable[str], rows: int, source: Source, tools: Tools, file: Path) -> Matrix:
    """The vectors of so many texts, none of them empty; in `file` when they are many.

    A text of several pieces has the direction of their sum, each of length 1 times its characters.
    """
    matrix = Matrix(rows, file)
    prefixed = (source.prefix + text for text in texts)
    if source.role is None:
        encoder = Encoder(source.encoder, source.hub)
        for row, vector in encoder.vectors(enumerate(prefixed)):
            matrix.put(row, vector)
            _tell(tools, row, rows)
    else:
        _ask(prefixed, matrix, source, source.role, tools)
    matrix.close()
    return matrix


def _ask(texts: Iterable[str], matrix: Matrix, source: Source, role: str, tools: Tools) -> None:
    most = tools.model(role).texts
    most = min(most, source.texts_per_call or most)
    params = {} if source.dimensions is None else {"dimensions": source.dimensions}

    def groups() -> Iterator[tuple[tuple[int, ...], tuple[str, ...]]]:
        for text in texts:
            cut = tuple(pieces(text, source.piece))
            yield tuple(map(len, cut)), cut

    def request(some: tuple[str, ...]) -> Request:
        return Request(role=role, embed=some, params=params)

    with closing(cast(Any, said_of(tools.llm, groups(), request, most, source.window))) as results:
        for row, (sizes, said) in enumerate(results):
            if isinstance(said, Unavailable):
                matrix.lost.append(row)
            elif (fault := _fault(said)) is not None:
                matrix.faults[row] = fault
            else:
                matrix.put(row, _joined(sizes, said))
            _tell(tools, row, matrix.rows)


def _fault(said: tuple[Said, ...]) -> Fault | None:
    without = next((one.reply for one in said if not one.vector), None)
    if without is None:
        return None
    detail = {"why": without.text, "model": without.model}
    if without.outcome == "ok":
        return "no-vector", detail | {"why": "a number in the server's vector is not finite, or all of them are 0"}
    return ("embedding-content-filter" if without.outcome == "content_filter" else "embedding-refused"), detail


def _joined(sizes: tuple[int, ...], said: tuple[Said, ...]) -> NDArray[np.float32]:
    vectors = [np.frombuffer(one.vector, "<f4") for one in said]
    if len(vectors) == 1:
        return vectors[0]
    if len({len(vector) for vector in vectors}) > 1:
        raise SeedmillError(
            "one text's pieces have vectors of different dimensions", "its server has changed its model"
        )
    total = np.zeros(len(vectors[0]))
    for size, vector in zip(sizes, unit_vectors(np.stack(vectors)), strict=True):
        total += size * vector.astype(np.float64)
    return total.astype(np.float32)


def _tell(tools: Tools, row: int, rows: int) -> None:
    if row % 100 == 99 or row == rows - 1:
        tools.progress(row + 1, rows)
