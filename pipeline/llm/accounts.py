"""What a run has paid, and what it may have paid besides, as the ledger has it: sums that pruning never forgets."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pipeline.errors import SeedmillError, UsageError
from pipeline.llm.lease import Lease
from pipeline.llm.ledger import shard_count
from pipeline.llm.schema import GIVE_UP, SPEND, SPENDING_KEY, SPENDING_SUMS, VERSION, bring_up_to_date
from pipeline.llm.shard import write_error

Paid = Literal["none", "all"] | float
"""What the bill says of unresolved attempts: nothing of them, their worst case each, or so many US dollars in all."""

RECONCILED = "(reconciled)"
"""Stands for entry, role and model where a user stated one sum for many attempts, and for the model of a lost one."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Finished calls; add two to have both. The names are those of `schema.SPENDING_SUMS`, which says what each is."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    unknown: int = 0
    at_most: float = 0.0
    unbounded: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Open:
    """Attempts of one entry that are in flight or were lost for one reason, and are not reconciled.

    Attributes:
        model_role: the role that was asked.
        attempts: how many.
        at_most: US dollars that those cost at worst whose worst case is known.
        unbounded: how many have none.
    """

    entry: str
    model_role: str
    why: str
    attempts: int
    at_most: float
    unbounded: int


@dataclass(frozen=True, kw_only=True)
class Account:
    """One run's money in US dollars.

    Attributes:
        finished: cost of the answered calls, as far as it is known.
        unresolved: what may be on the bill besides, at worst.
        unbounded: calls and attempts of which not even the worst case is known.
    """

    run: str = ""
    finished: float = 0.0
    unresolved: float = 0.0
    unbounded: int = 0


def spending(folder: Path, run: str) -> dict[tuple[str, str, str], Sums]:
    """Sums of the calls that a run has finished, pruned ones included, by (entry, role, model)."""
    sums: dict[tuple[str, str, str], Sums] = {}
    for entry, role, model, *values in _rows(folder, _SPENT, _SPENT_1, run):
        key = (entry, role, model)
        sums[key] = sums.get(key, Sums()) + Sums(**dict(zip(SPENDING_SUMS, values, strict=True)))
    return dict(sorted(sums.items()))


def open_attempts(folder: Path, run: str) -> list[Open]:
    """What of a run is in flight or lost, and not reconciled."""
    found: dict[tuple[str, str, str], list[Any]] = {}
    for entry, role, why, attempts, at_most, unbounded in _rows(folder, _OPEN, _OPEN_1, run):
        sums = found.setdefault((entry, role, why), [0, 0.0, 0])
        for place, value in enumerate((attempts, at_most, unbounded)):
            sums[place] += value
    return [
        Open(entry=entry, model_role=role, why=why, attempts=sums[0], at_most=sums[1], unbounded=sums[2])
        for (entry, role, why), sums in sorted(found.items())
    ]


def account(folder: Path, run: str) -> Account:
    """The money of a run; nothing where there is no ledger yet."""
    spent = sum(spending(folder, run).values(), Sums())
    open_ends = open_attempts(folder, run)
    return Account(
        run=run,
        finished=spent.cost,
        unresolved=spent.at_most + sum(item.at_most for item in open_ends),
        unbounded=spent.unbounded + sum(item.unbounded for item in open_ends),
    )


def costs(folder: Path, run: str) -> Iterator[tuple[str, str, float | None]]:
    """Key, entry and cost of each call that a run has finished and that was not pruned."""
    sql = "SELECT key, entry, cost FROM calls WHERE run = ?"
    return ((key, entry, cost) for key, entry, cost in _rows(folder, sql, sql, run))


