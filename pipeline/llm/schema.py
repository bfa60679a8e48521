"""The tables of a ledger's shard, and how an older shard gets them."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

VERSION = 3

CALL_FIELDS = (
    *("key", "request", "reply", "outcome", "run", "entry", "role", "model"),
    *("prompt_tokens", "completion_tokens", "cost", "sends", "ms", "time"),
)
"""The columns of `calls`, in order."""

SPENDING_KEY = ("run", "entry", "role", "model")

SPENDING_SUMS = (
    *("calls", "prompt_tokens", "cached_tokens", "completion_tokens"),
    *("cost", "unknown", "at_most", "unbounded"),
)
"""The sums of `spending`: `cost` in US dollars of the calls whose cost is known; `unknown` counts the others, `at_most`
is what those of them cost at worst whose worst case is known, and `unbounded` counts those without even that."""

_FIRST = """
CREATE TABLE calls (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, reply TEXT NOT NULL, outcome TEXT NOT NULL,
    run TEXT NOT NULL, entry TEXT NOT NULL, role TEXT NOT NULL, model TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost REAL,
    sends INTEGER NOT NULL, ms INTEGER NOT NULL, time REAL NOT NULL);
CREATE TABLE intents (
    key TEXT PRIMARY KEY, run TEXT NOT NULL, entry TEXT NOT NULL, role TEXT NOT NULL, time REAL NOT NULL);
CREATE TABLE lost (
    key TEXT NOT NULL, run TEXT NOT NULL, entry TEXT NOT NULL, role TEXT NOT NULL, time REAL NOT NULL,
    why TEXT NOT NULL);
"""
"""`calls`: finished ones. `intents`: sent and not finished. `lost`: attempts whose reply never came and which may have
been paid (the process died, a timeout, a broken connection)."""

_CACHED = """coalesce(CASE WHEN json_valid(reply) THEN coalesce(
    json_extract(reply, '$.usage.prompt_tokens_details.cached_tokens'),
    json_extract(reply, '$.usage.prompt_cache_hit_tokens')) END, 0)"""

_SECOND = f"""
ALTER TABLE intents ADD COLUMN reserved REAL;
ALTER TABLE intents ADD COLUMN lost TEXT NOT NULL DEFAULT '[]';
ALTER TABLE lost ADD COLUMN reserved REAL;
ALTER TABLE lost ADD COLUMN resolved INTEGER NOT NULL DEFAULT 0;
CREATE TABLE spending (
    run TEXT NOT NULL, entry TEXT NOT NULL, role TEXT NOT NULL, model TEXT NOT NULL,
    calls INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, cost REAL NOT NULL, unknown INTEGER NOT NULL, at_most REAL NOT NULL,
    unbounded INTEGER NOT NULL, PRIMARY KEY (run, entry, role, model)) WITHOUT ROWID;
INSERT INTO spending SELECT run, entry, role, model, count(*), sum(prompt_tokens), sum({_CACHED}),
    sum(completion_tokens), total(cost), sum(cost IS NULL), 0.0, sum(cost IS NULL)
    FROM calls GROUP BY run, entry, role, model;
"""
"""`reserved`: US dollars that an attempt costs at worst, null when nobody knows. `intents.lost`: why earlier attempts
of the same call were lost, as a JSON list. `lost.resolved`: 1 once a user has said what the bill says of it.
`spending`: sums over finished calls, kept in the transaction that stores the call and never pruned."""

_THIRD = """
CREATE TABLE intents_by_key (
    key TEXT PRIMARY KEY, run TEXT NOT NULL, entry TEXT NOT NULL, role TEXT NOT NULL, time REAL NOT NULL,
    reserved REAL, lost TEXT NOT NULL DEFAULT '[]') WITHOUT ROWID;
INSERT INTO intents_by_key SELECT key, run, entry, role, time, reserved, lost FROM intents;
DROP TABLE intents;
ALTER TABLE intents_by_key RENAME TO intents;
"""
"""Every call goes into `intents` and out again: one tree to change instead of two, a sixth of a call's writing."""

GIVE_UP = """
INSERT INTO lost SELECT i.key, run, entry, role, time, each.value, reserved, 0
    FROM intents AS i, json_each(i.lost) AS each;
INSERT INTO lost SELECT key, run, entry, role, time, 'the process died', reserved, 0 FROM intents;
DELETE FROM intents;
"""
"""What becomes of calls in flight when their process has died."""


@dataclass(frozen=True, slots=True)
class Many:
    """A statement over some rows at once. What costs is to step through a statement, not through its rows: sqlite3
    lets other threads run at each step, and each time has to wait for its turn again.

    Attributes:
        row: the placeholders of one row.
        head, tail: what stands before the rows and after them.
    """

    head: str
    row: str
    tail: str = ""

    def run(self, database: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Execute it for all rows, in their order; the connection keeps each size that was compiled, see COMPILED."""
        for start in range(0, len(rows), _MOST_ROWS):
            some = rows[start : start + _MOST_ROWS]
            text = self.head + ",".join([self.row] * len(some)) + self.tail
            database.execute(text, [value for row in some for value in row])


def _places(count: int) -> str:
    return f"({','.join('?' * count)})"


_MOST_ROWS = 64

INTEND = Many("INSERT OR REPLACE INTO intents VALUES ", _places(7))

FINISH = Many("INSERT INTO calls VALUES ", _places(len(CALL_FIELDS)))

SPEND = Many(
    "INSERT INTO spending VALUES ",
    _places(len(SPENDING_KEY) + len(SPENDING_SUMS)),
    f" ON CONFLICT ({', '.join(SPENDING_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in SPENDING_SUMS),
)

LOSE = Many("INSERT INTO lost VALUES ", "(?,?,?,?,?,?,coalesce((SELECT reserved FROM intents WHERE key = ?),?),0)")

FORGET = Many("DELETE FROM intents WHERE key IN (", "?", ")")

COMPILED = 5 * _MOST_ROWS + 16
"""Statements that a connection should keep: these five in all their sizes, and some room."""

ORDER = (INTEND, FINISH, SPEND, LOSE, FORGET)
"""In which statements about different calls may run, whatever order they came in."""


def bring_up_to_date(database: sqlite3.Connection, version: int) -> None:
    """Give a shard of an older version (0: a new file) the present tables, in one transaction."""
    steps = (_FIRST, _SECOND, _THIRD)[version:]
    if steps:
        database.executescript(f"BEGIN IMMEDIATE; {''.join(steps)} PRAGMA user_version={VERSION}; COMMIT")
