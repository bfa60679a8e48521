"""The in-process engine: no start-up cost; polars and numba use all cores by themselves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import polars as pl

from pipeline.llm.caller import Caller
from pipeline.llm.models import ModelSpec
from pipeline.stage import Slice

T = TypeVar("T")


class InProcessEngine:
    """Maps blocks one after the other in this process."""

    name = "local"
    regroup = None

    def map(self, function: Callable[[pl.DataFrame], T], slices: Sequence[Slice]) -> Iterator[T]:
        """`function` of every loaded slice, in order."""
        return (function(s.load()) for s in slices)

    def calls(self, specs: Mapping[str, ModelSpec], ledger: Path, run: str, notice: Callable[[str], None]) -> Caller:
        """Calls made by one event loop in a thread of this process."""
        return Caller(specs, ledger, run, notice=notice)

    def close(self) -> None:
        """Nothing to give back."""
