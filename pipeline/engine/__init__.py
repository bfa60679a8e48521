"""Ordered parallel map over blocks, and where model calls are made: in this process, or on Ray."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import polars as pl

from pipeline.errors import SeedmillError
from pipeline.llm.client import Exchange
from pipeline.stage import Regroup, Slice

if TYPE_CHECKING:
    from pipeline.llm.limits import Changes
    from pipeline.llm.models import ModelSpec
    from pipeline.llm.standstill import Standstill
    from pipeline.llm.usage import Usage

T = TypeVar("T")

EngineName = Literal["auto", "local", "ray"]

RAY_PAYS_ABOVE = 200_000_000
"""Bytes of input above which Ray's start of about five seconds is worth it."""


class Calls(Exchange, Protocol):
    """Where calls are found and made, with the numbers of what was used."""

    def spend_at_most(self, budget: float | None) -> None:
        """Hold the run to a budget; see Caller.spend_at_most."""
        ...

    def money(self) -> dict[str, float | None]:
        """What is spent and what is left; see Purse.state."""
        ...

    def usage(self, entry: str | None = None) -> "Usage":
        """What was used, by one entry or by all since the start."""
        ...

    def batches(self) -> dict[str, Any] | None:
        """What is under way in batches, None when nothing is; see BatchDesk.shown."""
        ...

    def change_limits(self, changes: "Changes") -> None:
        """Keep other limits from now on; see Caller.change_limits."""
        ...

    def halt(self, error: SeedmillError) -> None:
        """Whoever waits for batches gets this error."""
        ...

    def standstill(self) -> "Standstill | None":
        """What everything waits for, when it is anything but a reply."""
        ...

    def outages(self) -> list[str]:
        """What is to be told of endpoints that are down now, a sentence each."""
        ...

    def close(self) -> None:
        """Wait for what was sent and let go of the ledger."""
        ...


class CallEngine(Protocol):
    """Where model calls are made."""

    def calls(self, specs: "Mapping[str, ModelSpec]", ledger: Path, run: str, notice: Callable[[str], None]) -> Calls:
        """Take the ledger and be ready for calls; SeedmillError when another run does not let go of it."""
        ...


class Engine(CallEngine, Protocol):
    """Where work is done. Results never depend on which engine does it."""

    name: str

    @property
    def regroup(self) -> Regroup | None:
        """See Tools.regroup."""
        ...

    def map(self, function: Callable[[pl.DataFrame], T], slices: Sequence[Slice]) -> Iterator[T]:
        """`function` of every loaded slice, in the slices' order; `function` must be picklable."""
        ...

    def close(self) -> None:
        """Give back what the engine holds."""
        ...


def choose_engine(wanted: EngineName, *, has_model: bool, input_bytes: int, environ: Mapping[str, str]) -> str:
    """`ray` when asked for, when RAY_ADDRESS is set, when models are called or when the input is large."""
    if wanted != "auto":
        return wanted
    large = input_bytes > RAY_PAYS_ABOVE
    return "ray" if environ.get("RAY_ADDRESS") or has_model or large else "local"


def open_engine(name: str) -> Engine:
    """The engine of that name, started when first used."""
    if name == "ray":
        from pipeline.engine.on_ray import RayEngine

        return RayEngine()
    from pipeline.engine.in_process import InProcessEngine

    return InProcessEngine()
