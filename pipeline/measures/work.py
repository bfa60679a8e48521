"""Room to compute in, made once for some texts and used for each of them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Work(NamedTuple):
    """Arrays as long as the longest text has bytes, and a hash table at least twice as long.

    Attributes:
        codes: the text's code points.
        hashes: of its words, lines or characters.
        lengths: characters of each of them.
        runs: hashes of runs of them.
        keys: what the table counts.
        seen: how often; all 0 between uses.
        slots: where in the table each run is.
        often: how many runs occur so often.
    """

    codes: NDArray[np.uint32]
    hashes: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    runs: NDArray[np.uint64]
    keys: NDArray[np.uint64]
    seen: NDArray[np.int32]
    slots: NDArray[np.int64]
    often: NDArray[np.int64]


def room(longest: int) -> Work:
    """Room for texts of at most `longest` bytes."""
    longest = max(longest, 1)
    size = 1 << (2 * longest).bit_length()
    return Work(
        codes=np.empty(longest, np.uint32),
        hashes=np.empty(longest, np.uint64),
        lengths=np.empty(longest, np.int64),
        runs=np.empty(longest, np.uint64),
        keys=np.empty(size, np.uint64),
        seen=np.zeros(size, np.int32),
        slots=np.empty(longest, np.int64),
        often=np.empty(longest + 1, np.int64),
    )
