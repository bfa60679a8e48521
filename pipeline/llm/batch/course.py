"""The course of one batch: begun, looked at until it is over, and collected."""

import asyncio
import itertools
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.crash import crash_point
from pipeline.errors import ModelError
from pipeline.llm.batch.book import Book, Entry
from pipeline.llm.batch.launch import Unsure, find_again, launch
from pipeline.llm.batch.lines import Line, Result, results
from pipeline.llm.batch.patience import Patience
from pipeline.llm.batch.server import BatchServer, Later, Missing, NotTaken, Seen, TooLarge
from pipeline.llm.batch.terms import Terms
from pipeline.llm.faults import Again, Answer, judge
from pipeline.llm.models import ModelSpec
from pipeline.llm.reading import Reading
from pipeline.llm.servers import normalised

_FIRST_LOOK, _LONGER = 1.0, 1.5
"""Seconds before the first look at a batch, and the factor from one pause to the next."""

_CHUNK = 256
"""Replies that are given to the ledger at once, so that they share commits."""

_CROWDED = re.compile(r"token_limit|enqueued|queue", re.I)
_LARGE = re.compile(r"too_large|too large|too many (lines|requests)|maximum.{0,40}(lines|requests|size)", re.I)
"""What servers say of a file that was not accepted, in codes and messages: OpenAI's token_limit_exceeded."""


