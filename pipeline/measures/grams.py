"""Runs that occur more than once in a text."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.measures.work import Work

_RUN_PRIME = 0x9E3779B185EBCA87
_MIX_PRIME = 0xD6E8FEB86659FD93
"""Odd multipliers: xxHash's for the rolling hash over a run, and one that spreads hashes over the table."""


@njit(cache=True, nogil=True)
def find_runs(work: Work, count: int, size: int) -> int:
    """Hash every run of `size` of the `count` hashes into `work.runs`; returns how many runs there are."""
    if count < size:
        return 0
    oldest = np.uint64(1)
    for _ in range(size):
        oldest *= np.uint64(_RUN_PRIME)
    run = np.uint64(0)
    for i in range(count):
        run = run * np.uint64(_RUN_PRIME) + work.hashes[i] + np.uint64(1)
        if i >= size:
            run -= oldest * (work.hashes[i - size] + np.uint64(1))
        if i >= size - 1:
            work.runs[i + 1 - size] = run
    return count - size + 1


@njit(cache=True, nogil=True)
def tally(items: NDArray[np.uint64], count: int, work: Work) -> int:
    """Count equal items in the table; returns the number of distinct ones. `clear` it afterwards."""
    mask = len(work.keys) - 1
    distinct = 0
    for i in range(count):
        item = items[i]
        mixed = (item ^ (item >> np.uint64(32))) * np.uint64(_MIX_PRIME)
        at = np.int64(mixed >> np.uint64(20)) & mask
        while work.seen[at] > 0 and work.keys[at] != item:
            at = (at + 1) & mask
        distinct += work.seen[at] == 0
        work.keys[at] = item
        work.seen[at] += 1
        work.slots[i] = at
    return distinct


@njit(cache=True, nogil=True)
def clear(work: Work, count: int) -> None:
    """Empty the table again."""
    for i in range(count):
        work.seen[work.slots[i]] = 0


@njit(cache=True, nogil=True)
def most_repeated(work: Work, count: int, distinct: int) -> float:
    """Data-Juicer's character repetition: the share of the runs that the most frequent ones make up.

    Of the distinct runs only as many as the square root of their number are looked at, and only repeated ones.
    """
    if count == 0:
        return 0.0
    most = 0
    for i in range(count):
        most = max(most, work.seen[work.slots[i]])
    work.often[: most + 1] = 0
    for i in range(count):
        work.often[work.seen[work.slots[i]]] += 1  # a run that occurs f times is counted f times
    left = min(int(np.sqrt(distinct)), distinct - work.often[1])
    total, frequency = 0, most
    while left > 0 and frequency > 1:
        taken = min(left, work.often[frequency] // frequency)
        total += taken * frequency
        left -= taken
        frequency -= 1
    return total / count


@njit(cache=True, nogil=True)
def repeated(work: Work, count: int) -> float:
    """Data-Juicer's word repetition: the share of the runs that occur more than once."""
    more = 0
    for i in range(count):
        more += work.seen[work.slots[i]] > 1
    return more / count if count else 0.0


@njit(cache=True, nogil=True)
def top_characters(work: Work, count: int, size: int) -> int:
    """Characters in all occurrences of the most frequent run of words; 0 when none occurs twice."""
    best, most = 0, 2
    for i in range(count):
        times = work.seen[work.slots[i]]
        if times < most:
            continue
        characters = times * work.lengths[i : i + size].sum()
        if times > most or characters > best:
            best, most = characters, times
    return best


@njit(cache=True, nogil=True)
def covered_characters(work: Work, count: int, size: int) -> int:
    """Characters of words that stand in any run that occurs more than once, each counted once."""
    covered, reached = 0, 0
    for i in range(count):
        if work.seen[work.slots[i]] > 1:
            covered += work.lengths[max(i, reached) : i + size].sum()
            reached = i + size
    return covered
