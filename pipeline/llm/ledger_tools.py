"""A ledger from outside: sums, lists and searches over all shards, beside any writer.

Whatever a ledger holds, no query here takes more than a page of rows into memory, and none but `stored` touches the
texts of calls: sums and lists are answered from the index by time alone (see `shard.INDEX`).
"""

import heapq
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pipeline.errors import SeedmillError, UsageError
from pipeline.llm.ledger import shard_count, shard_of
from pipeline.llm.schema import CALL_FIELDS

LISTED_FIELDS = tuple(name for name in CALL_FIELDS if name not in ("request", "reply"))
"""What is known of a call beside its texts."""

LOST_FIELDS = ("key", "run", "entry", "role", "time", "why", "reserved", "resolved")
"""What is known of an attempt whose reply never came; `reserved` is what it costs at worst, in US dollars or null, and
`resolved` is 1 once a user has said what the bill says of it."""

_TIME = LISTED_FIELDS.index("time")

_SUMS = "count(*), sum(prompt_tokens), sum(completion_tokens), total(cost), sum(cost IS NULL)"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which calls are meant: those that fit everything given.

    Attributes:
        since: finished (or, when they never did, sent) at this time or later, in seconds since 1970.
        before: finished before this time.
    """

    run: str | None = None
    entry: str | None = None
    model: str | None = None
    outcome: str | None = None
    since: float | None = None
    before: float | None = None

    def where(self) -> tuple[str, list[Any]]:
        """The condition in SQL, and its values."""
        given = [(name, getattr(self, name)) for name in ("run", "entry", "model", "outcome")]
        terms = [(f"{name} = ?", value) for name, value in given if value is not None]
        if self.since is not None:
            terms.append(("time >= ?", self.since))
        if self.before is not None:
            terms.append(("time < ?", self.before))
        return " AND ".join(term for term, _ in terms) or "1", [value for _, value in terms]


@dataclass(frozen=True, kw_only=True)
class Spent:
    """A number of finished calls and what they used; add two to have both.

    Attributes:
        known_cost: US dollars of the calls whose price is known.
        unpriced: calls whose price is unknown.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    known_cost: float = 0.0
    unpriced: int = 0

    @property
    def cost(self) -> float | None:
        """US dollars, or None as soon as one call's price is unknown."""
        return None if self.unpriced else self.known_cost

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            known_cost=self.known_cost + other.known_cost,
            unpriced=self.unpriced + other.unpriced,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        names = ("calls", "prompt_tokens", "completion_tokens", "cost", "known_cost", "unpriced")
        return {name: getattr(self, name) for name in names}


def shard_paths(folder: Path) -> list[Path]:
    """The files of all shards, in order."""
    return sorted(folder.glob("shard-*.sqlite"))


def require_ledger(folder: Path) -> None:
    """Raise UsageError when no call was ever noted there."""
    if not shard_paths(folder):
        raise UsageError(f"there is no ledger in {folder}", "name another with --outputs DIR or LEDGER=")


def size_on_disk(folder: Path) -> int:
    """Bytes of all shards, with what waits in their write-ahead logs."""
    return sum(path.stat().st_size for path in folder.glob("shard-*.sqlite*"))


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can only read.

    Raises:
        SeedmillError: the shard cannot be read.
    """
    try:
        database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=30.0)
        try:
            yield database
        finally:
            database.close()
    except sqlite3.Error as error:
        raise SeedmillError(
            f"the ledger {path} cannot be read: {error}",
            "is it a whole file, may you read it, and is its disk not full?",
        ) from error


def version_of(database: sqlite3.Connection) -> int:
    """The version of a shard's tables; 0 when it has none, as when the disk was full while it was made."""
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    return version


