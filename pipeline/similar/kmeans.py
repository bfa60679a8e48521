"""Groups of like vectors by spherical k-means, the same whatever computes them."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.similar.cosine import product, slack

_ROUNDS = 10
_SAMPLE = 64
"""Rows for each group that the centres are learned from."""

_ROWS = 4096


def groups_of(vectors: NDArray[np.float32], count: int, names: Sequence[str], seed: int) -> NDArray[np.int64]:
    """The group of each vector.

    The first centres are the rows whose names hash lowest with the seed; ten rounds over the 64 * count rows that hash
    lowest move them (Dhillon and Modha, 2001). Every vector joins the centre it is most like, the first of equals:
    products in single precision find those that can be it, sums in double precision in the order of the dimensions
    decide, and centres are added up in the same way. So the groups are a function of vectors, names and seed alone.

    Args:
        vectors: unit vectors, shape (rows, dimensions).
        count: how many groups; some may stay empty.
        names: of the rows, all different.
        seed: chooses among starts.
    """
    count = min(count, len(vectors))
    if count < 2:
        return np.zeros(len(vectors), np.int64)
    lowest = np.argsort(np.array([_hash(seed, name) for name in names]), kind="stable")
    sample = vectors[np.sort(lowest[: _SAMPLE * count])]
    centres = vectors[lowest[:count]].copy()
    for _ in range(_ROUNDS):
        before = centres.copy()
        _recentre(sample, _assigned(sample, centres), centres)
        if np.array_equal(before, centres):
            break
    return _assigned(vectors, centres)


def _hash(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode("utf-8", "surrogatepass"), digest_size=10).digest()


def _assigned(vectors: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    group = np.empty(len(vectors), np.int64)
    room = np.float32(2 * slack(vectors.shape[1]))
    for begin in range(0, len(vectors), _ROWS):
        block = vectors[begin : begin + _ROWS]
        _nearest(block @ centres.T, block, centres, room, group[begin : begin + _ROWS])
    return group


@njit(cache=True, nogil=True)
def _nearest(
    products: NDArray[np.float32],
    vectors: NDArray[np.float32],
    centres: NDArray[np.float32],
    room: np.float32,
    group: NDArray[np.int64],
) -> None:
    for row in range(len(products)):
        bound = products[row].max() - room
        best = -2.0
        for centre in range(len(centres)):
            if products[row, centre] >= bound:
                score = product(vectors[row], centres[centre])
                if score > best:
                    best = score
                    group[row] = centre


@njit(cache=True, nogil=True)
def _recentre(vectors: NDArray[np.float32], group: NDArray[np.int64], centres: NDArray[np.float32]) -> None:
    """Each centre is the direction of its members' sum; one without members stays."""
    sums = np.zeros(centres.shape, np.float64)
    for row in range(len(vectors)):
        for k in range(vectors.shape[1]):
            sums[group[row], k] += vectors[row, k]
    for centre in range(len(centres)):
        total = 0.0
        for k in range(vectors.shape[1]):
            total += sums[centre, k] * sums[centre, k]
        if total > 0:
            length = np.sqrt(total)
            for k in range(vectors.shape[1]):
                centres[centre, k] = np.float32(sums[centre, k] / length)
