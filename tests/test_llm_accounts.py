"""Sums of money: kept with every call, never pruned, carried over from older ledgers, reconciled by the user."""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.errors import SeedmillError, UsageError
from pipeline.llm.accounts import Account, Paid, Sums, account, open_attempts, reconcile, spending
from pipeline.llm.body import compose
from pipeline.llm.ledger import Finished, Ledger, ledger_facts
from pipeline.llm.ledger_tools import Choice
from pipeline.llm.prune import prune
from pipeline.llm.reading import Reading
from pipeline.llm.request import Request
from pipeline.llm.schema import VERSION
from tests.scripted import spec_of
from tests.test_llm_ledger import wait_for

OLD = """
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
PRAGMA user_version=1;
"""
"""The tables of version 1, as the first release wrote them."""

ADDED_IN_VERSION_2 = (
    "ALTER TABLE intents ADD COLUMN reserved REAL",
    "ALTER TABLE intents ADD COLUMN lost TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE lost ADD COLUMN reserved REAL",
    "ALTER TABLE lost ADD COLUMN resolved INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE spending (run TEXT NOT NULL, entry TEXT NOT NULL, role TEXT NOT NULL, model TEXT NOT NULL, "
    "calls INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, "
    "completion_tokens INTEGER NOT NULL, cost REAL NOT NULL, unknown INTEGER NOT NULL, at_most REAL NOT NULL, "
    "unbounded INTEGER NOT NULL, PRIMARY KEY (run, entry, role, model)) WITHOUT ROWID",
    "PRAGMA user_version=2",
)


def end_of(cost: float | None, reserved: float | None = None, lost: Sequence[str] = ()) -> Finished:
    reading = Reading(text="x", model="m", prompt_tokens=10, completion_tokens=5, cached_tokens=4)
    return Finished(body="{}", reading=reading, cost=cost, sends=1, ms=1, lost=lost, reserved=reserved)


def finish(ledger: Ledger, number: int, end: Finished, *, intended: bool = True) -> None:
    call = compose(spec_of(), Request(prompt=f"number {number}"), f"entry-{number % 2}")
    if intended:
        assert wait_for(lambda done: ledger.intend(call, done, reserved=end.reserved)) is None
    assert wait_for(lambda done: ledger.finish(call, "m", end, done)) is None


def total(folder: Path, run: str = "r") -> Sums:
    return sum(spending(folder, run).values(), Sums())


def test_every_finished_call_is_in_the_sums_of_its_run(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "r")
    for number in range(20):
        finish(ledger, number, end_of(0.25 if number % 4 else None, reserved=1.0))
    ledger.close()
    other = Ledger(tmp_path, "other")
    finish(other, 99, end_of(7.0))
    other.close()
    sums = spending(tmp_path, "r")
    assert list(sums) == [("entry-0", "default", "m"), ("entry-1", "default", "m")]
    assert sums["entry-1", "default", "m"] == Sums(
        calls=10, prompt_tokens=100, cached_tokens=40, completion_tokens=50, cost=2.5
    )
    assert total(tmp_path) == Sums(
        calls=20, prompt_tokens=200, cached_tokens=80, completion_tokens=100, cost=3.75, unknown=5, at_most=5.0
    )
    assert account(tmp_path, "r") == Account(run="r", finished=3.75, unresolved=5.0)
    assert account(tmp_path, "nobody") == Account(run="nobody")


def test_pruning_forgets_calls_but_not_money(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "r")
    for number in range(20):
        finish(ledger, number, end_of(0.25))
    ledger.close()
    before = spending(tmp_path, "r")
    assert prune(tmp_path, Choice(run="r")).calls == 20
    assert ledger_facts(tmp_path)["calls"] == 0
    assert spending(tmp_path, "r") == before
    assert account(tmp_path, "r").finished == 5.0


def test_what_was_in_flight_or_lost_is_charged_at_its_worst_case(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "r")
    finish(ledger, 1, end_of(0.25, reserved=2.0, lost=("timeout", "connection broken")))
    call = compose(spec_of(), Request(prompt="in flight"), "e")
    assert wait_for(lambda done: ledger.intend(call, done, reserved=3.0, lost=["timeout"])) is None
    now = {(item.why, item.attempts, item.at_most) for item in open_attempts(tmp_path, "r")}
    assert now == {("timeout", 1, 2.0), ("connection broken", 1, 2.0), ("timeout", 1, 3.0), ("in flight", 1, 3.0)}
    assert account(tmp_path, "r") == Account(run="r", finished=0.25, unresolved=10.0)
    ledger.close()
    Ledger(tmp_path, "next").close()  # whoever opens it next gives up what was in flight
    assert account(tmp_path, "r") == Account(run="r", finished=0.25, unresolved=10.0)
    assert ledger_facts(tmp_path)["lost"] == 4
    assert {item.why for item in open_attempts(tmp_path, "r")} == {"timeout", "connection broken", "the process died"}