class Crowded(Exception):
    """The server has more waiting from us than it allows; nothing of this batch was begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a batch's course needs.

    Attributes:
        keep: makes a reply durable and hands it out; gets the line, what it says, its body and milliseconds.
        lose: notes in the ledger that an attempt may have been paid for nothing, and why.
    """

    spec: ModelSpec
    terms: Terms
    server: BatchServer
    book: Book
    patience: Patience
    keep: Callable[[Line, Reading, str, int], Awaitable[None]]
    lose: Callable[[Line, str], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Harvest:
    """What a batch that is over did not bring.

    Attributes:
        left: lines without a final outcome, and why.
        alone: lines that kept the file from being accepted; only a single call tells what is wrong with them.
        refusal: the endpoint refuses all we ask.
        cancelled: somebody had it stopped while we followed it.
    """

    left: list[tuple[Line, Again]] = field(default_factory=list)
    alone: list[Line] = field(default_factory=list)
    refusal: ModelError | None = None
    cancelled: bool = False


class Course:
    """Follows one batch, from wherever the book says it stands.

    Attributes:
        seen: the batch when it was last looked at; None until it is begun.
        collecting: its replies are being handed out.
    """

    def __init__(self, entry: Entry, lines: Sequence[Line], means: Means) -> None:
        self.entry, self.lines, self.means = entry, lines, means
        self.seen: Seen | None = None
        self.collecting = False

    async def run(self) -> Harvest:
        """Follow it to its end; on return every outcome it brought is durable and the book is closed on it.

        Raises:
            Crowded, TooLarge, NotTaken: nothing was begun, and the book does not know it any more.
            OutOfTime, Away: the book still knows what was begun; a later run goes on from there.
            SeedmillError: the endpoint refuses us, or the ledger or the book cannot be written.
        """
        resumed = self.entry.state == "created"
        again = Again(why="the batch was never begun")
        try:
            seen = await self._begin()
        except Unsure as error:
            seen, again = None, Again(why=str(error), paid=True)
        if seen is None:
            await self._lose([(line, again) for line in self.lines])
            await asyncio.to_thread(self.means.book.forget, self.entry.token)
            return Harvest(left=[(line, again) for line in self.lines])
        stopped_before = resumed and seen.state in ("cancelling", "cancelled")
        seen = await self._end_of(seen)
        if seen.state == "failed" and seen.output_file is None:
            return await self._not_accepted(seen)
        self.collecting = True
        harvest = await self._collect(seen)
        harvest.cancelled = seen.state == "cancelled" and not stopped_before
        return harvest

    def shown(self) -> dict[str, Any]:
        """How it stands, for people."""
        seen, entry = self.seen, self.entry
        return {
            "id": entry.id if seen is None else seen.id,
            "role": entry.role,
            "state": "uploading" if seen is None else seen.state,
            "lines": len(self.lines),
            "done": 0 if seen is None else seen.done,
            "failed": 0 if seen is None else seen.failed,
            "since": entry.begun,
            "trouble": self.means.patience.trouble,
        }

    async def _begin(self) -> Seen | None:
        """The batch at the server; None when it turns out that there is none."""
        means = self.means
        if self.entry.state == "created":
            return await self._look()
        if self.entry.state == "creating":
            found = await find_again(self.entry, means.book, means.server, means.patience)
        else:
            found = await launch(self.entry, self.lines, means.book, means.server, means.patience)
        if found is None:
            return None
        self.entry, self.seen = found
        return self.seen

    async def _look(self) -> Seen:
        assert self.entry.id is not None
        try:
            return await self.means.patience.ask(self.means.server.look, self.entry.id)
        except Missing as error:
            raise ModelError(
                f"{normalised(self.entry.base_url)}: there is no batch {self.entry.id} (role {self.entry.role})",
                "is the key another account's? To give the batch up, so that its calls are asked and paid anew: "
                f"seedmill batches {self.entry.run} --cancel",
            ) from error

    async def _end_of(self, seen: Seen) -> Seen:
        """Look at it, a little less often each time, until it is over."""
        pause, noted = _FIRST_LOOK, None
        while True:
            self.seen = seen
            if noted != (facts := {"said": seen.state, "done": seen.done, "failed": seen.failed}):
                await asyncio.to_thread(self.means.book.note, self.entry.token, **facts)
                noted = facts
            if seen.over:
                return seen
            await self.means.patience.rest(min(pause, self.means.terms.poll))
            pause *= _LONGER
            seen = await self._look()

    async def _not_accepted(self, seen: Seen) -> Harvest:
        """The file broke a rule: nothing was begun, nothing is paid."""
        await asyncio.to_thread(self.means.book.forget, self.entry.token)
        said = "; ".join(f"{code}: {message}" for code, message, _ in seen.problems) or "no reason was given"
        if _CROWDED.search(said):
            raise Crowded(said)
        if _LARGE.search(said):
            raise TooLarge(said)
        numbers = {number for _, _, number in seen.problems if number is not None and 0 < number <= len(self.lines)}
        if numbers and all(number in numbers for _, _, number in seen.problems):
            left = [(line, Again(why=said)) for n, line in enumerate(self.lines, 1) if n not in numbers]
            return Harvest(left=left, alone=[self.lines[n - 1] for n in sorted(numbers)])
        code, message, _ = seen.problems[0] if seen.problems else ("", said, None)
        body = json.dumps({"error": {"code": code, "message": message}})
        verdict = judge(self.means.spec, Answer(status=400, headers={}, body=body))
        if isinstance(verdict, ModelError):
            raise verdict
        raise NotTaken(said)

    async def _collect(self, seen: Seen) -> Harvest:
        """Make every reply durable, then close the book on the batch and delete its files."""
        means = self.means
        harvest, pending, gone = Harvest(), {line.call.key: line for line in self.lines}, False
        for file in (seen.output_file, seen.error_file):
            if file is None:
                continue
            try:
                content = await means.patience.ask(means.server.read, file)
            except Missing:
                gone = True
                continue
            await self._take_in(results(means.spec, content, pending), pending, harvest)
        why = "its batch's results are not there any more" if gone else f"no result, the batch is {seen.state}"
        harvest.left += [(line, Again(why=why, paid=gone)) for line in pending.values()]
        await self._lose(harvest.left)
        crash_point("batch-collected")
        await asyncio.to_thread(means.book.end, self.entry.token, seen.state)
        await self._tidy(seen)
        return harvest

    async def _take_in(self, found: Iterator[Result], pending: dict[str, Line], harvest: Harvest) -> None:
        ms = round((time.time() - self.entry.begun) * 1000)
        while chunk := await asyncio.to_thread(_next_results, found):
            keeping = []
            for result in chunk:
                line = pending.pop(result.key, None)
                if line is None:
                    continue
                if isinstance(result.verdict, Reading):
                    keeping.append(self.means.keep(line, result.verdict, result.body, ms))
                elif isinstance(result.verdict, Again):
                    harvest.left.append((line, result.verdict))
                else:
                    harvest.refusal = result.verdict
                    harvest.left.append((line, Again(why=result.verdict.message)))
            await asyncio.gather(*keeping)

    async def _lose(self, left: Sequence[tuple[Line, Again]]) -> None:
        """What may be on the bill is in the ledger before the book forgets it."""
        await asyncio.gather(*(self.means.lose(line, again.why) for line, again in left if again.paid))

    async def _tidy(self, seen: Seen) -> None:
        """Delete its files, as far as the server lets us: all they say is in the ledger, and accounts have limits."""
        for file in (self.entry.file, seen.output_file, seen.error_file):
            if file is not None and not self.means.patience.leaving:
                try:
                    await asyncio.to_thread(self.means.server.delete, file)
                except (Later, Missing, NotTaken, TooLarge, ModelError):
                    return


def _next_results(found: Iterator[Result]) -> list[Result]:
    return list(itertools.islice(found, _CHUNK))
