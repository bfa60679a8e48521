"""Near-duplicates among vectors: products of matrices find the candidates, one stated sum decides."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.similar.cluster import Cluster, Duplicates
from pipeline.similar.join import hang, root_of

_PLACES = 1_000_000
"""Similarities are rounded to six places before they decide, so that what is told is what decided."""

_PRODUCTS = 1 << 24
"""Similarities computed at once: 64 MB."""


def slack(dimensions: int) -> float:
    """How far a float32 product of two unit vectors may be from the exact one, in whatever order it is added up.

    n u / (1 - n u) with u = 2^-24 bounds the error of n multiplications and additions (Higham, Accuracy and Stability
    of Numerical Algorithms, 2002, section 3.1), twice that since the vectors are only nearly of length 1.
    """
    units = (dimensions + 8) * 2.0**-24
    return 2 * units / (1 - units)


def unit_vectors(vectors: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.float32]:
    """Each row divided by its length; a row without direction (all zero, or not finite) becomes zeros."""
    made = np.zeros(vectors.shape, np.float32)
    _normalise(vectors, made)
    return made


@dataclass(frozen=True, slots=True)
class Aside:
    """A second aspect of the same rows, in which those that both have it must be alike too.

    Attributes:
        vectors: unit vectors, shape (rows, dimensions); zeros for a row without it.
        threshold: cosine similarity that two such rows must reach.
    """

    vectors: NDArray[np.float32]
    threshold: float


def near_vectors(
    vectors: NDArray[np.float32], threshold: float, cluster: Cluster, aside: Aside | None = None
) -> Duplicates:
    """Decide who is dropped, by the rules of `cluster.near_duplicates` with cosine similarity in place of Jaccard.

    The similarity of two vectors is the sum of their products in double precision, in the order of the dimensions,
    rounded to six places. It is computed for those pairs only whose product in single precision, from blocked products
    of matrices, comes within its error of the threshold; so neither blocks, processors nor libraries change the answer.
    The work is rows^2 * dimensions / 2 multiplications (under `star` rows * kept rows), and the memory beside the
    vectors is constant.

    Args:
        vectors: unit vectors, shape (rows, dimensions), in the order of priority; overwritten under `star`.
        threshold: similarity from which rows are near-duplicates.
        cluster: `star` or `components`.
        aside: a second aspect, in the same order; its vectors are overwritten under `star` too.
    """
    rows = len(vectors)
    second = Aside(np.empty((0, 0), np.float32), 0.0) if aside is None else aside
    found = Duplicates.none(rows)
    limit = np.float32(threshold - 0.5 / _PLACES - slack(vectors.shape[1]))
    step = max(16, min(1024, _PRODUCTS // max(1, rows)))
    if cluster == "star":
        _star(vectors, second, threshold, limit, step, found)
        found.neighbour[:], found.neighbour_similarity[:] = found.partner, found.similarity
        return found
    roots = np.arange(rows)
    for begin in range(0, rows, step):
        products = vectors[begin : begin + step] @ vectors[: begin + step].T
        _unite(
            products, vectors, begin, threshold, limit, second.vectors, second.threshold,
            roots, found.neighbour, found.neighbour_similarity,
        )  # fmt: skip
    _follow(vectors, found.neighbour, found.partner, found.similarity)
    return found


def _star(
    vectors: NDArray[np.float32], aside: Aside, threshold: float, limit: np.float32, step: int, found: Duplicates
) -> None:
    """Kept vectors move to the front of the matrix, so that nothing is compared with a dropped one."""
    names = np.empty(len(vectors), np.int64)
    kept = 0
    for begin in range(0, len(vectors), step):
        block, beside = (one[begin : begin + step].copy() for one in (vectors, aside.vectors))
        with_kept, within = block @ vectors[:kept].T, block @ block.T
        kept = _settle(
            with_kept, within, block, beside, vectors, aside.vectors, names, kept, begin,
            threshold, limit, aside.threshold, found.partner, found.similarity,
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _normalise(vectors: NDArray[np.float64], made: NDArray[np.float32]) -> None:
    for row in range(len(vectors)):
        total = 0.0
        for k in range(vectors.shape[1]):
            total += np.float64(vectors[row, k]) * np.float64(vectors[row, k])
        if total > 0 and np.isfinite(total):
            length = np.sqrt(total)
            for k in range(vectors.shape[1]):
                made[row, k] = np.float32(np.float64(vectors[row, k]) / length)


@njit(cache=True, nogil=True)
def product(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The sum of products in double precision, in the order of the dimensions."""
    total = 0.0
    for k in range(len(a)):
        total += np.float64(a[k]) * np.float64(b[k])
    return total


