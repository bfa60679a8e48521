"""Makes calls: an event loop in a thread behind plain futures, over a ledger and under limits."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import uvloop

from pipeline.errors import SeedmillError, UsageError
from pipeline.llm import garbage
from pipeline.llm.accounts import account
from pipeline.llm.batch.book import is_kept
from pipeline.llm.batch.desk import BatchDesk
from pipeline.llm.body import Call, compose
from pipeline.llm.carrier import Carrier, LocalCarrier
from pipeline.llm.flight import PAUSES, Pauses
from pipeline.llm.flights import Flights
from pipeline.llm.ledger import Reader
from pipeline.llm.limits import Changes, change, lines_of
from pipeline.llm.mailbox import Mailbox, Post
from pipeline.llm.models import ModelSpec
from pipeline.llm.purse import Purse
from pipeline.llm.request import Reply, Request
from pipeline.llm.standstill import Noticeboard, Standstill
from pipeline.llm.transport import open_wire
from pipeline.llm.usage import Meter, Usage, count_reused
from pipeline.llm.wire import Wire


def _silent(sentence: str) -> None:
    """Tells nobody."""


class Caller:
    """Finds calls in the ledger, or makes them: single flight, intent, limits, wire, ledger, reply.

    One in a run, in the driver, whatever the engine: so limits hold for all that is sent. The attempts themselves are
    made by a Carrier, here or in Ray actors. Its methods may be called from any thread.
    """

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        ledger: Path,
        run: str,
        *,
        patience: float = 60.0,
        notice: Callable[[str], None] = _silent,
        connect: Callable[[ModelSpec], Wire] = open_wire,
        pauses: Pauses = PAUSES,
        carry: Callable[[Post], Carrier] | None = None,
    ) -> None:
        """Take the ledger and start.

        Args:
            specs: the models by role; embedded ones must be served (see `local.serving`).
            ledger: the ledger's folder.
            run: name of the run, noted with every call.
            patience: seconds to wait for another run that holds the ledger.
            notice: told who that is, and when an endpoint is down or back.
            connect: makes the transport of a model.
            pauses: how long to wait between attempts.
            carry: opens what makes the attempts, by default one in this process from the arguments above.

        Raises:
            SeedmillError: the ledger cannot be written, or another run does not let go of it.
        """
        self.specs = dict(specs)
        self._meter, self._reader = Meter(), Reader(ledger)
        self._folder, self._run, self.purse = ledger, run, Purse()
        self.noticeboard = Noticeboard()

        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._post = Mailbox(self._loop).post
        try:
            if carry is None:
                carrier: Carrier = LocalCarrier(
                    specs, ledger, run, self._post, patience=patience, notice=notice, connect=connect
                )
            else:
                carrier = carry(self._post)
        except BaseException:
            self._loop.close()
            raise
        self._found = carrier.found_in_flight
        self._desk = self._open_desk(ledger, run, carrier, pauses=pauses, patience=patience, notice=notice)
        self._lines = lines_of(self.specs, pauses)
        self._flights = Flights(self._lines, carrier, self._reader, self._meter, pauses, self.purse, notice, self._desk)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="caller")
        self._thread.start()
        self._missed = threading.local()  # the call that this thread did not find, and when it looked
        if self._desk is not None:
            self._post(self._desk.start, self._flights.landing)
        self._closed = False
        garbage.relax()

    def find(self, call: Call) -> Reply | None:
        """The reply, when the ledger holds it; counted as reused."""
        mark = self._flights.landings.mark()
        reading = self._reader.find(call.key)
        if reading is None:
            self._missed.last = (call.key, mark)
            return None
        count_reused(self._meter, call.entry, reading)
        return reading.reply(call.key, reused=True)

    def send(self, call: Call) -> Future[Reply]:
        """Have the call made, unless it is under way or has just become durable. The future cannot be cancelled.

        It raises ModelError when the endpoint refuses us for good, SeedmillError when the ledger cannot be written,
        and CancelledError when the call was released before it was sent.
        """
        if self._closed:
            raise RuntimeError("this Caller is closed")
        future: Future[Reply] = Future()
        future.set_running_or_notify_cancel()
        key, mark = getattr(self._missed, "last", (None, None))
        self._post(self._flights.take, call, future, mark if key == call.key else None)
        return future

    def release(self, keys: Sequence[str]) -> None:
        """One asker no longer wants these calls: the ones not sent are dropped, the others not tried again."""
        self._post(self._flights.release, keys)

    def awaits(self, key: str) -> None:
        """An asker brings no more calls until it has this reply: what has gathered for batches is sent."""
        if self._desk is not None:
            self._post(self._desk.awaits, key)

    def halt(self, error: SeedmillError) -> None:
        """Whoever waits for batches gets this error; the batches go on, and a later run collects them."""
        if self._desk is not None:
            self._post(self._desk.halt, error)

    def change_limits(self, changes: Changes) -> None:
        """Keep other limits from now on, see `limits.read_changes`; calls under way go on."""

        def on_the_loop() -> None:
            change(self._lines, changes)
            self._flights.tower.pump_all()

        self._post(on_the_loop)

    def batches(self) -> dict[str, Any] | None:
        """See BatchDesk.shown."""
        return None if self._desk is None else self._desk.shown()

    def submit(self, request: Request, entry: str = "") -> Future[Reply]:
        """The reply to one request, from the ledger or from the model."""
        if request.role not in self.specs:
            raise unknown_role(request.role, self.specs)
        call = compose(self.specs[request.role], request, entry)
        reply = self.find(call)
        if reply is None:
            sent = self.send(call)
            self.awaits(call.key)
            return sent
        future: Future[Reply] = Future()
        future.set_result(reply)
        return future

    def spend_at_most(self, budget: float | None) -> None:
        """Hold the run to a budget in US dollars, what it spent in earlier processes included. Before the first call.

        Raises:
            UsageError: it has paid something that nobody knows, so that no budget can hold.
        """
        self.purse.open(budget, account(self._folder, self._run))

    def money(self) -> dict[str, float | None]:
        """See Purse.state."""
        return self.purse.state()

    def usage(self, entry: str | None = None) -> Usage:
        """What was used, by one entry or by all since the start.

        What was found in flight is this run's and the entry's; of all entries together it is what any run left.
        """
        found = self._found.total() if entry is None else self._found[self._run, entry]
        return replace(self._meter.usage(entry), in_flight_found_at_open=found)

    def standstill(self) -> Standstill | None:
        """What everything waits for, when it is anything but a reply."""
        return self.noticeboard.read() or self._flights.standstill()

    def outages(self) -> list[str]:
        """What is to be told of endpoints that are down now, a sentence each."""
        return self._flights.tower.outages.sentences()

    def close(self) -> None:
        """Drop what was not sent, wait for what was, and let go of the ledger."""
        if self._closed:
            return
        self._closed = True
        asyncio.run_coroutine_threadsafe(self._flights.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        garbage.restore()

    def _open_desk(self, ledger: Path, run: str, carrier: Carrier, **settings: Any) -> BatchDesk | None:
        """The desk of batches, when a role asks for them or an earlier run left some."""
        if all(spec.mode == "online" for spec in self.specs.values()) and not is_kept(ledger):
            return None
        try:
            return BatchDesk(self.specs, ledger, run, carrier, self._meter, self.purse, **settings)
        except BaseException:
            self._loop.run_until_complete(carrier.close())
            self._loop.close()
            raise

    def __enter__(self) -> "Caller":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def unknown_role(role: str, specs: Mapping[str, ModelSpec]) -> UsageError:
    """The error of a stage that names a model role the recipe does not define."""
    return UsageError(f"there is no model role '{role}'", f"roles of this recipe: {', '.join(specs)}")
