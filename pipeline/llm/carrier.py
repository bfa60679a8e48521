"""Carries single attempts: intent, wire, judgement, ledger. Decides nothing about when or whether to try again."""

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import SeedmillError
from pipeline.llm.body import Call, wire_body
from pipeline.llm.faults import Again, Answer, NoAnswer, Verdict, judge
from pipeline.llm.ledger import Finished, Ledger
from pipeline.llm.lists import compact
from pipeline.llm.mailbox import Post
from pipeline.llm.models import ModelSpec
from pipeline.llm.reading import Reading
from pipeline.llm.transport import open_wire
from pipeline.llm.usage import cost_of
from pipeline.llm.wire import Wire

_TELLING = ("x-ratelimit", "ratelimit", "retry-after", "x-ms-")
"""How the names of headers begin that say what a server allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One attempt to be made. Picklable.

    Attributes:
        sends: which attempt of the call it is, from 1; the first is noted in the ledger before it is sent.
        lost: why earlier attempts brought nothing though they may have been paid, one item each; noted as well.
        reserved: US dollars that it costs at worst, or None when nobody knows.
    """

    call: Call
    sends: int = 1
    lost: tuple[str, ...] = ()
    reserved: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What an attempt brought. Picklable once `stored` is None.

    Attributes:
        reached: the server was there and may have worked on it.
        told: the headers that say what the server allows, names in lower case.
        cost: US dollars for a reply; None when the price is unknown.
        stored: to be awaited before the reply is shown to anyone, raises SeedmillError; None when it is durable, or
            no final outcome.
    """

    verdict: Verdict
    reached: bool
    told: Mapping[str, str] = field(default_factory=dict)
    cost: float | None = None
    stored: Awaitable[None] | None = None


class Carrier(Protocol):
    """Makes attempts and keeps what they bring. Its methods run on the event loop of the Caller."""

    found_in_flight: Counter[tuple[str, str]]
    """Calls that may have been under way, and paid, when the last writer of the ledger died, by run and entry."""

    async def attempt(self, errand: Errand) -> Heard:
        """Make one attempt; a final outcome is given to the ledger. SeedmillError when the ledger cannot be written."""
        ...

    async def store(self, call: Call, model: str, end: Finished) -> None:
        """Make a final outcome durable that came some other way; SeedmillError when that is not possible."""
        ...

    async def abandon(self, call: Call, lost: Sequence[str], reserved: float | None = None) -> None:
        """Note that a call ended without a final outcome; `lost` and `reserved` as in Errand, the latter where no
        attempt has noted it. SeedmillError when it is not durable."""
        ...

    async def close(self) -> None:
        """Close the connections, write what is left and let go of the ledger."""
        ...


class LocalCarrier:
    """Carries from this process, with some or all shards of the ledger."""

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        ledger: Path,
        run: str,
        post: Post,
        *,
        shards: Sequence[int] | None = None,
        patience: float = 60.0,
        notice: Callable[[str], None] = lambda sentence: None,
        connect: Callable[[ModelSpec], Wire] = open_wire,
    ) -> None:
        """Take the ledger.

        Args:
            specs: the models by role; embedded ones must be served (see `local.serving`).
            ledger: the ledger's folder.
            run: name of the run, noted with every call.
            post: calls functions on the event loop that the methods run on.
            shards: the ledger shards whose calls are carried, all by default.
            patience: seconds to wait for another run that holds the ledger.
            notice: told once who that is.
            connect: makes the transport of a model.

        Raises:
            SeedmillError: the ledger cannot be written, or another run does not let go of it.
        """
        self._specs, self._post = specs, post
        self._wires = {role: connect(spec) for role, spec in specs.items()}
        self._ledger = Ledger(ledger, run, shards, patience, notice)
        self.found_in_flight = self._ledger.found_in_flight

    async def attempt(self, errand: Errand) -> Heard:
        """See Carrier.attempt."""
        call = errand.call
        spec = self._specs[call.role]
        if errand.sends == 1 or errand.lost:
            await self._durable(self._ledger.intend, call, reserved=errand.reserved, lost=errand.lost)
        began = time.monotonic()
        try:
            answer = await self._wires[call.role].post(*wire_body(spec, call))
        except NoAnswer as reason:
            verdict = Again(why=str(reason), down=True, paid=reason.paid)
            return Heard(verdict=verdict, reached=reason.paid)
        seconds, told, found = time.monotonic() - began, _telling(answer), judge(spec, answer, call)
        if not isinstance(found, Reading):
            return Heard(verdict=found, reached=True, told=told)
        cost = cost_of(found, spec.price)
        end = Finished(
            body=compact(answer.body) if found.vectors else answer.body,
            reading=found,
            cost=cost,
            sends=errand.sends,
            ms=round(seconds * 1000),
            lost=errand.lost,
            reserved=errand.reserved,
        )
        stored = self._durable(self._ledger.finish, call, spec.model, end)
        return Heard(verdict=found, reached=True, told=told, cost=cost, stored=stored)

    async def store(self, call: Call, model: str, end: Finished) -> None:
        """See Carrier.store."""
        await self._durable(self._ledger.finish, call, model, end)

    async def abandon(self, call: Call, lost: Sequence[str], reserved: float | None = None) -> None:
        """See Carrier.abandon."""
        await self._durable(self._ledger.abandon, call, lost, reserved=reserved)

    async def close(self) -> None:
        """See Carrier.close."""
        for wire in self._wires.values():
            await wire.close()
        await asyncio.to_thread(self._ledger.close)

    def _durable(self, write: Callable[..., None], *arguments: Any, **named: Any) -> asyncio.Future[None]:
        """A write that has been given to the ledger; done when it is durable."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        write(*arguments, done=functools.partial(self._post, _resolve, stored), **named)
        return stored


def _resolve(done: asyncio.Future[None], error: SeedmillError | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _telling(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith(_TELLING)}