def _rows(folder: Path, sql: str, values: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """What a query finds in each shard, one shard after the other."""
    bound = tuple(values)
    for path in shard_paths(folder):
        with reading(path) as database:
            if version_of(database):
                yield from database.execute(sql, bound)


def count(folder: Path, choice: Choice) -> int:
    """How many finished calls are meant."""
    where, values = choice.where()
    return sum(row[0] for row in _rows(folder, f"SELECT count(*) FROM calls WHERE {where}", values))


def tally(folder: Path, by: tuple[str, ...], choice: Choice) -> dict[tuple[str, ...], Spent]:
    """Sums of the chosen calls for each combination of these columns, in their order."""
    where, values = choice.where()
    columns = ", ".join(by)
    sums: dict[tuple[str, ...], Spent] = {}
    for row in _rows(folder, f"SELECT {columns}, {_SUMS} FROM calls WHERE {where} GROUP BY {columns}", values):
        key, found = row[: len(by)], row[len(by) :]
        spent = Spent(
            calls=found[0],
            prompt_tokens=found[1],
            completion_tokens=found[2],
            known_cost=found[3],
            unpriced=found[4],
        )
        sums[key] = sums.get(key, Spent()) + spent
    return dict(sorted(sums.items()))


def open_ends(
    folder: Path, table: Literal["intents", "lost"], by: tuple[str, ...], choice: Choice = Choice()
) -> dict[tuple[str, ...], int]:
    """How many calls are in flight, or attempts were lost, for each combination of these columns, in their order."""
    where, values = choice.where()
    columns = ", ".join(by)
    counts: dict[tuple[str, ...], int] = {}
    for *key, count in _rows(
        folder, f"SELECT {columns}, count(*) FROM {table} WHERE {where} GROUP BY {columns}", values
    ):
        counts[tuple(key)] = counts.get(tuple(key), 0) + count
    return dict(sorted(counts.items()))


def newest(folder: Path, choice: Choice, limit: int, skip: int = 0) -> list[dict[str, Any]]:
    """Up to `limit` of the chosen calls without their texts, newest first, after the first `skip` of them."""
    where, values = choice.where()
    sql = f"SELECT {', '.join(LISTED_FIELDS)} FROM calls WHERE {where} ORDER BY time DESC, key"
    found = _merged(folder, sql, values, lambda row: (-row[_TIME], row[0]))
    return [dict(zip(LISTED_FIELDS, row, strict=True)) for row in itertools.islice(found, skip, skip + limit)]


def newest_lost(folder: Path, choice: Choice, limit: int, skip: int = 0) -> list[dict[str, Any]]:
    """Up to `limit` attempts that never brought a reply and may be on a bill, newest first, as LOST_FIELDS.

    Those in flight right now, or left so by a run that died and was not resumed, have the reason "in flight".
    """
    where, values = choice.where()
    sql = f"SELECT {', '.join(LOST_FIELDS)} FROM ({{}}) WHERE {where} ORDER BY time DESC, key"
    found = _merged(folder, sql.format(_LOST), values, lambda row: (-row[4], row[0]), sql.format(_LOST_1))
    return [dict(zip(LOST_FIELDS, row, strict=True)) for row in itertools.islice(found, skip, skip + limit)]


_LOST = """SELECT key, run, entry, role, time, why, reserved, resolved FROM lost
    UNION ALL SELECT i.key, run, entry, role, time, each.value, reserved, 0 FROM intents AS i, json_each(i.lost) AS each
    UNION ALL SELECT key, run, entry, role, time, 'in flight', reserved, 0 FROM intents"""
_LOST_1 = """SELECT key, run, entry, role, time, why, NULL AS reserved, 0 AS resolved FROM lost
    UNION ALL SELECT key, run, entry, role, time, 'in flight', NULL, 0 FROM intents"""
"""The second is for shards that no writer of the present version has opened yet."""


def _merged(
    folder: Path, sql: str, values: list[Any], order: Callable[[tuple[Any, ...]], Any], first: str | None = None
) -> Iterator[tuple[Any, ...]]:
    """The rows of all shards in one order, which each query has already; a row of each shard in memory.

    `first` is the query for shards of version 1, when that is another.
    """
    with ExitStack() as stack:
        databases = [stack.enter_context(reading(path)) for path in shard_paths(folder)]
        versions = [(database, version_of(database)) for database in databases]
        shards = [db.execute(first if version == 1 and first else sql, values) for db, version in versions if version]
        yield from heapq.merge(*shards, key=order)


def stored(folder: Path, key: str) -> dict[str, Any] | None:
    """A finished call with `request` and `reply` as the very texts that are stored, or None."""
    sql = f"SELECT {', '.join(CALL_FIELDS)} FROM calls WHERE key = ?"
    row = next(_of_key(folder, key, sql, (key,)), None)
    return None if row is None else dict(zip(CALL_FIELDS, row, strict=True))


def lost_attempts(folder: Path, key: str) -> list[dict[str, Any]]:
    """The attempts at one call whose reply never came, oldest first, as the first of LOST_FIELDS."""
    names = LOST_FIELDS[:6]
    sql = f"SELECT {', '.join(names)} FROM lost WHERE key = ? ORDER BY time"
    return [dict(zip(names, row, strict=True)) for row in _of_key(folder, key, sql, (key,))]


def _of_key(folder: Path, key: str, sql: str, values: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """What a query finds in the shard that holds a key."""
    path = folder / f"shard-{shard_of(key, shard_count(folder))}.sqlite"
    if path.exists():
        with reading(path) as database:
            if version_of(database):
                yield from database.execute(sql, tuple(values))


def complete_key(folder: Path, beginning: str) -> str:
    """The key that begins so.

    Raises:
        UsageError: no finished call or more than one has such a key.
    """
    if not 1 <= len(beginning) <= 64 or beginning.strip("0123456789abcdef"):
        raise UsageError(
            f"{beginning!r} is not the beginning of a key", "keys are hexadecimal; 'seedmill ledger ls' shows them"
        )
    between = (beginning, beginning + "g")  # no hexadecimal digit comes after f
    some = [row[0] for row in _rows(folder, "SELECT key FROM calls WHERE key >= ? AND key < ? LIMIT 3", between)]
    if len(some) == 1:
        return str(some[0])
    if some:
        counts = _rows(folder, "SELECT count(*) FROM calls WHERE key >= ? AND key < ?", between)
        problem = f"{sum(row[0] for row in counts):,} calls have a key that begins with '{beginning}'"
        raise UsageError(problem, f"give more of it; such as {', '.join(sorted(some)[:3])}")
    for table in ("intents", "lost"):
        sent = next(_rows(folder, f"SELECT key, run FROM {table} WHERE key >= ? AND key < ?", between), None)
        if sent is not None:
            raise UsageError(
                f"the call {sent[0]} of run {sent[1]!r} was sent but never finished", "the run asks it again"
            )
    raise UsageError(f"no call in {folder} has a key that begins with '{beginning}'", "see 'seedmill ledger ls'")


def as_object(call: Mapping[str, Any]) -> dict[str, Any]:
    """A stored call for programs: the request parsed, for it is canonical; the reply the text that came."""
    return {**call, "request": json.loads(call["request"])}
