"""The desk where calls become batches: gathers them, has each batch followed, and hands out what comes back."""

import asyncio
import contextlib
import functools
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError, SeedmillError
from pipeline.llm.batch.book import Book, Entry, entry_of, summary
from pipeline.llm.batch.course import Course, Crowded, Harvest, Means
from pipeline.llm.batch.fate import Fate, after_error, after_harvest, not_taken
from pipeline.llm.batch.funds import Funds
from pipeline.llm.batch.landing import Landing
from pipeline.llm.batch.lines import Line, kind_of, line_of
from pipeline.llm.batch.patience import Away, OutOfTime, Patience
from pipeline.llm.batch.server import BatchServer, NotTaken, TooLarge
from pipeline.llm.batch.terms import batch_cost, terms_of
from pipeline.llm.batch.tray import Tray, Trays
from pipeline.llm.body import Call
from pipeline.llm.carrier import Carrier
from pipeline.llm.flight import Pauses
from pipeline.llm.ledger import Finished, Reader
from pipeline.llm.models import ModelSpec
from pipeline.llm.purse import Purse
from pipeline.llm.reading import Reading
from pipeline.llm.usage import Meter


class BatchDesk:
    """Takes the calls of roles whose mode is `batch` or `auto`, and whatever an earlier run left at a server.

    A file is sent when it is full, or when an asker waits for a reply and so cannot bring more. Methods run on the
    event loop of the Caller, but for the constructor and `shown`.
    """

    def __init__(
        self,
        specs: Mapping[str, ModelSpec],
        ledger: Path,
        run: str,
        carrier: Carrier,
        meter: Meter,
        purse: Purse,
        *,
        pauses: Pauses,
        patience: float = 60.0,
        notice: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """Open the book and see what an earlier run left.

        Args:
            ledger: the ledger's folder, which the book of batches is in.
            carrier: makes replies durable.
            meter: counts what is sent and used.
            purse: of the run.
            pauses: how long to wait between attempts.
            patience: seconds to wait for another run that holds the book.
            notice: told what a person should know.

        Raises:
            SeedmillError: the book cannot be written, or another run does not let go of it.
        """
        self._specs, self._run, self._carrier, self._meter = specs, run, carrier, meter
        self._pauses, self._notice = pauses, notice
        self._funds = Funds(purse)
        self._reader = Reader(ledger)
        self._book = Book(ledger, run, patience, notice)
        self._servers: dict[str, BatchServer] = {}
        self._trays = Trays()
        self._courses: dict[str, Course] = {}
        self._held: dict[str, Course] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._awaited: set[str] = set()
        self._online: set[str] = set()  # roles whose server has no batches
        self._lost_sight: dict[str, Exception] = {}  # calls that a server may be working on, and why we cannot follow
        self._landing: Landing
        for entry in self._book.open_entries():
            self._take_up(entry)

    def start(self, landing: Landing) -> None:
        """Go on with what an earlier run left, and hand out what comes back to `landing`."""
        self._landing = landing
        if self._courses:
            self._notice(
                f"{summary([c.entry for c in self._courses.values()])} are still under way from before: their replies "
                "are waited for, not asked again (to stop them, add --cancel)"
            )
        for course in list(self._courses.values()):
            self._follow(course)

    def take(self, call: Call) -> bool:
        """Whether the call is in a batch, or will be; otherwise it is to be asked online."""
        if call.key in self._held:
            return True
        if call.key in self._lost_sight:
            self._landing.fail([call.key], self._lost_sight[call.key])
            return True
        spec = self._specs[call.role]
        if spec.mode == "online" or call.role in self._online:
            return False
        tray = self._trays.of(spec, terms_of(spec).url(kind_of(call)))
        line = line_of(spec, tray.terms, call)
        if len(line.data) > tray.terms.bytes:
            return False
        tray.add(line)
        if tray.full:
            self._flush()
        return True

    def awaits(self, key: str) -> None:
        """An asker waits for this reply and brings no more calls until it has it."""
        self._awaited.add(key)
        self._flush()

    def money_back(self) -> None:
        """Something under way has ended: there may be money for what waits for it."""
        broke = [tray for tray in self._trays if tray.broke]
        for tray in broke:
            tray.broke = False
        if broke:
            self._flush()

    def drop(self, key: str) -> None:
        """Nobody wants this call any more: it is not sent, or, if it was, its reply is stored all the same."""
        self._trays.drop(key)

    def halt(self, error: SeedmillError) -> None:
        """Let nobody wait any longer; the batches go on at the server."""
        self._landing.fail([*(line.call.key for line in self._trays.empty()), *self._held], error)

    def shown(self) -> dict[str, Any] | None:
        """What is under way, for people: None when nothing is; from any thread."""
        gathered = sum(len(tray) for tray in self._trays)
        batches = [course.shown() for course in list(self._courses.values())]
        return {"gathered": gathered, "batches": batches} if gathered or batches else None

    async def close(self) -> None:
        """Finish what is being sent or collected, and leave the rest to the servers."""
        for course in self._courses.values():
            course.means.patience.leave()
        while self._tasks:
            await asyncio.wait(self._tasks)
        left = [e for e in self._book.open_entries() if any(e.asks(s) for s in self._specs.values())]
        if left:
            self._notice(
                f"{summary(left)} are left to the server, which goes on with them: run the same command again to "
                "collect them (to stop them, add --cancel)"
            )
        for server in self._servers.values():
            server.close()
        self._book.close()

    def _take_up(self, entry: Entry) -> None:
        """Go on with a batch of an earlier run, when it was made for a model of this one."""
        if entry.state in ("planned", "uploaded"):
            self._book.forget(entry.token)
            return
        spec = next((spec for spec in self._specs.values() if spec.base_url and entry.asks(spec)), None)
        if spec is None:
            return
        self._enter(entry, [self._funds.again(line, spec) for line in self._book.lines(entry.token)], spec)

    def _enter(self, entry: Entry, lines: Sequence[Line], spec: ModelSpec) -> Course:
        means = Means(
            spec=spec,
            terms=terms_of(spec),
            server=self._server(spec),
            book=self._book,
            patience=Patience(self._pauses, spec.deadline),
            keep=functools.partial(self._keep, spec),
            lose=lambda line, why: self._carrier.abandon(line.call, [why], line.reserved),
        )
        course = self._courses[entry.token] = Course(entry, lines, means)
        self._held.update((line.call.key, course) for line in lines)
        return course

    def _follow(self, course: Course) -> None:
        task = asyncio.get_running_loop().create_task(self._run_course(course))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _server(self, spec: ModelSpec) -> BatchServer:
        if spec.role not in self._servers:
            self._servers[spec.role] = BatchServer(spec, terms_of(spec))
        return self._servers[spec.role]

    def _flush(self) -> None:
        """Send what is full, and when an asker waits all that has gathered.

        While replies are being handed out nobody really waits: whoever gets one brings more calls.
        """
        self._awaited = {key for key in self._awaited if self._landing.under_way(key)}
        if any(course.collecting for course in self._courses.values()):
            return
        for tray in self._trays:
            while len(tray) and (tray.full or self._awaited) and not tray.broke:
                if tray.alone and self._others(tray):
                    break
                self._send(tray)

    def _others(self, tray: Tray) -> bool:
        """Whether a batch of this tray is under way."""
        return any((c.means.spec.role, c.entry.url) == (tray.spec.role, tray.url) for c in self._courses.values())

    def _send(self, tray: Tray) -> None:
        """Make a batch of the first lines; few calls are asked online in `auto`."""
        lines = tray.cut()
        if tray.spec.mode == "auto" and len(lines) < tray.terms.least:
            for line in lines:
                self._landing.ask_online(line.call.key)
            return
        waiting = bool(self._courses) or self._landing.asks_online()
        lines = self._funds.afford(tray, lines, self._landing, waiting=waiting)
        if lines:
            for line in lines:
                self._meter.add(line.call.entry, sent=1, retries=int(line.attempt > 1))
            entry = entry_of(secrets.token_hex(8), self._run, tray.spec, tray.url)
            self._follow(self._enter(entry, lines, tray.spec))

    async def _keep(self, spec: ModelSpec, line: Line, reading: Reading, body: str, ms: int) -> None:
        """Make a reply durable, unless an earlier run has done so, and hand it out."""
        call = line.call
        if self._reader.find(call.key) is not None:
            self._funds.settle(line, "no")
        else:
            cost = batch_cost(reading, spec.price)
            end = Finished(body=body, reading=reading, cost=cost, sends=line.attempt, ms=ms, reserved=line.reserved)
            await self._carrier.store(call, spec.model, end)
            prompt, completion = reading.prompt_tokens, reading.completion_tokens
            self._meter.add(call.entry, new_prompt_tokens=prompt, new_completion_tokens=completion, cost=cost)
            self._funds.pay(line, cost)
        self._landing.collected(call.key, reading)

    async def _run_course(self, course: Course) -> None:
        harvest, error = Harvest(), None
        try:
            harvest = await course.run()
        except Exception as raised:
            error = raised
        del self._courses[course.entry.token]
        for line in course.lines:
            self._held.pop(line.call.key, None)
        spec = course.means.spec
        fates = after_harvest(course, harvest, online=spec.mode != "batch" or spec.role in self._online)
        if error is not None:
            await self._learn(course, error)
            fates = after_error(course, error)
        for fate in fates:
            self._meet(fate, spec)
        if isinstance(error, OutOfTime):
            self._watch_on(course)
        self._landing.money_back()
        self.money_back()
        self._flush()

    def _watch_on(self, course: Course) -> None:
        """Nobody waits for this batch any more, but its calls must not be asked again while it may be worked on."""
        entry = next((e for e in self._book.open_entries() if e.token == course.entry.token), None)
        if entry is None:
            for line in course.lines:
                self._funds.settle(line, "no")
        elif not course.means.patience.leaving:
            self._follow(self._enter(entry, course.lines, course.means.spec))

    async def _learn(self, course: Course, error: Exception) -> None:
        """What a batch that was not begun says of the server."""
        spec = course.means.spec
        tray = self._trays.of(spec, course.entry.url)
        if isinstance(error, Crowded | TooLarge):
            tray.alone = tray.alone or isinstance(error, Crowded)
            if isinstance(error, TooLarge) or not self._others(tray):
                tray.terms = tray.terms.halved(len(course.lines))
            if isinstance(error, Crowded):
                with contextlib.suppress(Away):
                    await course.means.patience.rest(min(tray.terms.poll, self._pauses.longest))
        elif isinstance(error, NotTaken) and spec.mode == "batch":
            self._landing.fail([line.call.key for line in self._trays.empty(spec.role)], not_taken(spec, error))
        elif isinstance(error, NotTaken) and spec.role not in self._online:
            self._online.add(spec.role)
            self._notice(f"{not_taken(spec, error).message}: its calls are asked online")
            for line in self._trays.empty(spec.role):
                self._landing.ask_online(line.call.key)
        elif isinstance(error, ModelError):
            self._landing.fail([line.call.key for line in self._trays.empty(spec.role)], error)
            if not any(self._landing.under_way(line.call.key) for line in course.lines):
                self._notice(error.message)

    def _meet(self, fate: Fate, spec: ModelSpec) -> None:
        """Do what was decided for one line."""
        line = fate.line
        key = line.call.key
        self._funds.settle(line, fate.paid)
        self._meter.add(line.call.entry, maybe_paid=int(fate.paid == "perhaps"))
        if fate.paid == "open" and fate.error is not None:
            self._lost_sight[key] = fate.error
        if not self._landing.under_way(key):
            return
        if fate.next == "again":
            tray = self._trays.of(spec, terms_of(spec).url(kind_of(line.call)))
            tray.add(line_of(spec, tray.terms, line.call, line.attempt))
        elif fate.next == "online":
            self._landing.ask_online(key)
        elif fate.next == "give up":
            self._landing.give_up(key, fate.why)
        elif fate.next == "fail" and fate.error is not None:
            self._landing.fail([key], fate.error)
