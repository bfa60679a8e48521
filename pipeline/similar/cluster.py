"""Near-duplicates: candidates from shared MinHash bands, verified by exact Jaccard, resolved by a stated rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.similar.buckets import shared_buckets
from pipeline.similar.company import in_company
from pipeline.similar.join import Texts, components, follow, star
from pipeline.similar.minhash import Bands, band_keys
from pipeline.similar.shingles import Shingles
from pipeline.similar.threads import spread

Cluster = Literal["star", "components"]


@dataclass(frozen=True, slots=True)
class Rule:
    """When two texts are near-duplicates, and which one goes.

    Attributes:
        threshold: Jaccard similarity from which they are, above 0.
        cluster: `star` or `components`; see `near_duplicates`.
        settled: so many texts, the first by priority, are kept whatever they resemble: those of another dataset, or of
            earlier batches.
        aside: Jaccard similarity that two texts must reach in a second aspect too, when both have one.
    """

    threshold: float
    cluster: Cluster = "star"
    settled: int = 0
    aside: float = 0.0


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Which texts duplicate which; all arrays have one item per text.

    Attributes:
        partner: the kept text that stands for this one, or -1 when this one is kept itself.
        similarity: Jaccard similarity with the partner; 0 for a kept text.
        neighbour: the text whose verified similarity ties this one to its partner; the partner itself under `star`.
        neighbour_similarity: Jaccard similarity with the neighbour, at least the threshold; 0 for a kept text.
    """

    partner: NDArray[np.int64]
    similarity: NDArray[np.float64]
    neighbour: NDArray[np.int64]
    neighbour_similarity: NDArray[np.float64]

    @staticmethod
    def none(size: int) -> "Duplicates":
        """So many texts, all kept."""
        return Duplicates(np.full(size, -1), np.zeros(size), np.full(size, -1), np.zeros(size))


def near_duplicates(
    parts: Sequence[Shingles],
    bands: Bands,
    priority: NDArray[np.int64],
    rule: Rule,
    aside: Sequence[Shingles] | None = None,
) -> Duplicates:
    """Decide who is dropped, from the shingles.

    `star`: texts are taken in the order of priority; one is dropped exactly when a *kept* one has a Jaccard similarity
    of at least the threshold, and the most similar of those (the first of equals) is its partner. Nothing is ever
    dropped for resembling something dropped.
    `components`: texts tied by a chain of such pairs form a cluster, and the first by priority is kept. A member may
    be far less similar to that one than the threshold: its neighbour in the chain is the evidence.

    The answer depends on nothing but the texts, the bands, their priority and the rule. Texts without shingles
    duplicate nothing.

    Args:
        parts: shingles of all texts in order, in as many pieces as is handy.
        bands: whose agreement makes two texts candidates.
        priority: the texts to consider, the one to keep first.
        rule: when two texts are near-duplicates.
        aside: shingles of the second aspect, for the same texts in the same pieces; none for texts that have no such.
    """
    size = sum(len(part) for part in parts)
    wanted = np.zeros(size, np.bool_)
    wanted[priority] = True
    wanted &= in_company(parts, rule.threshold)
    begins = np.cumsum([0, *(len(part) for part in parts)])
    pieces = [
        (part, np.flatnonzero(wanted[begin : begin + len(part)]))
        for part, begin in zip(parts, begins[:-1], strict=True)
    ]
    sketched = spread(lambda piece: _sketched(*piece, bands), pieces)
    second = Shingles.joined([part.sets(rows) for part, (_, rows) in zip(aside or (), pieces, strict=False)])
    del pieces, parts, aside  # larger than what has been made of them, and often held by nobody else
    sets, keys = Shingles.joined([one for one, _ in sketched]), _stacked([one for _, one in sketched], bands)
    del sketched
    rows, settled = np.flatnonzero(wanted), int(wanted[priority[: rule.settled]].sum())
    place = np.empty(size, np.int64)
    place[rows] = np.arange(len(rows))
    order = place[priority[wanted[priority]]]
    found = _resolved(sets, second, keys, order, rule, settled)
    return _spread(found, rows[order], size)


def _sketched(part: Shingles, rows: NDArray[np.int64], bands: Bands) -> tuple[Shingles, NDArray[np.uint64]]:
    sets = part.sets(rows)
    return sets, band_keys(sets, bands)


def _stacked(keys: list[NDArray[np.uint64]], bands: Bands) -> NDArray[np.uint64]:
    """All keys, shape (bands, texts)."""
    return np.concatenate([np.empty((bands.bands, 0), np.uint64), *(one.T for one in keys)], axis=1)


def _resolved(
    sets: Shingles,
    aside: Shingles,
    keys: NDArray[np.uint64],
    order: NDArray[np.int64],
    rule: Rule,
    settled: int,
) -> Duplicates:
    """What was found about the texts in the order of priority, named by their places in that order."""
    if not np.array_equal(order, np.arange(len(order))):
        sets, keys = sets.taken(order), keys[:, order]
        aside = aside.taken(order) if len(aside) else aside
    buckets = shared_buckets(keys)
    del keys
    texts = Texts(sets.values, sets.starts, aside.values, aside.starts, rule.threshold, rule.aside)
    found = Duplicates.none(len(order))
    if rule.cluster == "star":
        star(texts, buckets, settled, found.partner, found.similarity)
        found.neighbour[:], found.neighbour_similarity[:] = found.partner, found.similarity
    else:
        components(texts, buckets, found.neighbour, found.neighbour_similarity)
        follow(texts, settled, found.neighbour, found.partner, found.similarity)
    return found


def _spread(found: Duplicates, rows: NDArray[np.int64], size: int) -> Duplicates:
    """The same findings about `rows` among all texts, named by their places there."""
    dropped = found.partner >= 0
    at = rows[dropped]
    spread = Duplicates.none(size)
    spread.partner[at], spread.similarity[at] = rows[found.partner[dropped]], found.similarity[dropped]
    spread.neighbour[at] = rows[found.neighbour[dropped]]
    spread.neighbour_similarity[at] = found.neighbour_similarity[dropped]
    return spread
