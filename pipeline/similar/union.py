"""Groups of rows that are tied together, by a chain of ties of whatever kind."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class Union:
    """A forest over rows; the root of a group is its first row (union by the smaller number, paths halved)."""

    def __init__(self, size: int) -> None:
        self._above = list(range(size))

    def root(self, row: int) -> int:
        """The first row of the group that a row is in."""
        above = self._above
        while above[row] != row:
            above[row] = above[above[row]]
            row = above[row]
        return row

    def tie(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Put both rows of each pair into one group."""
        for a, b in pairs:
            first, second = self.root(a), self.root(b)
            self._above[max(first, second)] = min(first, second)

    def roots(self) -> NDArray[np.int64]:
        """For each row the first row of its group."""
        return np.array([self.root(row) for row in range(len(self._above))], np.int64)
