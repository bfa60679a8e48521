"""Decontamination: records that hold a benchmark's questions or answers are dropped, with the evidence."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.contamination.evidence import Counts, counts_of, details
from pipeline.contamination.index import Index, Parts
from pipeline.contamination.items import Columns
from pipeline.contamination.load import load_index
from pipeline.contamination.match import Rule, find_all
from pipeline.contamination.texts import Sides, texts_of
from pipeline.errors import UsageError
from pipeline.record import detail_text
from pipeline.stage import Outcome, Stream, Tools

TABLE = "benchmarks"
"""The table's name in the manifest."""


@dataclass(frozen=True, kw_only=True)
class Decontaminate:
    """Drops records in which a benchmark's texts are found, also with edits; evidence says what, where, how much.

    Texts are compared as words, and as single characters in Chinese, Japanese, Korean and Thai; width, case and
    punctuation make no difference, nor do traditional and simplified characters. Runs of five tokens, and for short
    texts windows of six with one left out, are looked up; then counts how much of the benchmark's text they cover.

    Attributes:
        against: benchmark files (or globs): JSON, JSON Lines, parquet, csv, tsv, lines of text, and packs that
            `seedmill pack` has made.
        sides: which side of the records is searched: the `question` side (system, user and tool messages, and the
            input), the `answer` side (assistant messages, their thinking, preferred and rejected answers), or `both`.
        parts: what of the benchmarks is looked for: the `question`s, the `answer`s, or `both`.
        threshold: share of a benchmark text's tokens that must be found close together. Of a short question less may be
            missing, of any question always one token.
        in_a_row: so many tokens of a question in a row are enough; 1.6 times as many in Chinese; never fewer than 20 of
            an answer.
        short: a question of fewer tokens must be the whole of a message or an input; answers of fewer than 20 are not
            looked for.
        question: names of the columns that hold the questions of benchmark files, when they are not the usual ones
            (question, turns, prompt, instruction, problem ...); several are joined.
        answer: names of the columns that hold their answers.
    """

    against: tuple[str, ...] = field(metadata={"file": True, "schema": {"minItems": 1}})
    sides: Sides = "both"
    parts: Parts = "both"
    threshold: float = 0.5
    in_a_row: int = 13
    short: int = 8
    question: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()

    scope: ClassVar[Literal["dataset"]] = "dataset"

    def __post_init__(self) -> None:
        if not 0.3 <= self.threshold <= 1:
            hint = "it lies between 0.3 and 1; 0.5 finds most texts in which one word in ten was changed"
            raise UsageError(f"decontaminate: a threshold of {self.threshold} makes no sense", hint)
        if self.in_a_row < 8 or self.short < 5:
            hint = "fewer words in a row are shared by texts that have nothing to do with each other"
            raise UsageError("decontaminate: in_a_row must be at least 8 and short at least 5", hint)
        if not self.against:
            raise UsageError("decontaminate: 'against' names no file", "name benchmark files or packs")

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """One outcome per block, spread by the engine, and at the end the table of what was found.

        In memory: the blocks under way, and in each process the index, about 100 bytes a token of the benchmarks.
        """
        index = self._index()
        items: set[tuple[int, int]] = set()
        records = np.zeros((len(index.benchmarks), 3), np.int64)
        done = 0
        for outcome, counts in tools.map(self.on_block, stream.slices):
            yield outcome
            items.update(map(tuple, counts.items.tolist()))
            records += counts.records
            done += outcome.kept.height + outcome.drops.height
            tools.progress(done, stream.rows)
        yield Outcome(tables={TABLE: _table(index, items, records)})

    def on_block(self, block: pl.DataFrame) -> tuple[Outcome, Counts]:
        """What is kept and dropped of a block, and what was found in it; depends on no other block."""
        index = self._index()
        texts = texts_of(block, self.sides)
        found = find_all(texts, index, Rule(self.threshold, self.in_a_row, self.short))
        told = details(found, texts, index)
        numbers = sorted(told)
        dropped = pl.Series(numbers, dtype=pl.UInt32)
        drops = block[dropped].with_columns(
            pl.lit("contaminated").alias("reason"),
            pl.Series("detail", [detail_text(told[number]) for number in numbers], dtype=pl.String),
        )
        kept = block.filter(~pl.int_range(pl.len(), dtype=pl.UInt32).is_in(dropped.implode()))
        return Outcome(kept=kept, drops=drops), counts_of(found, texts, index)

    def _index(self) -> Index:
        return load_index(self.against, Columns(self.question, self.answer), self.parts, self.short)


def _table(index: Index, items: set[tuple[int, int]], records: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """A row for each benchmark."""
    hit = Counter(bench for bench, _ in items)
    return {
        benchmark.name: {
            "items": len(benchmark.lines),
            "items_found": hit[number],
            "records_dropped": int(records[number, 0]),
            "question_side": int(records[number, 1]),
            "answer_side": int(records[number, 2]),
            "unreadable_items": benchmark.unreadable,
        }
        for number, benchmark in enumerate(index.benchmarks)
    }
