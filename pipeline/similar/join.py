"""The loops behind near-duplicates: candidates of shared buckets, verified one by one."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.similar.buckets import Buckets
from pipeline.similar.hash_set import contains, enter, table_size

_SLACK = 1e-9
"""Early exits are loosened by this much, so that rounding never decides; the decision itself uses no slack."""


class Texts(NamedTuple):
    """What is compared, in the order of priority.

    Attributes:
        values: distinct shingles of each text, one text after the other.
        starts: those of text i are values[starts[i] : starts[i + 1]].
        aside: the same of the second aspect.
        aside_starts: its starts; fewer than two when there is no second aspect.
        threshold: Jaccard similarity of near-duplicates.
        aside_threshold: what two texts that both have the second aspect must reach in it.
    """

    values: NDArray[np.uint64]
    starts: NDArray[np.int64]
    aside: NDArray[np.uint64]
    aside_starts: NDArray[np.int64]
    threshold: float
    aside_threshold: float


@njit(cache=True, nogil=True)
def _tabled(values: NDArray[np.uint64], start: int, end: int, table: NDArray[np.uint64]) -> int:
    """Fill the first places of the table with a set; how many places they are."""
    size: int = table_size(end - start)
    table[:size] = 0
    for k in range(start, end):
        enter(table, size, values[k])
    return size


@njit(cache=True, nogil=True)
def _jaccard(
    values: NDArray[np.uint64],
    start: int,
    end: int,
    table: NDArray[np.uint64],
    size: int,
    count: int,
    threshold: float,
) -> float:
    """Jaccard similarity of a set with the one of `count` values in the table; -1 when it is below the threshold."""
    both = end - start + count
    # |A and B| / (both - |A and B|) >= t  <=>  |A and B| >= t / (1 + t) * both
    room = end - start - (threshold - _SLACK) / (1 + threshold) * both
    shared = 0
    for k in range(start, end):
        if contains(table, size, values[k]):
            shared += 1
        else:
            room -= 1
            if room < 0:
                return -1.0
    similarity = shared / (both - shared) if both > shared else 0.0
    return similarity if similarity >= threshold else -1.0


@njit(cache=True, nogil=True)
def _possible(counts: int, other: int, threshold: float) -> bool:
    """Whether sets of these sizes can be as similar as the threshold."""
    return min(counts, other) >= (threshold - _SLACK) * max(counts, other)


@njit(cache=True, nogil=True)
def _alike_aside(texts: Texts, a: int, b: int) -> bool:
    """Whether two texts reach the second aspect's threshold, or one of them has no such aspect."""
    if len(texts.aside_starts) < 2:
        return True
    start, end = texts.aside_starts[a], texts.aside_starts[a + 1]
    other, other_end = texts.aside_starts[b], texts.aside_starts[b + 1]
    if end == start or other_end == other:
        return True
    table = np.zeros(table_size(end - start), np.uint64)
    size = _tabled(texts.aside, start, end, table)
    score: float = _jaccard(texts.aside, other, other_end, table, size, end - start, texts.aside_threshold)
    return score >= 0


