"""Groups of records that must not be parted between training and evaluation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.record import view
from pipeline.similar.cluster import Duplicates, Rule, near_duplicates
from pipeline.similar.exact import digests, first_equals
from pipeline.similar.index import Known
from pipeline.similar.minhash import bands_for
from pipeline.similar.union import Union
from pipeline.stages.dedup_find import find
from pipeline.stages.dedup_sketch import Aspect, Sketch, sketch

THRESHOLD = 0.7
"""Jaccard similarity of near-duplicates, as the dedup stage has it by default."""

_BANDS = 128
_NGRAM = 5


@dataclass(kw_only=True)
class Walk:
    """What is remembered of the rows while they are walked once, to be grouped afterwards; no texts.

    `near` may be turned off when only questions and lineage matter.
    """

    sketches: list[Sketch] = field(default_factory=list)
    questions: list[NDArray[np.uint64]] = field(default_factory=list)
    lineage: list[tuple[str, str]] = field(default_factory=list)

    def add(self, block: pl.DataFrame) -> None:
        """Take one frame of SCHEMA."""
        self.sketches.append(sketch(block, _aspect()))
        frame = view(block)
        asked = frame.select(pl.concat_str("instruction", "input", separator="\n").str.strip_chars()).to_series()
        self.questions.append(digests(asked))
        # Seeds shown together in a prompt are no lineage: only what has one parent is the same matter told again.
        only = pl.when(pl.col("parents").list.len() == 1).then(pl.col("parents").list.first()).fill_null("")
        self.lineage += block.select("id", only.alias("parent")).rows()


def near_roots(sketches: list[Sketch]) -> NDArray[np.int64]:
    """For each row the first row of its group of near-duplicates: tied by pairs that reach THRESHOLD."""
    bands, rule = bands_for(THRESHOLD, _BANDS), Rule(THRESHOLD, "components")
    parts = [one.shingles for one in sketches if one.shingles is not None]

    def near(priority: NDArray[np.int64]) -> Duplicates:
        return near_duplicates(parts, bands, priority, rule)

    found = find(Known.joined([]), sketches, equal=True, near=near).duplicates
    return np.where(found.partner < 0, np.arange(len(found.partner)), found.partner)


def groups(walk: Walk) -> NDArray[np.int64]:
    """For each row the first row of the group that stays together.

    Rows are tied that are near-duplicates, that ask the same question, or that are versions of each other: one made
    from the other alone, or both from the same one (a translation, an evolved task, a piece of a conversation).
    """
    near = near_roots(walk.sketches)
    union = Union(len(near))
    union.tie(_pairs(near))
    asked = np.concatenate([np.empty((0, 2), np.uint64), *walk.questions])
    union.tie(_pairs(first_equals(asked, np.arange(len(asked)))))
    union.tie(_versions(walk.lineage))
    return union.roots()


def _pairs(roots: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    rows = np.flatnonzero(roots != np.arange(len(roots)))
    return zip(rows.tolist(), roots[rows].tolist(), strict=True)


def _versions(lineage: list[tuple[str, str]]) -> Iterator[tuple[int, int]]:
    """Each row with the first one that is its parent, or has the same parent."""
    first: dict[str, int] = {}
    for row, (id, parent) in enumerate(lineage):
        for name in (id, parent):
            if name:
                yield row, first.setdefault(name, row)


def _aspect() -> Aspect:
    bands = bands_for(THRESHOLD, _BANDS)
    return Aspect(bands, _NGRAM, "conversation", "same", False, "first", None, ())
