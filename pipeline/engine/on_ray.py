"""The Ray engine: blocks as tasks, in order, and shuffles through Ray Data."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import polars as pl
import pyarrow as pa
import ray

from pipeline.engine.calls_on_ray import RayCarrier
from pipeline.errors import SeedmillError
from pipeline.llm.caller import Caller
from pipeline.llm.models import ModelSpec
from pipeline.stage import Piece, Slice

T = TypeVar("T")


@dataclass(frozen=True)
class _Boxed(Generic[T]):
    """Keeps Ray Data from taking a result apart into columns."""

    value: T


def _on_slice(function: Callable[[pl.DataFrame], T], piece: Slice) -> T | SeedmillError:
    """Loads a slice where the work is done, so that only its address travels; errors travel as they were raised."""
    try:
        return function(piece.load())
    except SeedmillError as error:
        return error


@dataclass(frozen=True)
class _Scatter:
    """Loads one piece and gives its rows as Ray Data shuffles them."""

    function: Callable[[Any, Any], pl.DataFrame]

    def __call__(self, batch: dict[str, Any]) -> pa.Table:
        piece, argument = batch["work"][0].value
        return self.function(piece.load(), argument).to_arrow(compat_level=pl.CompatLevel.oldest())


def _gathered(table: pa.Table, function: Callable[[pl.DataFrame], pl.DataFrame]) -> pa.Table:
    """Gives all rows of one part to a function of frames."""
    return function(pl.DataFrame(pl.from_arrow(table))).to_arrow(compat_level=pl.CompatLevel.oldest())


def _ray_data() -> Any:
    """Ray Data, quiet and in order; it takes a second to import, in every worker too, and few runs need it."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return ray.data


def _result(reference: Any) -> Any:
    """What a task made; raises what it returned as an error, and SeedmillError when its workers died."""
    try:
        made = ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise  # a bug of ours, shown as one
    except ray.exceptions.RayError as error:
        raise SeedmillError(
            f"a Ray worker has died again and again: {str(error).strip().splitlines()[0]}",
            "run the same command again: what is finished is kept; does the machine have memory enough?",
        ) from error
    if isinstance(made, SeedmillError):
        raise made
    return made


class RayEngine:
    """Ray on this machine, or the cluster that RAY_ADDRESS names; started at the first use."""

    name = "ray"

    def __init__(self) -> None:
        self._started = False

    def start(self) -> None:
        """Connect to RAY_ADDRESS or start Ray here, quietly.

        Raises:
            SeedmillError: Ray cannot be started or reached.
        """
        if self._started:
            return
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            ray.init(
                address=os.environ.get("RAY_ADDRESS", "local"),
                log_to_driver=False,
                logging_level=logging.ERROR,
                ignore_reinit_error=True,
                namespace="seedmill",
                **({} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}),
            )
        except (ConnectionError, RuntimeError, OSError, ValueError) as error:
            raise SeedmillError(
                f"Ray cannot be started: {str(error).splitlines()[0]}",
                "run with '--engine local', or check RAY_ADDRESS",
            ) from error
        self._started = True

    def map(self, function: Callable[[pl.DataFrame], T], slices: Sequence[Slice]) -> Iterator[T]:
        """`function` of every slice on Ray's workers, one task a slice, results in order and streamed.

        Plain tasks: Ray Data would start two actors and import itself in every worker first, which takes longer than
        most runs. At most so many slices are under way that every processor has one and a next one, so what is in
        memory does not grow with the input.
        """
        if not slices:
            return
        self.start()
        task, shared = ray.remote(_on_slice), ray.put(function)
        left, asked = iter(slices), deque[Any]()
        try:
            while True:
                most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))  # a cluster grows and shrinks
                asked += [task.remote(shared, piece) for piece in islice(left, max(0, most - len(asked)))]
                if not asked:
                    return
                yield _result(asked[0])
                asked.popleft()
        finally:
            for reference in asked if ray.is_initialized() else ():
                ray.cancel(reference)

    def regroup(
        self,
        scatter: Callable[[Any, Any], pl.DataFrame],
        gather: Callable[[pl.DataFrame], pl.DataFrame],
        pieces: Sequence[tuple[Piece, Any]],
        parts: int,
    ) -> Iterator[pl.DataFrame]:
        """See Tools.regroup: Ray Data's own shuffle, which spills to disk what memory does not hold."""
        if not pieces:
            return
        self.start()
        data = _ray_data()
        items = [{"work": _Boxed(piece)} for piece in pieces]
        dataset = data.from_items(items, override_num_blocks=len(items))
        rows = dataset.map_batches(_Scatter(scatter), batch_size=1)
        groups = rows.groupby("part", num_partitions=parts)
        gathered = groups.map_groups(partial(_gathered, function=gather), batch_format="pyarrow")
        for table in gathered.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield pl.DataFrame(pl.from_arrow(table))

    def calls(self, specs: Mapping[str, ModelSpec], ledger: Path, run: str, notice: Callable[[str], None]) -> Caller:
        """Calls decided here and carried by actors that each own some shards of the ledger."""
        self.start()
        folder, workers = ledger.resolve(), int(ray.cluster_resources().get("CPU", 1))
        return Caller(specs, folder, run, carry=lambda post: RayCarrier(specs, folder, run, workers, notice))

    def close(self) -> None:
        """Leave Ray; a Ray started here stops."""
        if self._started:
            ray.shutdown()
            self._started = False
