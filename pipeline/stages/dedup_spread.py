"""Near-duplicates on a cluster: shuffle by band, unite, then verify each group of candidates in one place.

1. Every block gives its texts' band keys; those of one key meet, and each is linked to the first.
2. The driver unites linked texts, by numbers alone. Candidates are always in the same group.
3. Every block gives the shingles of its texts that are in a group; whole groups meet, and are resolved there by the
   very function that resolves everything in one process.

So the answer is the same, no process holds more than its share of the shingles, and the driver holds none. The
largest group of candidates must fit into a worker's memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.similar.cluster import Duplicates, Rule, near_duplicates
from pipeline.similar.groups import packed, unite
from pipeline.similar.index import Known
from pipeline.similar.minhash import Bands, band_keys
from pipeline.similar.shingles import Shingles
from pipeline.stage import Piece, Regroup, Stream
from pipeline.stages.dedup_sketch import Aspect, sketch

_KEYS_A_PART = 4_000_000
_ROWS_A_PART = 50_000
_KNOWN_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class _Remembered:
    """Some remembered texts as a piece of work."""

    known: Known

    def load(self) -> Known:
        return self.known


@dataclass(frozen=True, slots=True)
class _Grouped:
    """Which of a piece's rows are in a group.

    Attributes:
        rows: their places in the piece.
        ranks: their places in the order of priority.
        parts: where their group is resolved.
    """

    rows: NDArray[np.int64]
    ranks: NDArray[np.int64]
    parts: NDArray[np.uint32]


def near_on_cluster(
    stream: Stream, known: Known, priority: NDArray[np.int64], aspect: Aspect, rule: Rule, regroup: Regroup
) -> Duplicates:
    """`near_duplicates` of the remembered texts and those of the stream, spread over a cluster.

    Args:
        stream: where the texts are.
        known: texts that come before them.
        priority: rows to consider (remembered ones first, then the stream's), the one to keep first.
        aspect: what is compared.
        rule: when two texts are near-duplicates.
        regroup: the cluster's shuffle.
    """
    assert aspect.bands is not None
    pieces = list(_pieces(stream, known))
    size = len(known) + stream.rows
    rank = np.full(size, -1)
    rank[priority] = np.arange(len(priority))
    parts = 1 + len(priority) * aspect.bands.bands // _KEYS_A_PART
    considered = [(piece, rank[begin : begin + rows]) for piece, begin, rows in pieces]
    roots = np.arange(len(priority))
    for links in regroup(partial(_scatter_keys, aspect=aspect, parts=parts), _linked, considered, parts):
        unite(roots, links["first"].to_numpy(), links["other"].to_numpy())
    part = packed(roots, _ROWS_A_PART)
    grouped = [(piece, _grouped(ranks, part)) for piece, ranks in considered]
    grouped = [(piece, rows) for piece, rows in grouped if len(rows.rows)]
    found = Duplicates.none(size)
    resolve = partial(_resolved, bands=aspect.bands, rule=rule)
    for frame in regroup(partial(_scatter_sets, aspect=aspect), resolve, grouped, int(part.max(initial=0)) + 1):
        at = priority[frame["rank"].to_numpy()]
        found.partner[at] = priority[frame["partner"].to_numpy()]
        found.neighbour[at] = priority[frame["neighbour"].to_numpy()]
        found.similarity[at] = frame["similarity"].to_numpy()
        found.neighbour_similarity[at] = frame["neighbour_similarity"].to_numpy()
    return found


def _pieces(stream: Stream, known: Known) -> Iterator[tuple[Piece, int, int]]:
    """Every piece with its first row and how many it has."""
    for begin in range(0, len(known), _KNOWN_ROWS):
        rows = np.arange(begin, min(begin + _KNOWN_ROWS, len(known)))
        yield _Remembered(known.taken(rows)), begin, len(rows)
    begin = len(known)
    for piece in stream.slices:
        yield piece, begin, piece.rows
        begin += piece.rows


def _cut(loaded: Any, aspect: Aspect) -> tuple[Shingles, Shingles]:
    """Shingles of a piece's texts, whole and aside; the latter has no text when it is not asked for."""
    if isinstance(loaded, Known):
        return loaded.sets, loaded.aside
    one = sketch(loaded, aspect)
    assert one.shingles is not None
    return one.shingles, one.aside or Shingles.joined([])


def _scatter_keys(loaded: Any, ranks: NDArray[np.int64], aspect: Aspect, parts: int) -> pl.DataFrame:
    """Columns part, band, key and rank: one row a band of each considered text."""
    assert aspect.bands is not None
    cut, _ = _cut(loaded, aspect)
    rows = np.flatnonzero((ranks >= 0) & (cut.counts > 0))
    keys = band_keys(cut.taken(rows), aspect.bands)
    bands = np.broadcast_to(np.arange(keys.shape[1], dtype=np.uint16), keys.shape)
    return pl.DataFrame(
        {
            "part": (keys.ravel() % np.uint64(parts)).astype(np.uint32),
            "band": bands.ravel(),
            "key": keys.ravel(),
            "rank": np.repeat(ranks[rows], keys.shape[1]),
        }
    )


def _linked(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns first and other: each text that shares a band with others, and the first of those."""
    first = pl.col("rank").min().over("band", "key").alias("first")
    return frame.select(first, other="rank").filter(pl.col("first") != pl.col("other")).unique()


def _grouped(ranks: NDArray[np.int64], part: NDArray[np.int64]) -> _Grouped:
    rows = np.flatnonzero(ranks >= 0)
    rows = rows[part[ranks[rows]] >= 0]
    return _Grouped(rows, ranks[rows], part[ranks[rows]].astype(np.uint32))


def _scatter_sets(loaded: Any, grouped: _Grouped, aspect: Aspect) -> pl.DataFrame:
    """Columns part, rank, values and aside: one row a text that is in a group."""
    cut, aside = _cut(loaded, aspect)
    sets = cut.sets(grouped.rows)
    second = aside.sets(grouped.rows) if len(aside) else _without(len(grouped.rows))
    return pl.DataFrame(
        {"part": grouped.parts, "rank": grouped.ranks, "values": _lists(sets), "aside": _lists(second)},
        schema={"part": pl.UInt32, "rank": pl.Int64, "values": pl.List(pl.UInt64), "aside": pl.List(pl.UInt64)},
    )


def _without(size: int) -> Shingles:
    return Shingles(np.empty(0, np.uint64), np.zeros(size + 1, np.int64))


def _lists(sets: Shingles) -> pl.Series:
    """A column of lists."""
    rows = np.repeat(np.arange(len(sets)), sets.counts)
    frame = pl.DataFrame({"row": rows, "value": sets.values}).group_by("row", maintain_order=True).agg("value")
    every = pl.DataFrame({"row": np.arange(len(sets))}).join(frame, on="row", how="left", maintain_order="left")
    return every["value"].fill_null(pl.Series([[]], dtype=pl.List(pl.UInt64)))


def _shingles(lists: pl.Series) -> Shingles:
    starts = np.concatenate(([0], np.cumsum(lists.list.len().to_numpy().astype(np.int64))))
    return Shingles(lists.explode(empty_as_null=False).to_numpy().astype(np.uint64), starts)


def _resolved(frame: pl.DataFrame, bands: Bands, rule: Rule) -> pl.DataFrame:
    """What was found about the texts of some groups; all are named by their ranks."""
    frame = frame.sort("rank")
    ranks = frame["rank"].to_numpy()
    here = Rule(rule.threshold, rule.cluster, int((ranks < rule.settled).sum()), rule.aside)
    found = near_duplicates(
        [_shingles(frame["values"])], bands, np.arange(len(ranks)), here, [_shingles(frame["aside"])]
    )
    rows = np.flatnonzero(found.partner >= 0)
    return pl.DataFrame(
        {
            "rank": ranks[rows],
            "partner": ranks[found.partner[rows]],
            "similarity": found.similarity[rows],
            "neighbour": ranks[found.neighbour[rows]],
            "neighbour_similarity": found.neighbour_similarity[rows],
        }
    )