def reconcile(
    folder: Path, run: str, paid: Paid, patience: float = 5.0, notice: Callable[[str], None] = lambda sentence: None
) -> None:
    """Take over what the provider's bill says of the unresolved attempts of a run; they are resolved from then on.

    Raises:
        UsageError: `all`, and the worst case of some is not known.
        SeedmillError: a run uses the ledger, or it cannot be written.
    """
    unknown = account(folder, run).unbounded
    if paid == "all" and unknown:
        raise UsageError(f"nobody knows what {unknown:,} of them cost at worst", "state the sum: --paid USD")
    leases = [folder / f"shard-{index}.lease" for index in range(shard_count(folder))]
    with Lease(leases, "ledger reconcile", patience, notice):
        stated = float(paid) if isinstance(paid, int | float) else 0.0
        for path in _shards(folder):
            with _writing(path) as database:
                if stated:  # first, for a sum that is counted twice after a crash is better than one that is forgotten
                    SPEND.run(database, [(run, *[RECONCILED] * 3, *[0] * 4, stated, 0, 0.0, 0)])
                    stated = 0.0
                _resolve(database, run, keep=paid == "all")


def _resolve(database: sqlite3.Connection, run: str, *, keep: bool) -> None:
    if keep:
        lost = database.execute(
            "SELECT entry, role, total(reserved) FROM lost WHERE run = ? AND NOT resolved GROUP BY entry, role", (run,)
        ).fetchall()
        SPEND.run(database, [(run, *who, RECONCILED, *[0] * 4, sum_, 0, 0.0, 0) for *who, sum_ in lost])
        database.execute("UPDATE spending SET cost = cost + at_most WHERE run = ?", (run,))
    database.execute("UPDATE spending SET unknown = 0, at_most = 0.0, unbounded = 0 WHERE run = ?", (run,))
    database.execute("UPDATE lost SET resolved = 1 WHERE run = ?", (run,))


_SPENT = f"SELECT {', '.join((*SPENDING_KEY, *SPENDING_SUMS)[1:])} FROM spending WHERE run = ?"
_SPENT_1 = """SELECT entry, role, model, count(*), sum(prompt_tokens), 0, sum(completion_tokens), total(cost),
    sum(cost IS NULL), 0.0, sum(cost IS NULL) FROM calls WHERE run = ? GROUP BY entry, role, model"""

_OPEN = """SELECT entry, role, why, count(*), total(reserved), sum(reserved IS NULL) FROM (
    SELECT run, entry, role, why, reserved FROM lost WHERE NOT resolved
    UNION ALL SELECT run, entry, role, each.value, reserved FROM intents AS i, json_each(i.lost) AS each
    UNION ALL SELECT run, entry, role, 'in flight', reserved FROM intents) WHERE run = ? GROUP BY entry, role, why"""
_OPEN_1 = """SELECT entry, role, why, count(*), 0.0, count(*) FROM (SELECT run, entry, role, why FROM lost
    UNION ALL SELECT run, entry, role, 'in flight' FROM intents) WHERE run = ? GROUP BY entry, role, why"""
"""The queries ending in 1 are for shards that no writer of the present version has opened yet."""


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.sqlite"))


def _rows(folder: Path, sql: str, first: str, run: str) -> Iterator[tuple[Any, ...]]:
    for path in _shards(folder):
        try:
            with closing(_connected(path, "ro")) as database:
                version = database.execute("PRAGMA user_version").fetchone()[0]
                if version:
                    yield from database.execute(sql if version > 1 else first, (run,)).fetchall()
        except sqlite3.Error as error:
            raise SeedmillError(f"the ledger {path} cannot be read: {error}") from error


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction on a shard whose lease is held; calls left in flight are given up, since nobody makes them."""
    try:
        with closing(_connected(path, "rw")) as database:
            database.execute("PRAGMA synchronous=FULL")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise SeedmillError(f"{path} was written by a newer version of this program", "update the program")
            bring_up_to_date(database, version)
            database.executescript(f"BEGIN IMMEDIATE; {GIVE_UP}")
            yield database
            database.execute("COMMIT")
    except sqlite3.Error as error:
        raise write_error(path, error) from error


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, isolation_level=None, timeout=30.0)
