"""Model calls on Ray: actors that each carry the attempts of some ledger shards, and the driver's side of them."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from pipeline.errors import SeedmillError
from pipeline.llm.body import Call
from pipeline.llm.carrier import Errand, Heard, LocalCarrier
from pipeline.llm.ledger import Finished, shard_count, shard_of
from pipeline.llm.mailbox import Mailbox
from pipeline.llm.models import ModelSpec

_ACTORS = 4
"""At most; each is one process, and one process makes more calls a second than most endpoints answer."""

_PATIENCE = 5.0
"""Seconds until the user is told what the start waits for."""


class _CarrierActor:
    """A carrier of its own in a Ray actor. Errors travel as values, so that they arrive as they were raised."""

    def __init__(
        self, specs: Mapping[str, ModelSpec], ledger: str, run: str, shards: Sequence[int], patience: float
    ) -> None:
        self._arguments = (specs, Path(ledger), run)
        self._more: dict[str, Any] = {"shards": shards, "patience": patience}
        self._carrier: LocalCarrier | None = None

    async def started(self) -> None:
        """Answers as soon as the actor's process is up, whatever else it waits for."""

    async def open(self) -> Counter[tuple[str, str]] | SeedmillError:
        """Take the shards: calls that were in flight there, or the error when another run holds them."""
        post = Mailbox(asyncio.get_running_loop()).post
        try:
            self._carrier = await asyncio.to_thread(lambda: LocalCarrier(*self._arguments, post, **self._more))
        except SeedmillError as error:
            return error
        return self._carrier.found_in_flight

    async def attempt(self, errand: Errand) -> Heard | SeedmillError:
        """One attempt; its reply, if it brings one, is durable."""
        assert self._carrier is not None
        try:
            heard = await self._carrier.attempt(errand)
            if heard.stored is not None:
                await heard.stored
        except SeedmillError as error:
            return error
        return replace(heard, stored=None)

    async def store(self, call: Call, model: str, end: Finished) -> SeedmillError | None:
        """See Carrier.store."""
        assert self._carrier is not None
        try:
            await self._carrier.store(call, model, end)
        except SeedmillError as error:
            return error
        return None

    async def abandon(self, call: Call, lost: Sequence[str], reserved: float | None = None) -> SeedmillError | None:
        """See Carrier.abandon."""
        assert self._carrier is not None
        try:
            await self._carrier.abandon(call, lost, reserved)
        except SeedmillError as error:
            return error
        return None

    async def close(self) -> None:
        """See Carrier.close."""
        if self._carrier is not None:
            await self._carrier.close()


class RayCarrier:
    """Hands each attempt to the actor that owns the shard of its call."""

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
        count = max(1, min(_ACTORS, workers, self._shards))
        remote = ray.remote(num_cpus=0, max_concurrency=100_000)(_CarrierActor)
        self._actors = [
            remote.remote(dict(specs), str(ledger), run, list(range(i, self._shards, count)), patience)
            for i in range(count)
        ]
        opening = [actor.open.remote() for actor in self._actors]
        if not _in_time(opening):
            if not _in_time([actor.started.remote() for actor in self._actors]):
                notice(f"waiting for Ray to start {count} processes for model calls; is the machine or cluster busy?")
            if not _in_time(opening):
                notice(f"waiting for the ledger {ledger}: processes of another run still write it")
        self.found_in_flight = Counter[tuple[str, str]]()
        for opened in _got(opening):
            if isinstance(opened, SeedmillError):
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.get([actor.close.remote() for actor in self._actors])
                self._end()
                raise opened
            self.found_in_flight += opened

    async def attempt(self, errand: Errand) -> Heard:
        """See Carrier.attempt."""
        heard: Heard = await _answer(self._owner(errand.call.key).attempt.remote(errand))
        return heard

    async def store(self, call: Call, model: str, end: Finished) -> None:
        """See Carrier.store."""
        await _answer(self._owner(call.key).store.remote(call, model, end))

    async def abandon(self, call: Call, lost: Sequence[str], reserved: float | None = None) -> None:
        """See Carrier.abandon."""
        await _answer(self._owner(call.key).abandon.remote(call, tuple(lost), reserved))

    async def close(self) -> None:
        """See Carrier.close; ends the actors."""
        for actor in self._actors:
            with contextlib.suppress(ray.exceptions.RayError):  # a dead actor holds nothing any more
                await actor.close.remote()
        self._end()

    def _end(self) -> None:
        for actor in self._actors:
            ray.kill(actor)

    def _owner(self, key: str) -> Any:
        return self._actors[shard_of(key, self._shards) % len(self._actors)]


def _in_time(references: list[Any]) -> bool:
    ready, _ = ray.wait(references, num_returns=len(references), timeout=_PATIENCE)
    return len(ready) == len(references)


async def _answer(reference: Any) -> Any:
    """What an actor answers; raises what it returned as an error, and SeedmillError when it died."""
    try:
        answer = await reference
    except ray.exceptions.RayError as error:
        raise _dead(error) from error
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _got(references: list[Any]) -> list[Counter[tuple[str, str]] | SeedmillError]:
    try:
        found: list[Counter[tuple[str, str]] | SeedmillError] = ray.get(references)
    except ray.exceptions.RayError as error:
        raise _dead(error) from error
    return found


def _dead(error: BaseException) -> SeedmillError:
    return SeedmillError(
        f"a Ray actor that makes model calls has died: {str(error).strip().splitlines()[0]}",
        "run the same command again: finished calls are in the ledger and are not paid twice",
    )
