"""Which texts share a band: equal keys of a band, numbered."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.similar.threads import spread


class Buckets(NamedTuple):
    """The keys that more than one text has in a band.

    Attributes:
        numbers: each text's bucket in each band, from 0 in every band; shape (bands, texts), -1 where it is alone.
        offsets: what makes a band's numbers differ from those of the bands before it, when added.
        starts: where each bucket's members would begin if they were written one bucket behind the other.
    """

    numbers: NDArray[np.int32]
    offsets: NDArray[np.int64]
    starts: NDArray[np.int64]


def shared_buckets(keys: NDArray[np.uint64]) -> Buckets:
    """Number the keys that several texts have; `keys` has the shape (bands, texts)."""
    numbers = np.empty(keys.shape, np.int32)

    def number(band: int) -> NDArray[np.int64]:
        order = np.argsort(keys[band])
        sizes = np.empty(len(order) // 2, np.int64)
        count: int = _number(keys[band], order, numbers[band], sizes)
        return sizes[:count].copy()

    sizes = spread(number, range(len(keys)))
    return Buckets(
        numbers,
        np.cumsum([0, *(len(one) for one in sizes)])[:-1],
        np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes])),
    )


@njit(cache=True, nogil=True)
def _number(
    keys: NDArray[np.uint64], order: NDArray[np.int64], numbers: NDArray[np.int32], sizes: NDArray[np.int64]
) -> int:
    """Fill a band's numbers, and the sizes of its buckets; how many buckets there are."""
    buckets = 0
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and keys[order[end]] == keys[order[begin]]:
            end += 1
        shared = end - begin > 1
        for k in range(begin, end):
            numbers[order[k]] = buckets if shared else -1
        if shared:
            sizes[buckets] = end - begin
            buckets += 1
        begin = end
    return buckets
