"""One shard of the ledger: a SQLite file that is written in groups."""

import contextlib
import errno
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import SeedmillError
from pipeline.llm.call_index import INDEX
from pipeline.llm.schema import COMPILED, GIVE_UP, ORDER, VERSION, Many, bring_up_to_date

Statement = tuple[Many, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Write:
    """What is written about one call, in the order of ORDER, and whom to tell when it is durable (None) or impossible
    (why)."""

    key: str
    statements: tuple[Statement, ...]
    done: Callable[[SeedmillError | None], None]


class Shard:
    """One file of the ledger, open for writing. Needs the shard's lease.

    Durability: WAL with synchronous=FULL, so a commit is on the disk (fsync) before anybody is told of it; what was
    told survives kill -9 and power loss.

    Attributes:
        found_in_flight: calls that were under way when the last writer died, by run and entry; now listed in `lost`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._broken: SeedmillError | None = None
        try:
            self._db = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=30.0, cached_statements=COMPILED
            )
            self.found_in_flight = self._prepare()
        except sqlite3.Error as error:
            raise write_error(path, error) from error

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(sqlite3.Error):  # tidiness only: readers find what is in the WAL as well
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    def _prepare(self) -> Counter[tuple[str, str]]:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise SeedmillError(f"{self._path} was written by a newer version of this program", "update the program")
        bring_up_to_date(self._db, version)
        self._db.executescript(INDEX)
        left = self._db.execute("SELECT run, entry, count(*) FROM intents GROUP BY run, entry")
        found = Counter({(run, entry): count for run, entry, count in left})
        if found:
            self._db.executescript(f"BEGIN IMMEDIATE; {GIVE_UP} COMMIT")
        return found

    def commit(self, group: Sequence[Write]) -> None:
        """One transaction for all; on failure nothing of it is there, and the shard takes no more."""
        if self._broken is None:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                for some in _of_different_calls(group):
                    for kind in ORDER:
                        kind.run(self._db, [v for write in some for k, v in write.statements if k is kind])
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


def _of_different_calls(group: Sequence[Write]) -> Iterator[Sequence[Write]]:
    """The writes in order, cut before each that is about a call of the piece: it may be given up and begun again."""
    piece: dict[str, Write] = {}
    for write in group:
        if write.key in piece:
            yield list(piece.values())
            piece = {}
        piece[write.key] = write
    yield list(piece.values())


def write_error(path: Path, error: Exception) -> SeedmillError:
    """The sentence for a ledger that cannot be written."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or getattr(error, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"):
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
