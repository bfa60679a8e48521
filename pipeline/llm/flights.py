"""Calls under way: joined, queued, sent, tried again and stored; all of it on one event loop."""

import asyncio
import functools
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Literal

from pipeline.errors import ModelError, SeedmillError
from pipeline.llm.body import Call, token_bound, wire_body
from pipeline.llm.faults import Again, NoAnswer, Verdict, judge, nobody_there
from pipeline.llm.ledger import Finished, Ledger, Reader
from pipeline.llm.limits import Gate, Pass
from pipeline.llm.models import ModelSpec
from pipeline.llm.reading import Reading
from pipeline.llm.request import Reply
from pipeline.llm.usage import Meter, cost_of
from pipeline.llm.wire import Wire

Post = Callable[..., None]
"""Calls a function with arguments on the event loop; from any thread."""

_NOBODY_AFTER = 10.0
"""Seconds after which an endpoint that never answered is taken for absent."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


@dataclass(eq=False, slots=True)
class Line:
    """The calls of one role that wait to be sent, and where they go.

    Attributes:
        gate: shared by roles that ask the same model of the same server.
        waiting: not sent yet, or due for another attempt.
        resting: between two attempts, with the timer that ends the rest.
        reached: the server has answered at least once.
    """

    spec: ModelSpec
    gate: Gate
    wire: Wire
    waiting: "deque[Flight]" = field(default_factory=deque)
    resting: "dict[Flight, asyncio.TimerHandle]" = field(default_factory=dict)
    reached: bool = False


@dataclass(eq=False, slots=True)
class Flight:
    """One call from the first wish for it until its reply is durable.

    Attributes:
        futures: everybody who asked for it; all but the first joined later.
        tokens: about how many it will use; 0 where that does not matter.
        wanted: how many of `futures` still want the reply.
        place: where it is: `waiting` to be sent, `sent`, `resting` between two attempts, or `over`.
        body: the last answer's body.
        lost: attempts without a reply that may have been paid, as reasons.
    """

    call: Call
    line: Line
    futures: list[Future[Reply]]
    tokens: float = 0.0
    wanted: int = 1
    place: Literal["waiting", "sent", "resting", "over"] = "waiting"
    body: str = ""
    sends: int = 0
    first_sent: float = 0.0
    lost: list[str] = field(default_factory=list)


class Flights:
    """The event-loop side of a Caller. Every method but the constructor runs on the loop."""

    def __init__(self, lines: Mapping[str, Line], ledger: Ledger, reader: Reader, meter: Meter, post: Post) -> None:
        self._lines, self._ledger, self._reader, self._meter, self._post = lines, ledger, reader, meter, post
        self._under_way: dict[str, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._landed = asyncio.Event()

    def take(self, call: Call, future: Future[Reply]) -> None:
        """Have a call made; join it when it is under way, reuse it when it has just become durable."""
        flight = self._under_way.get(call.key)
        if flight is not None:
            flight.futures.append(future)
            flight.wanted += 1
            return
        try:
            reading = self._reader.find(call.key)
        except SeedmillError as error:
            future.set_exception(error)
            return
        if reading is not None:
            count_reused(self._meter, call.entry, reading)
            future.set_result(reading.reply(call.key, reused=True))
            return
        line = self._lines[call.role]
        tokens = float(token_bound(call)) if line.gate.counts_tokens else 0.0
        flight = self._under_way[call.key] = Flight(call, line, [future], tokens)
        line.waiting.append(flight)
        self._pump(line.gate)

    def release(self, keys: Iterable[str]) -> None:
        """Somebody no longer wants these: drop what was not sent, and do not try again what was."""
        for key in keys:
            flight = self._under_way.get(key)
            if flight is None:
                continue
            flight.wanted -= 1
            if flight.wanted > 0:
                continue
            if flight.place == "waiting" and flight.sends == 0:
                self._fail(flight, CancelledError())
            elif flight.place != "sent":
                self._give_up(flight, "not wanted any more")

    async def close(self) -> None:
        """Drop what was not sent, wait for what was."""
        for flight in list(self._under_way.values()):
            flight.wanted = min(flight.wanted, 1)
            self.release([flight.call.key])
        while self._under_way:
            self._landed.clear()
            await self._landed.wait()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for timer in self._timers.values():
            timer.cancel()
        for line in self._lines.values():
            await line.wire.close()

    def _pump(self, gate: Gate) -> None:
        """Send whatever the gate lets through now; come back when it will let through more."""
        for line in self._lines.values():
            while line.gate is gate and line.waiting:
                flight = line.waiting[0]
                if flight.place == "over":
                    line.waiting.popleft()
                    continue
                wait = gate.wait(line.spec.role, line.spec.concurrency, flight.tokens)
                if wait is None:
                    break
                if wait > 0:
                    self._pump_later(gate, wait)
                    break
                line.waiting.popleft()
                self._send(flight)

    def _pump_later(self, gate: Gate, wait: float) -> None:
        loop = asyncio.get_running_loop()
        earlier = self._timers.pop(id(gate), None)
        if earlier is not None:
            earlier.cancel()
        self._timers[id(gate)] = loop.call_later(wait, self._pump, gate)

    def _send(self, flight: Flight) -> None:
        flight.place = "sent"
        given = flight.line.gate.enter(flight.line.spec.role, flight.tokens)
        self._meter.add(flight.call.entry, in_flight=1)
        task = asyncio.get_running_loop().create_task(self._fly(flight, given))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fly(self, flight: Flight, given: Pass) -> None:
        """One attempt and what follows from it."""
        gate, began = flight.line.gate, time.monotonic()
        try:
            verdict: Verdict | Exception = await self._attempt(flight)
        except Exception as error:
            verdict = error
        self._meter.add(flight.call.entry, in_flight=-1)
        if isinstance(verdict, Reading):
            gate.leave(given, answered=True, used=verdict.prompt_tokens + verdict.completion_tokens)
        elif isinstance(verdict, Again):
            gate.leave(given, limited=verdict.limited, wait=verdict.wait)
        else:
            gate.leave(given)
        try:
            self._settle(flight, verdict, began)
        except Exception as error:
            self._fail(flight, error)
        self._pump(gate)

    async def _attempt(self, flight: Flight) -> Verdict:
        """One attempt over the wire; the first one is noted in the ledger before it is sent."""
        line, entry = flight.line, flight.call.entry
        if flight.sends == 0:
            noted: asyncio.Future[SeedmillError | None] = asyncio.get_running_loop().create_future()
            self._ledger.intend(flight.call, lambda error: self._post(noted.set_result, error))
            error = await noted
            if error is not None:
                raise error
            flight.first_sent = time.monotonic()
        self._meter.add(entry, sent=1, retries=1 if flight.sends else 0)
        flight.sends += 1
        try:
            answer = await line.wire.post(*wire_body(line.spec, flight.call))
        except NoAnswer as reason:
            line.reached = line.reached or reason.paid
            if not line.reached and time.monotonic() - flight.first_sent > _NOBODY_AFTER:
                return nobody_there(line.spec, str(reason))
            return Again(why=str(reason), paid=reason.paid)
        line.reached, flight.body = True, answer.body
        return judge(line.spec, answer)

    def _settle(self, flight: Flight, verdict: Verdict | Exception, began: float) -> None:
        if isinstance(verdict, Again):
            self._try_again(flight, verdict)
        elif isinstance(verdict, Reading):
            self._store(flight, verdict, began)
        else:
            if isinstance(verdict, ModelError):
                self._stop(flight.line.gate, verdict)
            self._fail(flight, verdict)

    def _try_again(self, flight: Flight, again: Again) -> None:
        spec, entry = flight.line.spec, flight.call.entry
        if again.paid:
            flight.lost.append(again.why)
            self._meter.add(entry, maybe_paid=1)
        if again.limited:
            self._meter.add(entry, retries_429=1)
        if again.wait is not None and again.wait > spec.deadline:
            until = f"for {again.wait / 60:.0f} minutes"
            error = ModelError(
                f"{spec.endpoint} asks to be left alone {until} (role {spec.role}: {again.why})",
                "run the same command again then; finished calls are kept",
            )
            self._settle(flight, error, 0.0)
            return
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(flight.sends - 1, 10)) * random.uniform(0.5, 1.0)
        pause = max(pause if again.wait is None else 0.0, again.wait or 0.0)
        late = time.monotonic() + pause > flight.first_sent + spec.deadline
        if late or not flight.wanted:
            self._give_up(flight, again.why)
            return
        loop = asyncio.get_running_loop()
        flight.place = "resting"
        flight.line.resting[flight] = loop.call_later(pause, self._rested, flight)

    def _rested(self, flight: Flight) -> None:
        del flight.line.resting[flight]
        flight.place = "waiting"
        flight.line.waiting.appendleft(flight)
        self._pump(flight.line.gate)

    def _store(self, flight: Flight, reading: Reading, began: float) -> None:
        """Make the reply durable, then hand it out."""
        spec = flight.line.spec
        cost = cost_of(reading, spec.price)
        self._meter.add(
            flight.call.entry,
            new_prompt_tokens=reading.prompt_tokens,
            new_completion_tokens=reading.completion_tokens,
            cost=cost,
        )
        ms = round((time.monotonic() - began) * 1000)
        end = Finished(body=flight.body, reading=reading, cost=cost, sends=flight.sends, ms=ms, lost=tuple(flight.lost))
        durable = functools.partial(self._post, self._stored, flight, reading)
        self._ledger.finish(flight.call, spec.model, end, durable)

    def _stored(self, flight: Flight, reading: Reading, error: SeedmillError | None) -> None:
        if error is not None:
            self._fail(flight, error)
            return
        entry, wanted = flight.call.entry, flight.wanted
        if wanted:
            tokens = {"prompt_tokens": reading.prompt_tokens, "completion_tokens": reading.completion_tokens}
            self._meter.add(entry, calls=wanted, reused=wanted - 1, **{k: wanted * v for k, v in tokens.items()})
        else:
            self._meter.add(entry, after_target=1)
        self._land(flight)
        for place, future in enumerate(flight.futures):
            future.set_result(reading.reply(flight.call.key, reused=place > 0))

    def _give_up(self, flight: Flight, why: str) -> None:
        """End a call without a final outcome; nothing of it is stored but what may have been paid."""
        self._meter.add(flight.call.entry, unavailable=flight.wanted)
        self._ledger.abandon(flight.call, flight.lost, _whatever)
        self._land(flight)
        reply = Reply(key=flight.call.key, text=why, finish_reason="unavailable", outcome="unavailable")
        for future in flight.futures:
            future.set_result(reply)

    def _stop(self, gate: Gate, error: ModelError) -> None:
        """The endpoint refuses us for good: what waits for it fails with the same sentence; what is sent goes on."""
        for line in self._lines.values():
            if line.gate is gate:
                for flight in [*line.waiting, *line.resting]:
                    if flight.place != "over":
                        self._fail(flight, error)

    def _fail(self, flight: Flight, error: BaseException) -> None:
        if flight.sends:
            self._ledger.abandon(flight.call, flight.lost, _whatever)
        self._land(flight)
        for future in flight.futures:
            future.set_exception(error)

    def _land(self, flight: Flight) -> None:
        flight.place = "over"
        timer = flight.line.resting.pop(flight, None)
        if timer is not None:
            timer.cancel()
        del self._under_way[flight.call.key]
        self._landed.set()


def _whatever(error: SeedmillError | None) -> None:
    """For writes whose failure shows elsewhere, or not at all: an intent that stays is reported as in flight."""


def count_reused(meter: Meter, entry: str, reading: Reading) -> None:
    """Count a reply that the ledger held."""
    meter.add(
        entry, calls=1, reused=1, prompt_tokens=reading.prompt_tokens, completion_tokens=reading.completion_tokens
    )
