"""One shard of the ledger: a SQLite file with one writing thread, which commits in groups."""

import contextlib
import errno
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import SeedmillError
from pipeline.llm.schema import GIVE_UP, VERSION, bring_up_to_date

_GROUP = 512

Statement = tuple[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Write:
    """Statements that belong into one transaction, and whom to tell when it is durable (None) or impossible (why)."""

    statements: tuple[Statement, ...]
    done: Callable[[SeedmillError | None], None]


class Shard:
    """The writer of one file. Needs the shard's lease.

    Durability: WAL with synchronous=FULL, so a commit is on the disk (fsync) before anybody is told of it; what was
    told survives kill -9 and power loss. A thread per shard, because waiting for several disks' flushes at once costs
    hardly more than waiting for one; whatever arrives during a flush goes into the next group.

    Attributes:
        found_in_flight: calls that were under way when the last writer died; now listed in `lost`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._broken: SeedmillError | None = None
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
            self.found_in_flight = self._prepare()
        except sqlite3.Error as error:
            raise write_error(path, error) from error
        self._thread = threading.Thread(target=self._loop, daemon=True, name=f"ledger-{path.stem}")
        self._thread.start()

    def put(self, write: Write) -> None:
        """Have it written; `done` is called from the writing thread."""
        self._queue.put(write)

    def close(self) -> None:
        """Write what has been put, then close the file."""
        self._queue.put(None)
        self._thread.join()
        with contextlib.suppress(sqlite3.Error):  # tidiness only: readers find what is in the WAL as well
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    def _prepare(self) -> int:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise SeedmillError(f"{self._path} was written by a newer version of this program", "update the program")
        bring_up_to_date(self._db, version)
        found: int = self._db.execute("SELECT count(*) FROM intents").fetchone()[0]
        if found:
            self._db.executescript(f"BEGIN IMMEDIATE; {GIVE_UP} COMMIT")
        return found

    def _loop(self) -> None:
        ending = False
        while not ending:
            group: list[Write] = []
            item = self._queue.get()
            while True:
                if item is None:
                    ending = True
                    break
                group.append(item)
                if len(group) >= _GROUP:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if group:
                self._commit(group)

    def _commit(self, group: list[Write]) -> None:
        """One transaction for all; on failure nothing of it is there, and the shard takes no more."""
        if self._broken is None:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                for write in group:
                    for sql, values in write.statements:
                        self._db.execute(sql, values)
                self._db.execute("COMMIT")
            except (sqlite3.Error, OSError) as error:
                self._broken = write_error(self._path, error)
                self._roll_back()
        for write in group:
            write.done(self._broken)

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._db.in_transaction:  # a full disk, for one, has rolled back by itself
                self._db.execute("ROLLBACK")


def write_error(path: Path, error: Exception) -> SeedmillError:
    """The sentence for a ledger that cannot be written."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
        return SeedmillError(
            f"the disk of the ledger {path.parent} is full",
            "free some space and run the same command again; finished calls are kept and not paid twice",
        )
    name = getattr(error, "sqlite_errorname", "")
    if name in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
        return SeedmillError(f"{path} is damaged: {error}", "move that one file away; only its calls are asked again")
    return SeedmillError(
        f"the ledger {path} cannot be written: {error}", "is the folder there, writable, and not full?"
    )
