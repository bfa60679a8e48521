"""Who repeats whom: equal records first, then near-duplicates among the distinct ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.similar.cluster import Duplicates
from pipeline.similar.exact import first_equals
from pipeline.similar.index import Known
from pipeline.stages.dedup_sketch import Sketch

Near = Callable[[NDArray[np.int64]], Duplicates]
"""Finds near-duplicates among the rows given in the order of priority; None in its place looks for equal ones only."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of every row: first the remembered ones, then those of the stream.

    Attributes:
        duplicates: each row's partner; only those of the stream's rows mean anything.
        is_exact: whether row and partner are equal rather than similar.
        remembered: how many rows are not of the stream.
    """

    duplicates: Duplicates
    is_exact: NDArray[np.bool_]
    remembered: int

    @property
    def kept(self) -> NDArray[np.bool_]:
        """For each row of the stream, whether it stays."""
        return self.duplicates.partner[self.remembered :] < 0


def find(known: Known, sketches: Sequence[Sketch], *, equal: bool, near: Near | None) -> Found:
    """Each row's partner.

    Args:
        known: remembered records, which come before all others.
        sketches: of the stream's records, in order.
        equal: whether equal records are looked for by themselves.
        near: finds near-duplicates.
    """
    digests = np.concatenate([known.digests, *(one.digests for one in sketches)])
    priority = _priority(len(known), sketches)
    first = first_equals(digests, priority) if equal else np.arange(len(digests))
    repeats = first != np.arange(len(first))
    repeats[: len(known)] = False
    if near is None:
        partner = np.where(repeats, first, -1)
        return Found(
            Duplicates(partner, repeats.astype(np.float64), partner, repeats.astype(np.float64)), repeats, len(known)
        )
    found = near(priority[~repeats[priority]])
    # What equals a dropped record is exactly as similar to that one's partner, which becomes its own.
    is_exact = repeats & (found.partner[first] < 0)
    resolved = Duplicates(
        partner=np.where(is_exact, first, found.partner[first]),
        similarity=np.where(is_exact, 1.0, found.similarity[first]),
        neighbour=np.where(is_exact, first, found.neighbour[first]),
        neighbour_similarity=np.where(is_exact, 1.0, found.neighbour_similarity[first]),
    )
    return Found(resolved, is_exact, len(known))


def _priority(remembered: int, sketches: Sequence[Sketch]) -> NDArray[np.int64]:
    """Every row once: the remembered ones, then the stream's from the one to keep first."""
    measures = [one.measure for one in sketches if one.measure is not None]
    if measures:
        order = np.argsort(-np.concatenate(measures), kind="stable")
    else:
        order = np.arange(sum(len(one.digests) for one in sketches))
    return np.concatenate([np.arange(remembered), remembered + order])
