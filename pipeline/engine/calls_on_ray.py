"""Model calls on Ray: actors that each make the calls of some ledger shards, and the driver's side of them."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from pipeline.errors import SeedmillError
from pipeline.llm.body import Call
from pipeline.llm.caller import Caller
from pipeline.llm.flights import count_reused
from pipeline.llm.ledger import Reader, shard_count, shard_of
from pipeline.llm.models import ModelSpec
from pipeline.llm.request import Reply
from pipeline.llm.usage import Meter, Usage

_ACTORS = 4
"""At most; each is one process, and one process makes more calls a second than most endpoints answer."""

_PATIENCE = 5.0
"""Seconds to wait for an actor's numbers before the last ones known are used."""


class _CallActor:
    """A Caller of its own in a Ray actor. Errors travel as values, so that they arrive as they were raised."""

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        ledger: str,
        run: str,
        shards: Sequence[int],
        share: float,
        patience: float,
    ) -> None:
        self._arguments = (specs, Path(ledger), run)
        self._more: dict[str, Any] = {"shards": shards, "share": share, "patience": patience}
        self._caller: Caller | None = None

    async def open(self) -> SeedmillError | None:
        """Take the shards; the error when another run holds them."""
        try:
            self._caller = await asyncio.to_thread(lambda: Caller(*self._arguments, **self._more))
        except SeedmillError as error:
            return error
        return None

    async def make(self, call: Call) -> Reply | BaseException:
        """One call's reply, or why there is none."""
        assert self._caller is not None
        try:
            return await asyncio.wrap_future(self._caller.send(call))
        except (SeedmillError, CancelledError, asyncio.CancelledError) as error:
            return CancelledError() if isinstance(error, asyncio.CancelledError) else error

    async def release(self, keys: Sequence[str]) -> None:
        """See Caller.release."""
        assert self._caller is not None
        self._caller.release(keys)

    async def usage(self, entry: str | None) -> Usage:
        """See Caller.usage."""
        return Usage() if self._caller is None else self._caller.usage(entry)

    async def close(self) -> None:
        """See Caller.close."""
        if self._caller is not None:
            await asyncio.to_thread(self._caller.close)


class RayExchange:
    """Finds calls in the ledger itself and sends the others to the actor that owns their shard."""

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        ledger: Path,
        run: str,
        workers: int,
        notice: Callable[[str], None],
        patience: float = 60.0,
    ) -> None:
        """Start the actors and have them take the ledger.

        Raises:
            SeedmillError: the ledger cannot be written, or another run does not let go of it.
        """
        self._shards = shard_count(ledger)
        self._reader, self._meter = Reader(ledger), Meter()
        count = max(1, min(_ACTORS, workers, self._shards))
        remote = ray.remote(num_cpus=0, max_concurrency=100_000)(_CallActor)
        self._actors = [
            remote.remote(dict(specs), str(ledger), run, list(range(i, self._shards, count)), 1 / count, patience)
            for i in range(count)
        ]
        self._known: dict[tuple[int, str | None], Usage] = {}
        opening = [actor.open.remote() for actor in self._actors]
        _, late = ray.wait(opening, num_returns=count, timeout=min(_PATIENCE, patience))
        if late:
            notice(f"waiting for the ledger {ledger}: another run is still writing it")
        for error in _got(opening):
            if error is not None:
                self.close()
                raise error

    def find(self, call: Call) -> Reply | None:
        """The reply, when the ledger holds it; counted as reused."""
        reading = self._reader.find(call.key)
        if reading is None:
            return None
        count_reused(self._meter, call.entry, reading)
        return reading.reply(call.key, reused=True)

    def send(self, call: Call) -> Future[Reply]:
        """Have the call made by its actor; the future may raise what Caller.send says."""
        future: Future[Reply] = Future()
        future.set_running_or_notify_cancel()
        made = self._owner(call.key).make.remote(call).future()
        made.add_done_callback(lambda done: _settle(future, done))
        return future

    def release(self, keys: Sequence[str]) -> None:
        """See Caller.release."""
        of_actor: dict[int, list[str]] = defaultdict(list)
        for key in keys:
            of_actor[shard_of(key, self._shards) % len(self._actors)].append(key)
        for index, some in of_actor.items():
            self._actors[index].release.remote(some)

    def usage(self, entry: str | None = None) -> Usage:
        """All actors' numbers and our own, added up; an actor that is slow to answer counts with its last ones."""
        asked = [actor.usage.remote(entry) for actor in self._actors]
        ready, _ = ray.wait(asked, num_returns=len(asked), timeout=_PATIENCE)
        for index, reference in enumerate(asked):
            if reference in ready:
                try:
                    self._known[index, entry] = ray.get(reference)
                except ray.exceptions.RayError:
                    continue  # it died; its calls say so themselves
        known = [self._known[i, entry] for i in range(len(asked)) if (i, entry) in self._known]
        total = sum(known, self._meter.usage(entry))
        return replace(total, in_flight_found_at_open=sum(u.in_flight_found_at_open for u in known))

    def close(self) -> None:
        """Drop what was not sent, wait for what was, let go of the ledger and end the actors."""
        with contextlib.suppress(ray.exceptions.RayError):  # a dead actor holds nothing any more
            ray.get([actor.close.remote() for actor in self._actors])
        for actor in self._actors:
            ray.kill(actor)

    def _owner(self, key: str) -> Any:
        return self._actors[shard_of(key, self._shards) % len(self._actors)]


def _got(references: list[Any]) -> list[SeedmillError | None]:
    try:
        found: list[SeedmillError | None] = ray.get(references)
    except ray.exceptions.RayError as error:
        raise _dead(error) from error
    return found


def _settle(future: Future[Reply], done: Future[Any]) -> None:
    error = done.exception()
    if error is not None:
        future.set_exception(_dead(error))
    elif isinstance(result := done.result(), BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


def _dead(error: BaseException) -> SeedmillError:
    return SeedmillError(
        f"a Ray actor that makes model calls has died: {str(error).strip().splitlines()[0]}",
        "run the same command again: finished calls are in the ledger and are not paid twice",
    )
