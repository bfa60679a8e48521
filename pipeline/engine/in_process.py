"""The in-process engine: no start-up cost; polars and numba use all cores by themselves."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import polars as pl

from pipeline.stage import Slice

T = TypeVar("T")


class InProcessEngine:
    """Maps blocks one after the other in this process."""

    name = "local"

    def map(self, function: Callable[[pl.DataFrame], T], slices: Sequence[Slice]) -> Iterator[T]:
        """`function` of every loaded slice, in order."""
        return (function(s.load()) for s in slices)

    def close(self) -> None:
        """Nothing to give back."""