@njit(cache=True, nogil=True)
def star(
    texts: Texts,
    buckets: Buckets,
    settled: int,
    partner: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    """Fill `partner` and `similarity`. Only kept texts enter the buckets, so large clusters cost no more than small."""
    starts = texts.starts
    numbers, offsets = buckets.numbers, buckets.offsets
    # How many a bucket holds, and its first one, side by side: most hold no more, and every look misses the cache.
    held = np.zeros((len(buckets.starts) - 1, 2), np.int32)
    members = np.empty(buckets.starts[-1], np.int32)
    met = np.full(numbers.shape[1], -1, np.int32)
    table = np.zeros(table_size(_longest(starts)), np.uint64)
    for text in range(numbers.shape[1]):
        count = starts[text + 1] - starts[text]
        size = 0
        for band in range(len(numbers) if text >= settled else 0):
            if numbers[band, text] < 0:
                continue
            bucket = numbers[band, text] + offsets[band]
            for at in range(held[bucket, 0]):
                other = held[bucket, 1] if at == 0 else members[buckets.starts[bucket] + at]
                if met[other] == text:
                    continue
                met[other] = text
                start, end = starts[other], starts[other + 1]
                if not _possible(count, end - start, texts.threshold):
                    continue
                if size == 0:
                    size = _tabled(texts.values, starts[text], starts[text + 1], table)
                score = _jaccard(texts.values, start, end, table, size, count, texts.threshold)
                closer = score > similarity[text] or (score == similarity[text] and other < partner[text])
                if closer and _alike_aside(texts, text, other):
                    partner[text], similarity[text] = other, score
        if partner[text] < 0:
            for band in range(len(numbers)):
                if numbers[band, text] >= 0:
                    bucket = numbers[band, text] + offsets[band]
                    if held[bucket, 0] == 0:
                        held[bucket, 1] = text
                    else:
                        members[buckets.starts[bucket] + held[bucket, 0]] = text
                    held[bucket, 0] += 1


@njit(cache=True, nogil=True)
def _join_buckets(buckets: Buckets, text: int, members: NDArray[np.int32], filled: NDArray[np.int64]) -> None:
    for band in range(len(buckets.numbers)):
        if buckets.numbers[band, text] >= 0:
            bucket = buckets.numbers[band, text] + buckets.offsets[band]
            members[filled[bucket]] = text
            filled[bucket] += 1


@njit(cache=True, nogil=True)
def _longest(starts: NDArray[np.int64]) -> int:
    longest = 0
    for text in range(len(starts) - 1):
        longest = max(longest, int(starts[text + 1] - starts[text]))
    return longest


@njit(cache=True, nogil=True)
def root_of(roots: NDArray[np.int64], text: int) -> int:
    """The root of a text's tree; paths are halved on the way."""
    while roots[text] != text:
        roots[text] = roots[roots[text]]
        text = roots[text]
    return text


@njit(cache=True, nogil=True)
def components(
    texts: Texts,
    buckets: Buckets,
    neighbour: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    """Make `neighbour` a forest of verified pairs, one tree per component, its root the first text (neighbour -1)."""
    starts = texts.starts
    numbers, offsets = buckets.numbers, buckets.offsets
    filled = buckets.starts[:-1].copy()
    members = np.empty(buckets.starts[-1], np.int32)
    roots = np.arange(numbers.shape[1])
    table = np.zeros(table_size(_longest(starts)), np.uint64)
    for text in range(numbers.shape[1]):
        count = starts[text + 1] - starts[text]
        size = 0
        for band in range(len(numbers)):
            if numbers[band, text] < 0:
                continue
            bucket = numbers[band, text] + offsets[band]
            for at in range(buckets.starts[bucket], filled[bucket]):
                other = members[at]
                start, end = starts[other], starts[other + 1]
                a, b = root_of(roots, text), root_of(roots, np.int64(other))
                if a == b or not _possible(count, end - start, texts.threshold):
                    continue
                if size == 0:
                    size = _tabled(texts.values, starts[text], starts[text + 1], table)
                score = _jaccard(texts.values, start, end, table, size, count, texts.threshold)
                if score >= texts.threshold and _alike_aside(texts, text, other):
                    roots[max(a, b)] = min(a, b)
                    inner, outer = (text, np.int64(other)) if a < b else (np.int64(other), text)
                    hang(neighbour, similarity, outer, inner, score)
        _join_buckets(buckets, text, members, filled)


@njit(cache=True, nogil=True)
def hang(neighbour: NDArray[np.int64], similarity: NDArray[np.float64], text: int, under: int, score: float) -> None:
    """Turn the tree that `text` is in over so that `text` is on top, and hang it under a text of another tree."""
    while text >= 0:
        above, above_score = neighbour[text], similarity[text]
        neighbour[text], similarity[text] = under, score
        text, under, score = above, text, above_score


@njit(cache=True, nogil=True)
def follow(
    texts: Texts,
    settled: int,
    neighbour: NDArray[np.int64],
    partner: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    """Fill each dropped text's partner, the root of its tree, and its similarity with that one, however low."""
    starts = texts.starts
    table = np.zeros(table_size(_longest(starts)), np.uint64)
    for text in range(settled, len(neighbour)):
        top = np.int64(text)
        while neighbour[top] >= 0:
            top = neighbour[top]
        if top != text:
            partner[text] = top
            size = _tabled(texts.values, starts[text], starts[text + 1], table)
            count = starts[text + 1] - starts[text]
            similarity[text] = _jaccard(texts.values, starts[top], starts[top + 1], table, size, count, 0.0)
