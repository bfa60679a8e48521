"""Sets of 64-bit hashes in open tables, for compiled loops: 0 is an empty place, so no value may be 0."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def table_size(count: int) -> int:
    """Room for so many values in a hash table that is at most half full: a power of two."""
    size = 16
    while size < 2 * count:
        size *= 2
    return size


@njit(cache=True, nogil=True)
def enter(table: NDArray[np.uint64], size: int, value: np.uint64) -> bool:
    """Put a value into the first `size` places of a hash table, 0 being an empty place; False if it is there."""
    place = value & np.uint64(size - 1)
    while table[place] != 0:
        if table[place] == value:
            return False
        place = (place + np.uint64(1)) & np.uint64(size - 1)
    table[place] = value
    return True


@njit(cache=True, nogil=True)
def contains(table: NDArray[np.uint64], size: int, value: np.uint64) -> bool:
    """Whether `enter` has put the value there."""
    place = value & np.uint64(size - 1)
    while table[place] != 0:
        if table[place] == value:
            return True
        place = (place + np.uint64(1)) & np.uint64(size - 1)
    return False