@njit(cache=True, nogil=True)
def _similarity(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The cosine of two unit vectors, rounded."""
    rounded: float = np.floor(product(a, b) * _PLACES + 0.5) / _PLACES
    return max(-1.0, min(1.0, rounded))


@njit(cache=True, nogil=True)
def _alike(aside: NDArray[np.float32], a: int, other: NDArray[np.float32], b: int, threshold: float) -> bool:
    """Whether two rows reach the threshold in the second aspect, or one of them has no such, or there is none."""
    if len(aside) == 0 or not aside[a].any() or not other[b].any():
        return True
    return bool(_similarity(aside[a], other[b]) >= threshold)


@njit(cache=True, nogil=True)
def _settle(
    with_kept: NDArray[np.float32],
    within: NDArray[np.float32],
    block: NDArray[np.float32],
    beside: NDArray[np.float32],
    vectors: NDArray[np.float32],
    aside: NDArray[np.float32],
    names: NDArray[np.int64],
    kept: int,
    begin: int,
    threshold: float,
    limit: np.float32,
    aside_threshold: float,
    partner: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> int:
    """Decide the rows of a block one after the other; the new number of kept rows, named in `names`."""
    before = kept
    for i in range(len(block)):
        row = begin + i
        for j in range(before):
            if with_kept[i, j] >= limit:
                score = _similarity(block[i], vectors[j])
                if score >= threshold and score > similarity[row] and _alike(beside, i, aside, j, aside_threshold):
                    partner[row], similarity[row] = names[j], score
        for j in range(i):
            if within[i, j] >= limit and partner[begin + j] < 0:
                score = _similarity(block[i], block[j])
                if score >= threshold and score > similarity[row] and _alike(beside, i, beside, j, aside_threshold):
                    partner[row], similarity[row] = begin + j, score
        if partner[row] < 0:
            vectors[kept] = block[i]
            if len(aside) > 0:
                aside[kept] = beside[i]
            names[kept] = row
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _unite(
    products: NDArray[np.float32],
    vectors: NDArray[np.float32],
    begin: int,
    threshold: float,
    limit: np.float32,
    aside: NDArray[np.float32],
    aside_threshold: float,
    roots: NDArray[np.int64],
    neighbour: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    """Make `neighbour` a forest, as `join.components` does: pairs by their later row, then by their earlier one."""
    for i in range(len(products)):
        row = begin + i
        for other in range(row):
            if products[i, other] >= limit:
                a, b = root_of(roots, row), root_of(roots, other)
                if a == b:
                    continue
                score = _similarity(vectors[row], vectors[other])
                if score >= threshold and _alike(aside, row, aside, other, aside_threshold):
                    roots[max(a, b)] = min(a, b)
                    if a < b:
                        hang(neighbour, similarity, np.int64(other), np.int64(row), score)
                    else:
                        hang(neighbour, similarity, np.int64(row), np.int64(other), score)


@njit(cache=True, nogil=True)
def _follow(
    vectors: NDArray[np.float32],
    neighbour: NDArray[np.int64],
    partner: NDArray[np.int64],
    similarity: NDArray[np.float64],
) -> None:
    """Each dropped row's partner is the root of its tree, however unlike."""
    for row in range(len(neighbour)):
        top = np.int64(row)
        while neighbour[top] >= 0:
            top = neighbour[top]
        if top != row:
            partner[row] = top
            similarity[row] = _similarity(vectors[row], vectors[top])
