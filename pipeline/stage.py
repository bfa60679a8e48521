"""What a stage is, what it is given, and the tools it is lent."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import polars as pl

from pipeline.llm.request import LLM, Profile
from pipeline.record import NO_DROPS, NO_ROWS, SCHEMA, Drop, Record, draw, records_of, to_drop_frame, to_frame

T = TypeVar("T")

Tables = Mapping[str, Mapping[str, Mapping[str, int]]]

Scope = Literal["rows", "dataset"]


@dataclass(frozen=True, slots=True)
class Slice:
    """Some consecutive rows of one parquet shard: a block that has not been loaded yet.

    Attributes:
        ordinal: position of this block in the stream, from 0.
    """

    ordinal: int
    path: Path
    offset: int
    rows: int

    def load(self) -> pl.DataFrame:
        """The rows, as a frame of SCHEMA."""
        return pl.scan_parquet(self.path, glob=False).slice(self.offset, self.rows).collect().match_to_schema(SCHEMA)


@dataclass(frozen=True, slots=True)
class Stream:
    """What the previous entry kept, in order; may be walked more than once and is never all in memory."""

    slices: tuple[Slice, ...]

    @property
    def rows(self) -> int:
        """How many records there are."""
        return sum(s.rows for s in self.slices)

    def blocks(self) -> Iterator[pl.DataFrame]:
        """The records as frames of SCHEMA."""
        return (s.load() for s in self.slices)

    def records(self) -> Iterator[Record]:
        """The records one by one."""
        return (record for block in self.blocks() for record in records_of(block))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one block (or of the next few records of a dataset stage).

    Books: rows in + `derived` = rows kept + rows dropped, over all outcomes of a stage.

    Attributes:
        kept: frame of SCHEMA.
        drops: frame of DROP_SCHEMA.
        derived: records that this stage made itself, kept or dropped.
        fixed: slug of a fix -> records it changed.
        hits: slug of a rule -> rows it objects to, whatever the order of the rules.
        notes: further counts worth a line in the report (`after_target`, `asked_again` ...).
        tables: counts worth a table of their own in the report and the dataset card: name -> row -> column -> count.
        unavailable: ids whose model call outlasted its deadline; any makes the stage incomplete.
    """

    kept: pl.DataFrame = field(default_factory=NO_ROWS.clone)
    drops: pl.DataFrame = field(default_factory=NO_DROPS.clone)
    derived: int = 0
    fixed: Mapping[str, int] = field(default_factory=dict)
    hits: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)
    tables: Tables = field(default_factory=dict)
    unavailable: tuple[str, ...] = ()

    @staticmethod
    def of(
        kept: Iterable[Record] = (),
        drops: Iterable[Drop] = (),
        *,
        derived: int = 0,
        fixed: Mapping[str, int] | None = None,
        notes: Mapping[str, int] | None = None,
        unavailable: tuple[str, ...] = (),
    ) -> "Outcome":
        """An outcome from single records rather than frames."""
        return Outcome(
            kept=to_frame(kept),
            drops=to_drop_frame(drops),
            derived=derived,
            fixed=fixed or {},
            notes=notes or {},
            unavailable=unavailable,
        )


def added(tables: Iterable[Tables]) -> dict[str, dict[str, dict[str, int]]]:
    """All tables as one set of tables: equal cells added up, rows and columns in the order in which they come."""
    total: dict[str, dict[str, dict[str, int]]] = {}
    for some in tables:
        for name, rows in some.items():
            for row, cells in rows.items():
                sums = total.setdefault(name, {}).setdefault(row, {})
                for column, count in cells.items():
                    sums[column] = sums.get(column, 0) + count
    return total


def merged(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome with the rows of several, in order, and their counts added."""
    fixed, hits, notes = Counter[str](), Counter[str](), Counter[str]()
    for outcome in outcomes:
        fixed.update(outcome.fixed)
        hits.update(outcome.hits)
        notes.update(outcome.notes)
    return Outcome(
        kept=pl.concat([o.kept for o in outcomes]) if outcomes else NO_ROWS.clone(),
        drops=pl.concat([o.drops for o in outcomes]) if outcomes else NO_DROPS.clone(),
        derived=sum(o.derived for o in outcomes),
        fixed=dict(fixed),
        hits=dict(hits),
        notes=dict(notes),
        tables=added([o.tables for o in outcomes]),
        unavailable=tuple(id for o in outcomes for id in o.unavailable),
    )


class Piece(Protocol):
    """Something that is loaded where the work on it is done."""

    def load(self) -> Any:
        """What it stands for: a Slice's frame, for one."""
        ...


Regroup = Callable[
    [Callable[[Any, Any], pl.DataFrame], Callable[[pl.DataFrame], pl.DataFrame], Sequence[tuple[Piece, Any]], int],
    Iterator[pl.DataFrame],
]
"""`regroup(scatter, gather, pieces, parts)`: `scatter(loaded piece, its argument)` gives rows with a column `part`
from 0 to parts - 1; `gather` gets all rows of one part, in any order, and its results come back in any order. Both
must be picklable."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a stage is lent: addressed randomness, models, ordered parallelism and a place to report progress.

    Attributes:
        entry: the recipe entry's name; part of derived ids and of every draw.
        seed: the run's seed.
        llm: where to ask; only stages that declare a model use it.
        map: applies a picklable function to loaded slices on the engine; results come back in the slices' order.
        regroup: brings rows of all pieces together by a key on the engine; None where everything is in one process and
            nothing would be won by it. Results are the same with and without.
        folder: where the stage's result will stand: names this entry of this run, and what is put beside it is seen by
            all workers; None in a rehearsal or a trial, after which nothing may have changed.
        progress: call with (done, total or None) now and then; shown by whoever watches the run.
    """

    entry: str
    seed: int
    llm: LLM
    map: Callable[[Callable[[pl.DataFrame], T], Sequence[Slice]], Iterator[T]]
    regroup: Regroup | None = None
    folder: Path | None = None
    progress: Callable[[int, int | None], None] = lambda done, total: None

    def draw(self, id: str, purpose: str) -> random.Random:
        """Randomness addressed by (seed, entry, record id, purpose)."""
        return draw(self.seed, self.entry, id, purpose)

    def model(self, role: str) -> Profile:
        """What is known of the model in this role."""
        return self.llm.profile(role)


class RowsStage(Protocol):
    """A stage whose verdict on a row depends on that row alone; spread over blocks by the engine."""

    scope: ClassVar[Literal["rows"]]

    def run(self, block: pl.DataFrame, tools: Tools) -> Outcome:
        """The outcome of one block."""
        ...


class DatasetStage(Protocol):
    """A stage that needs the whole stream; one process, which spreads its heavy parts itself.

    A stage whose `window` changes nothing of what it makes, since no record's requests depend on another record's
    replies, says so with a class variable `batchable` that is True; then its requests may go in batches.
    """

    scope: ClassVar[Literal["dataset"]]

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """Outcomes in the order in which their rows shall stand on disk."""
        ...


Stage = RowsStage | DatasetStage
"""A frozen dataclass whose fields are its whole configuration; see `pipeline.stages.STAGES` for the table of them."""
