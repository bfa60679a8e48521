"""Calls under way: joined, queued, sent, tried again and stored; all of it on one event loop."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import replace

from pipeline.errors import ModelError, SeedmillError
from pipeline.llm.batch.desk import BatchDesk
from pipeline.llm.batch.landing import ByKey
from pipeline.llm.body import Call
from pipeline.llm.carrier import Carrier, Errand, Heard
from pipeline.llm.faults import Again, down_for, left_alone, nobody_there
from pipeline.llm.flight import Flight, Line, Pauses
from pipeline.llm.gate import Gate
from pipeline.llm.landings import Landings
from pipeline.llm.ledger import Reader
from pipeline.llm.purse import Purse
from pipeline.llm.reading import Reading
from pipeline.llm.request import Reply
from pipeline.llm.standstill import Standstill, standstill
from pipeline.llm.till import Till
from pipeline.llm.tower import Tower
from pipeline.llm.usage import Meter, count_reused


class Flights:
    """The event-loop side of a Caller. Every method but the constructor runs on the loop.

    Attributes:
        landings: the calls that have become durable lately; its mark may be taken from any thread.
        tower: lets them go; its outages may be asked for from any thread.
    """

    def __init__(
        self,
        lines: Mapping[str, Line],
        carrier: Carrier,
        reader: Reader,
        meter: Meter,
        pauses: Pauses,
        purse: Purse,
        notice: Callable[[str], None] = lambda sentence: None,
        desk: BatchDesk | None = None,
    ) -> None:
        self._lines, self._carrier, self._reader, self._meter = lines, carrier, reader, meter
        self._pauses, self._till, self._desk = pauses, Till(purse), desk
        self.landings = Landings()
        self.tower = Tower(lines, self._affords, self._send, notice)
        self._under_way: dict[str, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._landed = asyncio.Event()
        ways = (self._queue, self._stored, self._give_up, self._fail, self._money_back)
        self.landing = ByKey(self._under_way, self.landings, *ways)

    def take(self, call: Call, future: Future[Reply], mark: int | None = None) -> None:
        """Have a call made; join it when it is under way, reuse it when it has just become durable.

        Args:
            call: which.
            future: gets the reply, or the error.
            mark: of `landings`, when the ledger did not hold the call at that time; None when nobody has looked.
        """
        flight = self._under_way.get(call.key)
        if flight is not None:
            flight.futures.append(future)
            flight.wanted += 1
            return
        line = self._lines[call.role]
        try:
            reading = self._reader.find(call.key) if self.landings.may_hold(call.key, mark) else None
            if reading is None and line.refused is not None:
                raise line.refused
            quote = None if reading is not None else self._till.purse.quote(call, line.spec)
        except SeedmillError as error:
            future.set_exception(error)
            return
        if reading is not None:
            count_reused(self._meter, call.entry, reading)
            future.set_result(reading.reply(call.key, reused=True))
            return
        flight = self._under_way[call.key] = Flight(call, line, [future], quote=quote)
        if self._desk is not None:
            flight.place = "batched"
            if self._desk.take(call):
                return
            flight.place = "waiting"
        line.waiting.append(flight)
        self.tower.pump_soon(line.gate)

    def release(self, keys: Iterable[str]) -> None:
        """Somebody no longer wants these: drop what was not sent, and do not try again what was."""
        for key in keys:
            flight = self._under_way.get(key)
            if flight is None:
                continue
            flight.wanted -= 1
            if flight.wanted > 0:
                continue
            if flight.place == "waiting":
                self._fail(flight, CancelledError())
            elif flight.place == "batched" and self._desk is not None:
                self._desk.drop(key)
                self._fail(flight, CancelledError())
            elif flight.place == "resting":
                self._give_up(flight, "not wanted any more")

    def standstill(self) -> Standstill | None:
        """What all calls wait for, when it is anything but a reply; from any thread."""
        return standstill(self._lines.values(), on_the_wire=bool(self._tasks))

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
        self.tower.close()
        if self._desk is not None:
            await self._desk.close()
        await self._carrier.close()

    def _queue(self, flight: Flight) -> None:
        flight.place = "waiting"
        flight.line.waiting.append(flight)
        self.tower.pump_soon(flight.line.gate)

    def _send(self, flight: Flight) -> None:
        gate, given = flight.line.gate, flight.given
        new, again = int(flight.place == "waiting"), int(flight.sends > 0)
        self._meter.add(flight.call.entry, in_flight=new, sent=1, retries=again)
        flight.place = "sent"
        downtime = gate.downtime()
        if flight.sends and given is not None and not given.probe:
            flight.excused += downtime - flight.downtime
        flight.downtime = downtime
        self._start(self._fly(flight))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fly(self, flight: Flight) -> None:
        """One attempt and what follows from it."""
        try:
            heard = await self._attempt(flight)
        except Exception as error:  # it was not sent, or we cannot know
            if flight.given is not None:
                flight.line.gate.withdraw(flight.given)
            self._settle_money(flight, self._till.purse.lose)
            self._fail(flight, error)
            return
        try:
            self._settle(flight, heard)
            if isinstance(heard.verdict, Reading):
                if heard.stored is not None:
                    await heard.stored
                cost = heard.cost
                self._settle_money(flight, lambda quote: self._till.purse.pay(quote, cost))
                self._stored(flight, heard.verdict)
        except Exception as error:
            self._settle_money(flight, self._till.purse.lose)
            if flight.place != "over":
                self._fail(flight, error)

    async def _attempt(self, flight: Flight) -> Heard:
        """Have the carrier make one attempt."""
        line = flight.line
        if flight.sends == 0:
            flight.first_sent = time.monotonic()
        flight.sends += 1
        errand = Errand(call=flight.call, sends=flight.sends, lost=tuple(flight.lost), reserved=flight.quote)
        try:
            heard = await self._carrier.attempt(errand)
        except BaseException:
            flight.lost.append("broke off")
            raise
        line.reached = line.reached or heard.reached
        late = time.monotonic() - flight.first_sent > self._pauses.nobody
        if isinstance(heard.verdict, Again) and not line.reached and late:
            return replace(heard, verdict=nobody_there(line.spec, heard.verdict.why))
        return heard

    def _affords(self, flight: Flight) -> bool:
        """Whether there is the money for an attempt; without it the flight waits for what others give back."""
        if self._till.affords(flight):
            return True
        self._free(flight)
        asyncio.get_running_loop().call_soon(self._end_if_broke)
        return False

    def _settle_money(self, flight: Flight, how: Callable[[float | None], None]) -> None:
        for rich in self._till.settle(flight, how):
            self._queue(rich)
        if self._desk is not None:
            asyncio.get_running_loop().call_soon(self._desk.money_back)

    def _money_back(self) -> None:
        for rich in self._till.rich():
            self._queue(rich)

    def _end_if_broke(self) -> None:
        error = self._till.used_up(len(self._under_way))
        if error is not None:
            for flight in list(self._till.short):
                self._fail(flight, error)

    def _abandon(self, flight: Flight) -> None:
        """Have the ledger forget a call that was sent and has no final outcome; only then is its money free."""
        if flight.sends:
            self._till.ending += 1
            self._start(self._abandoned(flight))

    async def _abandoned(self, flight: Flight) -> None:
        purse = self._till.purse
        try:
            await self._carrier.abandon(flight.call, tuple(flight.lost))
            self._settle_money(flight, purse.give_back)
        except SeedmillError:  # shows elsewhere, or not at all: an intent that stays is reported as in flight
            self._settle_money(flight, purse.lose)
        finally:
            self._till.ending -= 1
            self._end_if_broke()

    def _settle(self, flight: Flight, heard: Heard) -> None:
        gate, verdict = flight.line.gate, heard.verdict
        self.tower.report(flight, heard)
        if isinstance(verdict, Reading):
            prompt, completion = verdict.prompt_tokens, verdict.completion_tokens
            self._free(flight, new_prompt_tokens=prompt, new_completion_tokens=completion, cost=heard.cost)
        elif isinstance(verdict, Again):
            self._try_again(flight, verdict)
        else:
            self._stop(gate, verdict)
            self._fail(flight, verdict)

    def _try_again(self, flight: Flight, again: Again) -> None:
        spec, gate, now = flight.line.spec, flight.line.gate, time.monotonic()
        if again.wait is not None or gate.paused_until <= now:
            flight.line.trouble = again.why
        if again.paid:
            flight.lost.append(again.why)
            self._settle_money(flight, self._till.purse.lose)
        self._meter.add(flight.call.entry, maybe_paid=int(again.paid), retries_429=int(again.limited))
        pause = self._pauses.pause(flight.sends, random.random()) if again.wait is None else again.wait
        if again.limited and again.wait is None:
            pause = min(pause, self._pauses.limited)
        down = 0.0 if gate.down_since is None else now - gate.down_since
        if pause > spec.deadline or down > spec.deadline:
            error = left_alone(spec, pause, again.why) if pause > spec.deadline else down_for(spec, down, again.why)
            self._stop(gate, error)
            self._fail(flight, error)
        elif now + pause > flight.first_sent + flight.excused + spec.deadline or not flight.wanted:
            self._give_up(flight, again.why)
        else:
            flight.place = "resting"
            flight.line.resting[flight] = asyncio.get_running_loop().call_later(pause, self._rested, flight)

    def _rested(self, flight: Flight) -> None:
        del flight.line.resting[flight]
        flight.line.due.append(flight)
        self.tower.pump(flight.line.gate)

    def _stored(self, flight: Flight, reading: Reading) -> None:
        """The reply is durable: hand it out."""
        self.landings.note(flight.call.key)
        wanted = flight.wanted
        if wanted:
            prompt, completion = reading.prompt_tokens * wanted, reading.completion_tokens * wanted
            counts = {"calls": wanted, "reused": wanted - 1, "prompt_tokens": prompt, "completion_tokens": completion}
        else:
            counts = {"after_target": 1}
        self._meter.add(flight.call.entry, **counts)
        self._land(flight)
        for place, future in enumerate(flight.futures):
            future.set_result(reading.reply(flight.call.key, reused=place > 0))

    def _give_up(self, flight: Flight, why: str) -> None:
        """End a call without a final outcome; nothing of it is stored but what may have been paid."""
        self._meter.add(flight.call.entry, unavailable=flight.wanted)
        self._abandon(flight)
        self._land(flight)
        reply = Reply(key=flight.call.key, text=why, finish_reason="unavailable", outcome="unavailable")
        for future in flight.futures:
            future.set_result(reply)

    def _stop(self, gate: Gate, error: ModelError) -> None:
        """The endpoint refuses us for good: what waits for it fails with the same sentence; what is sent goes on."""
        for line in self._lines.values():
            if line.gate is gate:
                line.refused = None if gate.known else error
                short = [flight for flight in self._till.short if flight.line is line]
                for flight in [*line.waiting, *line.resting, *line.due, *short]:
                    if flight.place != "over":
                        self._fail(flight, error)

    def _fail(self, flight: Flight, error: BaseException) -> None:
        self._abandon(flight)
        self._land(flight)
        for future in flight.futures:
            future.set_exception(error)

    def _land(self, flight: Flight) -> None:
        flight.place = "over"
        timer = flight.line.resting.pop(flight, None)
        if timer is not None:
            timer.cancel()
        self._free(flight)
        del self._under_way[flight.call.key]
        self._till.short.pop(flight, None)
        if self._till.short:
            asyncio.get_running_loop().call_soon(self._end_if_broke)
        self._landed.set()

    def _free(self, flight: Flight, **counts: float | None) -> None:
        """Give its place back, if it has one; `counts` are added in the same step."""
        if flight.given is not None:
            flight.line.gate.leave(flight.given)
            flight.given = None
            self._meter.add(flight.call.entry, in_flight=-1, **counts)
            self.tower.pump_soon(flight.line.gate)
