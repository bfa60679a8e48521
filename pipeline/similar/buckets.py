"""Which texts share a band: equal keys of a band, numbered."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.similar.threads import spread


class Buckets(NamedTuple):
    """The values that more than one text has in a band.

    Attributes:
        numbers: each text's bucket in each band, shape (texts, bands), no two bands sharing any; -1 where it is alone.
        starts: where each bucket's members would begin if they were written one bucket behind the other.
    """

    numbers: NDArray[np.int32]
    starts: NDArray[np.int64]


def shared_buckets(keys: NDArray[np.uint64]) -> Buckets:
    """Number the keys that several texts have; `keys` has the shape (texts, bands)."""
    columns = spread(lambda band: _column(keys[:, band]), range(keys.shape[1]))
    numbers = np.full(keys.shape, -1, np.int32)
    total = 0
    for band, (column, sizes) in enumerate(columns):
        numbers[:, band] = np.where(column >= 0, column + total, -1)
        total += len(sizes)
    sizes = np.concatenate([np.zeros(1, np.int64), *(sizes for _, sizes in columns)])
    return Buckets(numbers, np.cumsum(sizes))


def _column(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The number of each text's bucket from 0, -1 where it is alone, and the buckets' sizes."""
    order = np.argsort(keys)
    ordered = keys[order]
    same = np.concatenate(([False], ordered[1:] == ordered[:-1], [False]))
    shared = (same[1:] | same[:-1])[: len(keys)]
    begins = (same[1:] & ~same[:-1])[: len(keys)]
    numbers = np.full(len(keys), -1, np.int32)
    numbers[order[shared]] = np.cumsum(begins)[shared] - 1
    return numbers, np.bincount(numbers[numbers >= 0]).astype(np.int64)
