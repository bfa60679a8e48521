"""A ledger from outside: sums, searches and exports over all shards, and taking calls out of it."""

import gzip
import heapq
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import quote

from pipeline.errors import SeedmillError, UsageError
from pipeline.llm.lease import Lease
from pipeline.llm.ledger import shard_count
from pipeline.llm.schema import CALL_FIELDS, VERSION
from pipeline.llm.shard import write_error

LISTED_FIELDS = tuple(name for name in CALL_FIELDS if name not in ("request", "reply"))
"""What is known of a call beside its texts."""

_SUMS = "count(*), sum(prompt_tokens), sum(completion_tokens), total(cost), sum(cost IS NULL)"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which finished calls are meant: those that fit everything given.

    Attributes:
        before: finished before this time, in seconds since 1970.
    """

    run: str | None = None
    entry: str | None = None
    model: str | None = None
    outcome: str | None = None
    before: float | None = None

    def where(self) -> tuple[str, list[Any]]:
        """The condition in SQL, and its values."""
        given = [(name, getattr(self, name)) for name in ("run", "entry", "model", "outcome")]
        terms = [(f"{name} = ?", value) for name, value in given if value is not None]
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


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.sqlite"))


def require_ledger(folder: Path) -> None:
    """Raise UsageError when no call was ever noted there."""
    if not _shards(folder):
        raise UsageError(f"there is no ledger in {folder}", "name another with --outputs DIR or LEDGER=")


def size_on_disk(folder: Path) -> int:
    """Bytes of all shards, with what waits in their write-ahead logs."""
    return sum(path.stat().st_size for path in folder.glob("shard-*.sqlite*"))


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=30.0)
        try:
            yield database
        finally:
            database.close()
    except sqlite3.Error as error:
        raise SeedmillError(f"the ledger {path} cannot be read: {error}") from error


def _rows(folder: Path, sql: str, values: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """What a query finds in each shard, one shard after the other."""
    bound = tuple(values)
    for path in _shards(folder):
        with _reading(path) as database:
            yield from database.execute(sql, bound)


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


def open_ends(folder: Path, table: Literal["intents", "lost"], by: tuple[str, ...]) -> dict[tuple[str, ...], int]:
    """How many calls are in flight, or attempts were lost, for each combination of these columns, in their order."""
    columns = ", ".join(by)
    counts: dict[tuple[str, ...], int] = {}
    for *key, count in _rows(folder, f"SELECT {columns}, count(*) FROM {table} GROUP BY {columns}", ()):
        counts[tuple(key)] = counts.get(tuple(key), 0) + count
    return dict(sorted(counts.items()))


def newest(folder: Path, choice: Choice, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` of the chosen calls without their texts, newest first."""
    where, values = choice.where()
    sql = f"SELECT {', '.join(LISTED_FIELDS)} FROM calls WHERE {where} ORDER BY time DESC, key LIMIT {limit}"
    found = [dict(zip(LISTED_FIELDS, row, strict=True)) for row in _rows(folder, sql, values)]
    return sorted(found, key=lambda call: (-call["time"], call["key"]))[:limit]


def stored(folder: Path, key: str) -> dict[str, Any] | None:
    """A finished call with `request` and `reply` as the very texts that are stored, or None."""
    sql = f"SELECT {', '.join(CALL_FIELDS)} FROM calls WHERE key = ?"
    row = next(_rows(folder, sql, (key,)), None)
    return None if row is None else dict(zip(CALL_FIELDS, row, strict=True))


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
    found = sorted(row[0] for row in _rows(folder, "SELECT key FROM calls WHERE key >= ? AND key < ?", between))
    if len(found) == 1:
        return str(found[0])
    if found:
        some = ", ".join(found[:3])
        raise UsageError(f"{len(found):,} calls have a key that begins with '{beginning}'", f"such as {some}")
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


def export(folder: Path, choice: Choice, output: Path) -> int:
    """Write the chosen calls, oldest first, one JSON object a line; the file appears when it is whole.

    Args:
        folder: the ledger's.
        choice: which calls.
        output: compressed when its name ends in .gz; equal calls then make equal bytes too.

    Returns:
        The number of calls.
    """
    temporary = output.with_name(f".{output.name}.new")
    count = 0
    try:
        with temporary.open("wb") as plain, _packed(plain, output) as file:
            for call in _oldest_first(folder, choice):
                file.write(_line(as_object(call)))
                count += 1
        temporary.replace(output)
    except OSError as error:
        raise SeedmillError(f"{output} cannot be written: {error}", "is the folder there, and not full?") from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


@contextmanager
def _packed(plain: IO[bytes], output: Path) -> Iterator[Any]:
    if output.suffix != ".gz":
        yield plain
        return
    with gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0) as file:
        yield file


def _line(value: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(value, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # half a character in somebody's data
        return (json.dumps(value) + "\n").encode()


def _oldest_first(folder: Path, choice: Choice) -> Iterator[dict[str, Any]]:
    where, values = choice.where()
    # Only times and keys are sorted: the texts of a large ledger would not fit where SQLite sorts.
    order = f"SELECT time, key FROM calls WHERE {where} ORDER BY time, key"
    text = f"SELECT {', '.join(CALL_FIELDS)} FROM calls WHERE key = ?"
    with ExitStack() as stack:

        def calls_of(database: sqlite3.Connection) -> Iterator[tuple[float, str, sqlite3.Connection]]:
            return ((time, key, database) for time, key in database.execute(order, values))

        shards = [calls_of(stack.enter_context(_reading(path))) for path in _shards(folder)]
        for _, key, database in heapq.merge(*shards, key=itemgetter(0, 1)):
            row = database.execute(text, (key,)).fetchone()
            if row is not None:  # pruned at this moment
                yield dict(zip(CALL_FIELDS, row, strict=True))


def prune(
    folder: Path,
    choice: Choice,
    patience: float = 5.0,
    notice: Callable[[str], None] = lambda sentence: None,
) -> int:
    """Take the chosen calls out, for good, and give their space back to the disk.

    Holds the lease of every shard meanwhile, so no run writes beside it. Attempts that were lost, and calls left in
    flight, stay noted: they may be on somebody's bill.

    Returns:
        The number of calls taken out.

    Raises:
        SeedmillError: a run uses the ledger, or it cannot be written.
    """
    where, values = choice.where()
    count = 0
    leases = [folder / f"shard-{index}.lease" for index in range(shard_count(folder))]
    with Lease(leases, "ledger prune", patience, notice):
        for path in _shards(folder):
            try:
                count += _prune_shard(path, where, values)
            except sqlite3.Error as error:
                raise write_error(path, error) from error
    return count


def _prune_shard(path: Path, where: str, values: list[Any]) -> int:
    database = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None, timeout=30.0)
    try:
        if database.execute("PRAGMA user_version").fetchone()[0] > VERSION:
            raise SeedmillError(f"{path} was written by a newer version of this program", "update the program")
        database.execute("PRAGMA synchronous=FULL")
        gone = database.execute(f"DELETE FROM calls WHERE {where}", values).rowcount
        if gone:
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        database.close()
    return gone
