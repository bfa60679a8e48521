"""Taking finished calls out of a ledger, for good; never what is known of money or of calls that may be on a bill."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.errors import SeedmillError
from pipeline.llm.lease import Lease
from pipeline.llm.ledger import shard_count
from pipeline.llm.ledger_tools import Choice, reading, shard_paths, size_on_disk, version_of
from pipeline.llm.schema import VERSION
from pipeline.llm.shard import write_error

_STEP = 1_000
"""Calls taken out in one transaction; fewer when the disk has no room for the log of so many, for it is on a full disk
that people prune."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What pruning did.

    Attributes:
        calls: taken out.
        bytes_freed: given back to the disk.
        kept_back: bytes that are free inside the ledger but could not be given back, for want of room to rewrite it;
            new calls fill them.
    """

    calls: int
    bytes_freed: int
    kept_back: int = 0


def bytes_of(folder: Path, choice: Choice) -> int:
    """About how many bytes the chosen calls fill: their share of each shard, as if all calls were equally long."""
    where, values = choice.where()
    total = 0.0
    for path in shard_paths(folder):
        with reading(path) as database:
            if not version_of(database):
                continue
            chosen = database.execute(f"SELECT count(*) FROM calls WHERE {where}", values).fetchone()[0]
            if chosen:
                total += _used(database) * chosen / database.execute("SELECT count(*) FROM calls").fetchone()[0]
    return round(total)


def prune(
    folder: Path,
    choice: Choice,
    patience: float = 5.0,
    notice: Callable[[str], None] = lambda sentence: None,
) -> Pruned:
    """Take the chosen calls out and give their space back to the disk.

    Holds the lease of every shard meanwhile, so no run writes beside it. Attempts that were lost, calls left in
    flight, and what was ever spent stay noted. Stopped half way, it has taken out some calls, each whole.

    Raises:
        SeedmillError: a run uses the ledger, or it cannot be written.
    """
    before, calls, kept_back = size_on_disk(folder), 0, 0
    leases = [folder / "ledger.lease", *(folder / f"shard-{i}.lease" for i in range(shard_count(folder)))]
    with Lease(leases, "ledger prune", patience, notice):
        for path in shard_paths(folder):
            try:
                gone, left = _prune_shard(path, choice)
            except sqlite3.Error as error:
                raise write_error(path, error) from error
            calls, kept_back = calls + gone, kept_back + left
    return Pruned(calls=calls, bytes_freed=max(0, before - size_on_disk(folder)), kept_back=kept_back)


def _prune_shard(path: Path, choice: Choice) -> tuple[int, int]:
    """How many calls were taken out, and how many free bytes remain because there is no room to rewrite the file."""
    database = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None, timeout=30.0)
    try:
        if database.execute("PRAGMA user_version").fetchone()[0] > VERSION:
            raise SeedmillError(f"{path} was written by a newer version of this program", "update the program")
        database.execute("PRAGMA synchronous=FULL")
        if not version_of(database):
            return 0, 0
        gone = _delete(database, *choice.where())
        return gone, _give_back(database) if gone else 0
    finally:
        database.close()


def _delete(database: sqlite3.Connection, where: str, values: list[Any]) -> int:
    some = f"DELETE FROM calls WHERE rowid IN (SELECT rowid FROM calls WHERE {where} LIMIT ?)"
    step, gone = _STEP, 0
    while True:
        try:
            count = database.execute(some, [*values, step]).rowcount
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_FULL" or step == 1:
                raise
            step, count = max(1, step // 4), -1
        if step < _STEP:  # room is scarce: no log is kept longer than it must be
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if not count:
            return gone
        gone += max(0, count)


def _give_back(database: sqlite3.Connection) -> int:
    try:
        database.execute("VACUUM")
    except sqlite3.OperationalError as error:
        # Rewriting a shard needs room for a copy of what stays; on a full disk there is none.
        if error.sqlite_errorname not in ("SQLITE_FULL", "SQLITE_IOERR_WRITE"):
            raise
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    free, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
    return int(free * size)


def _used(database: sqlite3.Connection) -> int:
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
