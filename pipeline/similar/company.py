"""Which texts can have a near-duplicate at all: those most of whose shingles some other text may have too."""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.similar.shingles import Shingles
from pipeline.similar.threads import processors, spread

_SLACK = 1e-9
"""The bound is loosened by this much, so that rounding never decides."""


def in_company(parts: Sequence[Shingles], threshold: float) -> NDArray[np.bool_]:
    """For each text of all parts, whether another one with a Jaccard similarity of the threshold is possible.

    A shingle's hash picks a place in a map of two bits (never seen, seen, seen again). What a text has in common with
    another is seen twice, so a text whose shingles are new in more than the share 1 - threshold is like no other.
    Two shingles may share a place, which keeps a text in company that is not: nothing is lost by it. The map takes one
    to two bytes a shingle.

    Args:
        parts: shingles in text order, repeats included.
        threshold: Jaccard similarity, above 0.
    """
    bits = max(16, int(sum(len(part.values) for part in parts) * 4).bit_length())
    seen, again = np.zeros(1 << (bits - 6), np.uint64), np.zeros(1 << (bits - 6), np.uint64)
    shares = 1 << (processors() - 1).bit_length()

    def note(share: int) -> None:
        for part in parts:
            _note(part.values, bits, share, shares, seen, again)

    def judge(part: Shingles) -> NDArray[np.bool_]:
        verdicts = np.zeros(len(part), np.bool_)
        _judge(part.values, part.starts, bits, again, threshold, verdicts)
        return verdicts

    spread(note, range(shares))
    return np.concatenate([np.zeros(0, np.bool_), *spread(judge, parts)])


@njit(cache=True, nogil=True)
def _note(
    values: NDArray[np.uint64],
    bits: int,
    share: int,
    shares: int,
    seen: NDArray[np.uint64],
    again: NDArray[np.uint64],
) -> None:
    """Note the shingles whose place is in the given share of the map, which no other thread writes."""
    span = np.uint64((1 << bits) // shares)
    first = np.uint64(share) * span
    for value in values:
        place = value >> np.uint64(64 - bits)
        if place - first < span:
            word, bit = np.int64(place >> np.uint64(6)), np.uint64(1) << (place & np.uint64(63))
            again[word] |= seen[word] & bit
            seen[word] |= bit


@njit(cache=True, nogil=True)
def _judge(
    values: NDArray[np.uint64],
    starts: NDArray[np.int64],
    bits: int,
    again: NDArray[np.uint64],
    threshold: float,
    verdicts: NDArray[np.bool_],
) -> None:
    for text in range(len(starts) - 1):
        count = starts[text + 1] - starts[text]
        # A shingle that stands twice in this text is not new, so the new ones are distinct, and the distinct ones are
        # at most `count`.
        room = np.int64((1 - threshold) * count + _SLACK)
        for k in range(starts[text], starts[text + 1]):
            place = values[k] >> np.uint64(64 - bits)
            if not again[np.int64(place >> np.uint64(6))] >> (place & np.uint64(63)) & np.uint64(1):
                room -= 1
                if room < 0:
                    break
        verdicts[text] = count > 0 and room >= 0
