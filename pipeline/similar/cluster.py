"""Near-duplicates: candidates from shared MinHash bands, verified by exact Jaccard, resolved by a stated rule."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.similar.shingles import Shingles

Cluster = Literal["star", "components"]

_SLACK = 1e-9
"""Early exits are loosened by this much, so that rounding never decides; the decision itself uses no slack."""


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


def near_duplicates(
    shingles: Shingles,
    keys: NDArray[np.uint64],
    priority: NDArray[np.int64],
    threshold: float,
    cluster: Cluster = "star",
) -> Duplicates:
    """Decide who is dropped, from band keys and shingle sets.

    `star`: texts are taken in the order of priority; one is dropped exactly when a *kept* one has a Jaccard similarity
    of at least the threshold, and the most similar of those (the first of equals) is its partner. Nothing is ever
    dropped for resembling something dropped.
    `components`: texts tied by a chain of such pairs form a cluster, and the first by priority is kept. A member may
    be far less similar to that one than the threshold: its neighbour in the chain is the evidence.

    The answer depends on nothing but the texts and their priority. Texts without shingles duplicate nothing.

    Args:
        shingles: of all texts.
        keys: their MinHash band keys, shape (texts, bands).
        priority: the texts to consider, the one to keep first.
        threshold: Jaccard similarity, above 0.
        cluster: the rule.
    """
    considered = priority[shingles.counts[priority] > 0]
    buckets, total = shared_buckets(keys[considered])
    company = np.flatnonzero((buckets >= 0).any(axis=1))
    rows = considered[company]
    sets = shingles.sets(rows)
    found = Duplicates(np.full(len(rows), -1), np.zeros(len(rows)), np.full(len(rows), -1), np.zeros(len(rows)))
    if cluster == "star":
        _star(sets.values, sets.starts, buckets[company], total, threshold, found.partner, found.similarity)
        found.neighbour[:], found.neighbour_similarity[:] = found.partner, found.similarity
    else:
        _components(
            sets.values, sets.starts, buckets[company], total, threshold, found.neighbour, found.neighbour_similarity
        )
        _follow(sets.values, sets.starts, found.neighbour, found.partner, found.similarity)
    return _spread(found, rows, len(shingles))


def shared_buckets(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int32], int]:
    """Number the values that more than one text has in a band; -1 where a text is alone.

    Returns:
        The numbers, shape (texts, bands), no two bands sharing any, and how many there are.
    """
    buckets = np.full(keys.shape, -1, np.int32)
    total = 0
    for band in range(keys.shape[1] if len(keys) else 0):
        column = keys[:, band]
        order = np.argsort(column)
        ordered = column[order]
        same = np.concatenate(([False], ordered[1:] == ordered[:-1], [False]))
        begins = same[1:] & ~same[:-1]
        shared = same[1:] | same[:-1]
        buckets[order[shared], band] = total - 1 + np.cumsum(begins)[shared]
        total += int(begins.sum())
    return buckets, total


def _spread(found: Duplicates, rows: NDArray[np.int64], size: int) -> Duplicates:
    """The same findings about `rows` among all texts, named by their places there."""
    dropped = found.partner >= 0
    at = rows[dropped]
    spread = Duplicates(np.full(size, -1), np.zeros(size), np.full(size, -1), np.zeros(size))
    spread.partner[at], spread.similarity[at] = rows[found.partner[dropped]], found.similarity[dropped]
    spread.neighbour[at] = rows[found.neighbour[dropped]]
    spread.neighbour_similarity[at] = found.neighbour_similarity[dropped]
    return spread


@njit(cache=True, nogil=True)
def _jaccard(values: NDArray[np.uint64], starts: NDArray[np.int64], a: int, b: int, threshold: float) -> float:
    """Jaccard similarity of two sorted sets, or -1 as soon as it must be below the threshold."""
    i, j = starts[a], starts[b]
    i_end, j_end = starts[a + 1], starts[b + 1]
    sizes = i_end - i + j_end - j
    # |A and B| / (sizes - |A and B|) >= t  <=>  |A and B| >= t / (1 + t) * sizes
    least = (threshold - _SLACK) / (1 + threshold) * sizes
    shared = 0
    while i < i_end and j < j_end:
        if shared + min(i_end - i, j_end - j) < least:
            return -1.0
        if values[i] == values[j]:
            shared += 1
            i += 1
            j += 1
        elif values[i] < values[j]:
            i += 1
        else:
            j += 1
    similarity = shared / (sizes - shared)
    return similarity if similarity >= threshold else -1.0


@njit(cache=True, nogil=True)
def _star(
    values: NDArray[np.uint64],
    starts: NDArray[np.int64],
    buckets: NDArray[np.int32],
    total: int,
    threshold: float,
    partner: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    """Fill `partner` and `similarity`. Only kept texts enter the buckets, so large clusters cost no more than small."""
    latest = np.full(total, -1, np.int32)
    earlier = np.full(buckets.shape, -1, np.int32)
    met = np.full(len(buckets), -1, np.int32)
    for text in range(len(buckets)):
        for band in range(buckets.shape[1]):
            other = latest[buckets[text, band]] if buckets[text, band] >= 0 else -1
            while other >= 0:
                if met[other] != text:
                    met[other] = text
                    score = _jaccard(values, starts, text, other, threshold)
                    if score > similarity[text] or (score == similarity[text] and other < partner[text]):
                        partner[text], similarity[text] = other, score
                other = earlier[other, band]
        if partner[text] < 0:
            for band in range(buckets.shape[1]):
                bucket = buckets[text, band]
                if bucket >= 0:
                    earlier[text, band] = latest[bucket]
                    latest[bucket] = text


@njit(cache=True, nogil=True)
def _root(roots: NDArray[np.int64], text: int) -> int:
    while roots[text] != text:
        roots[text] = roots[roots[text]]
        text = roots[text]
    return text


@njit(cache=True, nogil=True)
def _components(
    values: NDArray[np.uint64],
    starts: NDArray[np.int64],
    buckets: NDArray[np.int32],
    total: int,
    threshold: float,
    neighbour: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    """Make `neighbour` a forest of verified pairs, one tree per component, its root the first text (neighbour -1)."""
    latest = np.full(total, -1, np.int32)
    earlier = np.full(buckets.shape, -1, np.int32)
    roots = np.arange(len(buckets))
    for text in range(len(buckets)):
        for band in range(buckets.shape[1]):
            bucket = buckets[text, band]
            if bucket < 0:
                continue
            other = np.int64(latest[bucket])
            earlier[text, band] = latest[bucket]
            latest[bucket] = text
            while other >= 0:
                a, b = _root(roots, text), _root(roots, other)
                if a != b:
                    score = _jaccard(values, starts, text, other, threshold)
                    if score >= threshold:
                        roots[max(a, b)] = min(a, b)
                        inner, outer = (text, other) if a < b else (other, text)
                        _hang(neighbour, similarity, outer, inner, score)
                other = np.int64(earlier[other, band])


@njit(cache=True, nogil=True)
def _hang(neighbour: NDArray[np.int64], similarity: NDArray[np.float64], text: int, under: int, score: float) -> None:
    """Turn the tree that `text` is in over so that `text` is on top, and hang it under a text of another tree."""
    while text >= 0:
        above, above_score = neighbour[text], similarity[text]
        neighbour[text], similarity[text] = under, score
        text, under, score = above, text, above_score


@njit(cache=True, nogil=True)
def _follow(
    values: NDArray[np.uint64],
    starts: NDArray[np.int64],
    neighbour: NDArray[np.int64],
    partner: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    """Fill each dropped text's partner, the root of its tree, and its similarity with that one, however low."""
    for text in range(len(neighbour)):
        top = text
        while neighbour[top] >= 0:
            top = neighbour[top]
        if top != text:
            partner[text] = top
            similarity[text] = _jaccard(values, starts, text, top, 0.0)
