"""The ledger: every finished call, durable before anyone sees its reply, shared by all runs."""

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.crash import crash_point
from pipeline.errors import SeedmillError
from pipeline.llm.body import Call
from pipeline.llm.lease import Lease
from pipeline.llm.reading import Reading, read_stored
from pipeline.llm.schema import CALL_FIELDS, FINISH, FORGET, INTEND, LOSE, SPEND
from pipeline.llm.scribe import Scribe
from pipeline.llm.shard import Shard, Statement, Write

SHARDS = 4
"""Of a new ledger: as many as there are writers at most (engine/calls_on_ray.py); more would only flush more often."""

Done = Callable[[SeedmillError | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a call ended, for the ledger.

    Attributes:
        body: the server's reply as it came, but for vectors (see `lists.compact`).
        cost: US dollars, or None when that is not known.
        sends: attempts, this one included.
        ms: duration of the last attempt.
        lost: why earlier attempts brought nothing though they may have been paid, one item each.
        reserved: US dollars that it costs at worst, or None when nobody knows.
    """

    body: str
    reading: Reading
    cost: float | None
    sends: int
    ms: int
    lost: Sequence[str] = ()
    reserved: float | None = None


def shard_count(folder: Path) -> int:
    """Number of shards of a ledger; that of a new one when there is none yet."""
    try:
        return int(json.loads((folder / "shape.json").read_text(encoding="utf-8"))["shards"])
    except FileNotFoundError:
        return SHARDS
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SeedmillError(f"{folder / 'shape.json'} cannot be read: {error}", 'restore it: {"shards": 8}') from error


def shard_of(key: str, shards: int) -> int:
    """The shard that holds a key."""
    return int(key[:8], 16) % shards


def _shard_path(folder: Path, index: int) -> Path:
    return folder / f"shard-{index}.sqlite"


class Reader:
    """Reads a ledger, from any thread and beside any writer; needs no lease."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = threading.local()

    def find(self, key: str) -> Reading | None:
        """What the ledger holds of a call, or None."""
        row = self._row("SELECT reply, outcome FROM calls WHERE key = ?", key)
        return None if row is None else read_stored(row[0], row[1])

    def read(self, key: str) -> dict[str, Any] | None:
        """A finished call with all that is known of it; `request` and `reply` are parsed JSON where they are JSON."""
        row = self._row(f"SELECT {', '.join(CALL_FIELDS)} FROM calls WHERE key = ?", key)
        if row is None:
            return None
        call = dict(zip(CALL_FIELDS, row, strict=True))
        for name in ("request", "reply"):
            with contextlib.suppress(ValueError):  # an error page, say: shown as it came
                call[name] = json.loads(call[name])
        return call

    def _row(self, sql: str, key: str) -> tuple[Any, ...] | None:
        database = self._database(key)
        if database is None:
            return None
        try:
            row: tuple[Any, ...] | None = database.execute(sql, (key,)).fetchone()
        except sqlite3.Error as error:
            raise SeedmillError(f"the ledger {self._folder} cannot be read: {error}") from error
        return row

    def _database(self, key: str) -> sqlite3.Connection | None:
        """This thread's connection to a key's shard; None while nothing was ever written there."""
        opened: dict[int, sqlite3.Connection] | None = getattr(self._threads, "opened", None)
        if opened is None:
            opened = self._threads.opened = {}
            self._threads.shards = shard_count(self._folder)
        index = shard_of(key, self._threads.shards)
        found = opened.get(index)
        if found is None and _shard_path(self._folder, index).exists():
            found = opened[index] = _open_to_read(_shard_path(self._folder, index))
        return found


def _open_to_read(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=30.0)
    except sqlite3.Error as error:
        raise SeedmillError(f"the ledger {path} cannot be read: {error}") from error


def read_calls(folder: Path) -> Callable[[str], dict[str, Any] | None]:
    """Looks finished calls up by key, see `Reader.read`."""
    return Reader(folder).read


class Ledger:
    """Writes some or all shards of a ledger under their leases.

    Attributes:
        found_in_flight: calls that may have been under way, and paid, when the last writer of these shards died, by
            run and entry.
    """

    def __init__(
        self,
        folder: Path,
        run: str,
        shards: Sequence[int] | None = None,
        patience: float = 60.0,
        notice: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """Open for writing; makes the folder when there is none.

        Args:
            folder: where the ledger lives.
            run: name of the run, noted with every call.
            shards: indexes of the shards to write, all by default.
            patience: seconds to wait for another run that writes them.
            notice: told who that is, once, when it takes longer.

        Raises:
            SeedmillError: it cannot be written, or another run does not let go of it.
        """
        self._run = run
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.shards = _settled_shape(folder)
        except OSError as error:
            raise SeedmillError(
                f"the ledger {folder} cannot be made: {error}", "choose another with LEDGER="
            ) from error
        mine = sorted(range(self.shards) if shards is None else shards)
        self._lease = Lease([folder / f"shard-{i}.lease" for i in mine], run, patience, notice)
        self._shards: dict[int, Shard] = {}
        self._scribe = Scribe("ledger")
        try:
            for index in mine:
                self._shards[index] = Shard(_shard_path(folder, index))
        except BaseException:
            self.close()
            raise
        self.found_in_flight = sum((s.found_in_flight for s in self._shards.values()), Counter[tuple[str, str]]())

    def intend(self, call: Call, done: Done, *, reserved: float | None = None, lost: Sequence[str] = ()) -> None:
        """Note that a call is about to be sent.

        Args:
            call: which.
            done: called once that is durable.
            reserved: US dollars that one attempt costs at worst, or None when nobody knows.
            lost: why earlier attempts of it were lost: noted before the next one is sent, for each may be on the bill.
        """
        row = (call.key, self._run, call.entry, call.role, time.time(), reserved, json.dumps(list(lost)))
        self._put(call, [(INTEND, row)], done)

    def finish(self, call: Call, model: str, end: Finished, done: Done) -> None:
        """Store a final outcome and add it to the sums of its run; `done` is called once both are durable."""
        read, cost = end.reading, end.cost
        who = (self._run, call.entry, call.role, read.model or model)
        tokens = (read.prompt_tokens, read.completion_tokens)
        row = (call.key, call.document, end.body, read.outcome, *who, *tokens, cost, end.sends, end.ms, time.time())
        known, at_most = cost is not None, 0.0 if cost is not None else end.reserved
        sums = (1, read.prompt_tokens, read.cached_tokens, read.completion_tokens)
        money = (cost or 0.0, int(not known), at_most or 0.0, int(at_most is None))

        def durable(error: SeedmillError | None) -> None:
            if error is None:
                crash_point("reply-durable")
            done(error)

        self._put(call, [(FINISH, row), (SPEND, (*who, *sums, *money)), *self._ended(call, end.lost)], durable)

    def abandon(self, call: Call, lost: Sequence[str], done: Done, reserved: float | None = None) -> None:
        """Note that a call that was sent ended without a final outcome.

        Args:
            call: which.
            lost: as in Finished.
            done: called once that is durable.
            reserved: US dollars that each lost attempt costs at worst, where no intent says so: it went in a batch.
        """
        self._put(call, self._ended(call, lost, reserved), done)

    def close(self) -> None:
        """Write what is left and let go of the shards."""
        self._scribe.close()
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()
        self._lease.release()

    def _ended(self, call: Call, lost: Sequence[str], reserved: float | None = None) -> list[Statement]:
        rows = [(call.key, self._run, call.entry, call.role, time.time(), why, call.key, reserved) for why in lost]
        return [*((LOSE, row) for row in rows), (FORGET, (call.key,))]

    def _put(self, call: Call, statements: list[Statement], done: Done) -> None:
        shard = self._shards[shard_of(call.key, self.shards)]
        self._scribe.put(shard, Write(call.key, tuple(statements), done))


def _settled_shape(folder: Path) -> int:
    """The ledger's number of shards, written down by whoever comes first."""
    shape = folder / "shape.json"
    if not shape.exists():
        mine = folder / f".shape-{os.getpid()}-{threading.get_ident()}"
        mine.write_text(json.dumps({"version": 1, "shards": SHARDS}) + "\n", encoding="utf-8")
        try:
            os.link(mine, shape)
        except FileExistsError:
            pass
        finally:
            mine.unlink()
    return shard_count(folder)


def ledger_facts(folder: Path) -> Mapping[str, int]:
    """Counts over all shards: finished calls, calls in flight, and attempts whose reply was lost."""
    counts = dict.fromkeys(("calls", "intents", "lost"), 0)
    for path in sorted(folder.glob("shard-*.sqlite")):
        database = _open_to_read(path)
        try:
            for table in counts:
                counts[table] += database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        finally:
            database.close()
    return counts
