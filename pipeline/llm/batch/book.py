"""The book of batches: what was handed to a server and has not come back, durable in the ledger's folder."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pipeline.errors import SeedmillError
from pipeline.llm.batch.lines import Line
from pipeline.llm.body import Call
from pipeline.llm.lease import Lease
from pipeline.llm.models import ModelSpec
from pipeline.llm.servers import normalised
from pipeline.llm.shard import write_error

FILE = "batches.sqlite"

State = Literal["planned", "uploaded", "creating", "created", "ended"]
"""`planned`, `uploaded`: nothing was asked of the server that costs. `creating`: it may have a batch whose id we do not
know. `created`: we know its id. `ended`: every line's outcome is in the ledger, or the line was given up."""

VERSION = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS batches (
    token TEXT PRIMARY KEY, run TEXT NOT NULL, role TEXT NOT NULL, model TEXT NOT NULL, base_url TEXT NOT NULL,
    access TEXT NOT NULL, url TEXT NOT NULL, state TEXT NOT NULL, file TEXT, id TEXT, lines INTEGER NOT NULL,
    done INTEGER NOT NULL, failed INTEGER NOT NULL, said TEXT NOT NULL, begun REAL NOT NULL, changed REAL NOT NULL);
CREATE TABLE IF NOT EXISTS lines (
    token TEXT NOT NULL, key TEXT NOT NULL, document TEXT NOT NULL, role TEXT NOT NULL, entry TEXT NOT NULL,
    attempt INTEGER NOT NULL, PRIMARY KEY (token, key)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One batch in the book.

    Attributes:
        token: our own name for it: in its file's name, and in the metadata that the server keeps.
        base_url: of its server.
        access: how the server is reached beside that: `api_key_env`, `server`, and the `extra_headers` that are read
            from the environment.
        url: the endpoint of its lines.
        id: the server's name for it, once known.
        said: its state in the server's words.
        begun: when it was planned, seconds since 1970.
    """

    token: str
    run: str
    role: str
    model: str
    base_url: str
    url: str
    access: Mapping[str, Any] = field(default_factory=dict)
    state: State = "planned"
    file: str | None = None
    id: str | None = None
    lines: int = 0
    done: int = 0
    failed: int = 0
    said: str = ""
    begun: float = 0.0
    changed: float = 0.0

    def asks(self, spec: ModelSpec) -> bool:
        """Whether it was made for this model of this server."""
        return (normalised(spec.base_url), spec.model) == (normalised(self.base_url), self.model)

    def spec(self) -> ModelSpec:
        """The model as far as the book knows it: enough to look at the batch and to cancel it."""
        return ModelSpec(role=self.role, model=self.model, base_url=self.base_url, **self.access)


def entry_of(token: str, run: str, spec: ModelSpec, url: str) -> Entry:
    """A batch that is about to be planned."""
    named = {name: value for name, value in spec.extra_headers.items() if value.startswith("$")}
    access = {"api_key_env": spec.api_key_env, "extra_headers": named, "server": spec.server}
    now = time.time()
    return Entry(
        token=token,
        run=run,
        role=spec.role,
        model=spec.model,
        base_url=spec.base_url,
        url=url,
        access=access,
        begun=now,
        changed=now,
    )


class Book:
    """Writes the book, under a lease of its own. Every method is one transaction that is durable when it returns.

    Lines stand in the book from before their file is uploaded until their outcomes are in the ledger; so nothing that
    a server works on is unknown to us, however we end. Thread-safe.
    """

    def __init__(
        self, folder: Path, run: str, patience: float = 60.0, notice: Callable[[str], None] = lambda sentence: None
    ) -> None:
        """Open for writing, or make it.

        Raises:
            SeedmillError: it cannot be written, or another run does not let go of it.
        """
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._lease = Lease([folder / "batches.lease"], run, patience, notice)
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            _version(self._path, self._db)
            self._db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={VERSION}; COMMIT")
        except sqlite3.Error as error:
            self._lease.release()
            raise write_error(self._path, error) from error
        except BaseException:
            self._lease.release()
            raise

    def plan(self, entry: Entry, lines: Sequence[Line]) -> None:
        """Note a batch and its lines."""
        facts = asdict(entry) | {"access": json.dumps(dict(entry.access)), "lines": len(lines)}
        with self._transaction() as db:
            db.execute(f"INSERT INTO batches VALUES ({','.join('?' * len(_FIELDS))})", [facts[n] for n in _FIELDS])
            db.executemany("INSERT OR REPLACE INTO lines VALUES (?,?,?,?,?,?)", [_row(entry.token, x) for x in lines])

    def note(self, token: str, **changes: Any) -> None:
        """Change what is known of a batch, by the names of Entry's attributes."""
        changes |= {"changed": time.time()}
        setting = ", ".join(f"{name} = ?" for name in changes)
        with self._transaction() as db:
            db.execute(f"UPDATE batches SET {setting} WHERE token = ?", [*changes.values(), token])

    def end(self, token: str, said: str) -> None:
        """Every line of this batch is accounted for."""
        with self._transaction() as db:
            db.execute("DELETE FROM lines WHERE token = ?", (token,))
            db.execute(
                "UPDATE batches SET state = 'ended', said = ?, changed = ? WHERE token = ?", (said, time.time(), token)
            )

    def forget(self, token: str) -> None:
        """Take out a batch that was never begun."""
        with self._transaction() as db:
            db.execute("DELETE FROM lines WHERE token = ?", (token,))
            db.execute("DELETE FROM batches WHERE token = ?", (token,))

    def open_entries(self) -> list[Entry]:
        """The batches that have not ended."""
        with self._lock:
            return _entries(self._db, "WHERE state <> 'ended'")

    def lines(self, token: str) -> list[Line]:
        """The lines of a batch, without their data: they are not sent again as they were."""
        with self._lock:
            rows = self._db.execute(
                "SELECT key, document, role, entry, attempt FROM lines WHERE token = ? ORDER BY key", (token,)
            ).fetchall()
        return [Line(Call(*row[:4]), b"", row[4]) for row in rows]

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            self._db.close()
        self._lease.release()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    if self._db.in_transaction:  # a full disk, for one, has rolled back by itself
                        self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise write_error(self._path, error) from error


_FIELDS = (
    *("token", "run", "role", "model", "base_url", "access", "url", "state"),
    *("file", "id", "lines", "done", "failed", "said", "begun", "changed"),
)


def _row(token: str, line: Line) -> tuple[Any, ...]:
    call = line.call
    return (token, call.key, call.document, call.role, call.entry, line.attempt)


def _entries(database: sqlite3.Connection, where: str, values: Sequence[Any] = ()) -> list[Entry]:
    rows = database.execute(f"SELECT {', '.join(_FIELDS)} FROM batches {where} ORDER BY begun, token", values)
    found = (dict(zip(_FIELDS, row, strict=True)) for row in rows)
    return [Entry(**(facts | {"access": json.loads(facts["access"])})) for facts in found]


def _version(path: Path, database: sqlite3.Connection) -> int:
    """The version of a book, 0 for one that is just being made; SeedmillError when we cannot know it."""
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise SeedmillError(f"{path} was written by a newer version of this program", "update the program")
    return version


def summary(entries: Sequence[Entry]) -> str:
    """How many calls, in how many batches, and the commands that show them."""
    commands = " and ".join(f"'seedmill batches {run}'" for run in dict.fromkeys(entry.run for entry in entries))
    count = f"{len(entries)} {'batch' if len(entries) == 1 else 'batches'}"
    return f"{sum(entry.lines for entry in entries):,} calls in {count} ({commands} shows them)"


def is_kept(folder: Path) -> bool:
    """Whether a ledger has a book of batches."""
    return (folder / FILE).exists()


def read_book(folder: Path, run: str) -> list[Entry]:
    """The batches of a run, ended ones included, oldest first; reads beside any writer.

    Raises:
        SeedmillError: the book is there and cannot be read.
    """
    with _reading(folder) as database:
        return [] if database is None else _entries(database, "WHERE run = ?", (run,))


def at_servers(folder: Path, run: str | None = None) -> dict[tuple[str, str], int]:
    """How many calls of one run, or of any, are in batches that have not ended, by run and entry.

    Raises:
        SeedmillError: the book is there and cannot be read.
    """
    with _reading(folder) as database:
        rows = [] if database is None else database.execute(_AT_SERVERS, {"run": run}).fetchall()
    return {(of_run, entry): count for of_run, entry, count in rows}


_AT_SERVERS = """SELECT b.run, l.entry, count(*) FROM batches AS b JOIN lines AS l USING (token)
    WHERE b.state NOT IN ('planned', 'uploaded', 'ended') AND b.run = coalesce(:run, b.run)
    GROUP BY b.run, l.entry ORDER BY b.run, l.entry"""


@contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection | None]:
    """The book to read, None where there is none yet."""
    if not is_kept(folder):
        yield None
        return
    path = folder / FILE
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=30.0)) as database:
            yield database if _version(path, database) else None
    except sqlite3.Error as error:
        raise SeedmillError(f"{path} cannot be read: {error}") from error