@pytest.mark.parametrize(("paid", "finished"), [("none", 0.25), ("all", 6.25), (1.5, 1.75)])
def test_the_user_says_what_the_bill_says(tmp_path: Path, paid: Paid, finished: float) -> None:
    ledger = Ledger(tmp_path, "r")
    finish(ledger, 1, end_of(0.25, reserved=2.0, lost=("timeout", "timeout")))
    finish(ledger, 2, end_of(None, reserved=2.0))
    ledger.close()
    assert account(tmp_path, "r") == Account(run="r", finished=0.25, unresolved=6.0)
    reconcile(tmp_path, "r", paid)
    assert account(tmp_path, "r") == Account(run="r", finished=finished)
    assert open_attempts(tmp_path, "r") == []
    reconcile(tmp_path, "r", "all")
    assert account(tmp_path, "r") == Account(run="r", finished=finished), "what is resolved stays so"
    assert total(tmp_path).calls == 2


def test_all_cannot_be_said_of_what_nobody_knows(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "r")
    finish(ledger, 1, end_of(None))
    with pytest.raises(SeedmillError, match="still in use"):
        reconcile(tmp_path, "r", "none", patience=0.1)
    ledger.close()
    assert account(tmp_path, "r").unbounded == 1
    with pytest.raises(UsageError, match="nobody knows"):
        reconcile(tmp_path, "r", "all")
    reconcile(tmp_path, "r", 0.5)
    assert account(tmp_path, "r") == Account(run="r", finished=0.5)


def old_ledger(folder: Path) -> None:
    """A ledger of version 1: three calls, one in flight, one lost."""
    (folder / "shape.json").write_text('{"version": 1, "shards": 8}\n')
    reply = json.dumps({"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3}}})
    database = sqlite3.connect(folder / "shard-0.sqlite")
    database.executescript(OLD)
    for key, body, cost in (("00", reply, 0.5), ("08", "<html>", 0.25), ("10", reply, None)):
        row = (key.ljust(64, "0"), "{}", body, "ok", "r", "e", "default", "m", 9, 1, cost, 1, 1, 0.0)
        database.execute("INSERT INTO calls VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", row)
    database.execute("INSERT INTO intents VALUES (?,?,?,?,?)", ("18".ljust(64, "0"), "r", "e", "default", 1.0))
    database.execute(
        "INSERT INTO lost VALUES (?,?,?,?,?,?)", ("20".ljust(64, "0"), "r", "e", "default", 1.0, "timeout")
    )
    database.commit()
    database.close()


def test_a_ledger_of_version_1_gets_its_sums(tmp_path: Path) -> None:
    old_ledger(tmp_path)
    seen = Account(run="r", finished=0.75, unbounded=3)
    assert account(tmp_path, "r") == seen, "read as it is"
    Ledger(tmp_path, "next").close()
    with sqlite3.connect(tmp_path / "shard-0.sqlite") as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert account(tmp_path, "r") == seen
    sums = Sums(calls=3, prompt_tokens=27, cached_tokens=6, completion_tokens=3, cost=0.75, unknown=1, unbounded=1)
    assert spending(tmp_path, "r") == {("e", "default", "m"): sums}
    assert ledger_facts(tmp_path) == {"calls": 3, "intents": 0, "lost": 2}
    ledger = Ledger(tmp_path, "r")
    finish(ledger, 1, end_of(0.25))
    ledger.close()
    assert account(tmp_path, "r").finished == 1.0


def test_a_ledger_of_version_2_keeps_what_was_in_flight(tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_text('{"version": 1, "shards": 8}\n')
    database = sqlite3.connect(tmp_path / "shard-0.sqlite")
    database.executescript(OLD + "; ".join(ADDED_IN_VERSION_2))
    row = ("08".ljust(64, "0"), "r", "e", "default", 1.0, 0.25, '["timeout"]')
    database.execute("INSERT INTO intents VALUES (?,?,?,?,?,?,?)", row)
    database.commit()
    database.close()
    ledger = Ledger(tmp_path, "next")
    ledger.close()
    assert ledger.found_in_flight == {("r", "e"): 1}
    assert account(tmp_path, "r") == Account(run="r", unresolved=0.5), "the attempt in flight and the one lost before"


def test_reconciling_brings_an_old_ledger_up_to_date(tmp_path: Path) -> None:
    old_ledger(tmp_path)
    reconcile(tmp_path, "r", 2.0)
    assert account(tmp_path, "r") == Account(run="r", finished=2.75)
