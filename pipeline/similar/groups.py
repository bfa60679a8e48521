"""Groups of texts that links tie together, by numbers alone."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def unite(roots: NDArray[np.int64], first: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    """Tie each pair's trees together under the smaller root; roots[i] == i for a root."""
    for k in range(len(first)):
        a, b = first[k], other[k]
        while roots[a] != a:
            roots[a] = roots[roots[a]]
            a = roots[a]
        while roots[b] != b:
            roots[b] = roots[roots[b]]
            b = roots[b]
        roots[max(a, b)] = min(a, b)


def packed(roots: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Lay whole groups into parts of about so many texts: each text's part, -1 for a text that is alone."""
    while not np.array_equal(roots, roots[roots]):
        roots = roots[roots]
    sizes = np.bincount(roots, minlength=len(roots))
    crowded = np.where(sizes > 1, sizes, 0)
    part_of_root = (np.cumsum(crowded) - crowded) // rows
    return np.where(sizes[roots] > 1, part_of_root[roots], -1)
