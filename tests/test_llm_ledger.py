"""The ledger: durable before seen, one writer, readable beside it, and clear when the disk is full."""

import json
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import SeedmillError
from pipeline.llm.body import Call, compose
from pipeline.llm.lease import Lease
from pipeline.llm.ledger import SHARDS, Finished, Ledger, Reader, ledger_facts, read_calls, shard_count, shard_of
from pipeline.llm.reading import read_reply
from pipeline.llm.request import Request
from pipeline.llm.schema import FORGET, INTEND, LOSE
from pipeline.llm.shard import Write
from tests.scripted import said, spec_of, until


def call_of(number: int) -> Call:
    return compose(spec_of(), Request(prompt=f"number {number}"), "entry")


def end_of(text: str, lost: tuple[str, ...] = ()) -> Finished:
    body = said(text).data.decode()
    return Finished(body=body, reading=read_reply(body), cost=0.25, sends=1, ms=5, lost=lost)


def wait_for(write: Callable[[Callable[[Any], None]], None]) -> SeedmillError | None:
    """Put something into the ledger and wait until it says that it is durable, or why not."""
    told: list[SeedmillError | None] = []
    over = threading.Event()

    def done(error: SeedmillError | None) -> None:
        told.append(error)
        over.set()

    write(done)
    assert over.wait(20)
    return told[0]


def store(ledger: Ledger, number: int, text: str = "x", lost: tuple[str, ...] = ()) -> SeedmillError | None:
    return wait_for(lambda done: ledger.finish(call_of(number), "m", end_of(text, lost), done))


def test_a_finished_call_is_found_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "run-1")
    assert store(ledger, 1, "Blue.") is None
    call = call_of(1)
    reading = Reader(tmp_path).find(call.key)
    assert reading is not None
    assert reading.text == "Blue."
    found = read_calls(tmp_path)(call.key)
    assert found is not None
    assert found["request"]["prompt"] == "number 1"
    assert found["reply"]["choices"][0]["message"]["content"] == "Blue."
    facts = {
        name: found[name] for name in ("run", "entry", "role", "model", "outcome", "prompt_tokens", "cost", "sends")
    }
    assert facts == {
        **{"run": "run-1", "entry": "entry", "role": "default", "model": "said-model", "outcome": "ok"},
        **{"prompt_tokens": 7, "cost": 0.25, "sends": 1},
    }
    assert read_calls(tmp_path)("0" * 64) is None
    ledger.close()
    assert read_calls(tmp_path)(call.key) == found


def test_nothing_is_found_where_there_is_no_ledger(tmp_path: Path) -> None:
    assert read_calls(tmp_path / "none")("0" * 64) is None


def test_told_means_durable_in_another_connection(tmp_path: Path) -> None:
    """When `done` is called, any other process already sees the call; many at once are committed together."""
    ledger, reader = Ledger(tmp_path, "r"), Reader(tmp_path)
    unseen: list[int] = []
    left = threading.Semaphore(0)

    def check(number: int) -> Callable[[SeedmillError | None], None]:
        def done(error: SeedmillError | None) -> None:
            if error is not None or Reader(tmp_path).find(call_of(number).key) is None:
                unseen.append(number)
            left.release()

        return done

    for number in range(200):
        ledger.finish(call_of(number), "m", end_of("x"), check(number))
    assert all(left.acquire(timeout=30) for _ in range(200))
    assert unseen == []
    assert all(reader.find(call_of(n).key) for n in range(200))
    ledger.close()
    assert ledger_facts(tmp_path) == {"calls": 200, "intents": 0, "lost": 0}


def test_writes_that_come_during_a_flush_share_the_next_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "r", shards=[0])
    shard = ledger._shards[0]
    commits: list[int] = []
    commit = shard.commit

    def slow(group: Sequence[Write]) -> None:
        commits.append(len(group))
        time.sleep(0.05)
        commit(group)

    shard.commit = slow  # type: ignore[method-assign]
    numbers = [n for n in range(2000) if shard_of(call_of(n).key, SHARDS) == 0][:100]
    over = threading.Semaphore(0)
    for number in numbers:
        ledger.finish(call_of(number), "m", end_of("x"), lambda error: over.release())
    assert all(over.acquire(timeout=20) for _ in numbers)
    assert sum(commits) == 100
    assert len(commits) <= 4
    ledger.close()


def test_intents_that_nobody_finished_are_reported_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "r")
    for number in range(5):
        assert wait_for(lambda done, n=number: ledger.intend(call_of(n), done)) is None  # type: ignore[misc]
    assert store(ledger, 0) is None
    assert wait_for(lambda done: ledger.abandon(call_of(1), ["timeout"], done)) is None
    assert ledger_facts(tmp_path) == {"calls": 1, "intents": 3, "lost": 1}
    ledger.close()
    again = Ledger(tmp_path, "r2")
    assert again.found_in_flight.total() == 3
    again.close()
    assert ledger_facts(tmp_path) == {"calls": 1, "intents": 0, "lost": 4}
    last = Ledger(tmp_path, "r3")
    assert last.found_in_flight.total() == 0
    last.close()


def test_attempts_that_may_have_been_paid_are_listed_beside_the_reply(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "r")
    assert store(ledger, 1, lost=("timeout", "connection broken")) is None
    ledger.close()
    assert ledger_facts(tmp_path)["lost"] == 2


def test_a_full_disk_is_a_sentence_and_corrupts_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "r", shards=[0])
    numbers = [n for n in range(2000) if shard_of(call_of(n).key, SHARDS) == 0][:60]
    shard = ledger._shards[0]
    pages = shard._db.execute("PRAGMA page_count").fetchone()[0]
    shard._db.execute(f"PRAGMA max_page_count={pages + 20}")
    ends = [store(ledger, number, "word " * 500) for number in numbers]
    durable = [number for number, error in zip(numbers, ends, strict=True) if error is None]
    error = next(error for error in ends if error is not None)
    assert "is full" in error.message
    assert "free some space" in str(error.hint)
    assert 0 < len(durable) < len(numbers)
    assert durable == numbers[: len(durable)], "after the first failure nothing is taken any more"
    ledger.close()
    database = sqlite3.connect(tmp_path / "shard-0.sqlite")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    assert all(Reader(tmp_path).find(call_of(n).key) for n in durable)
    after = Ledger(tmp_path, "r", shards=[0])
    assert store(after, numbers[-1]) is None
    after.close()


def test_a_damaged_shard_is_a_sentence(tmp_path: Path) -> None:
    Ledger(tmp_path, "r").close()
    (tmp_path / "shard-3.sqlite").write_bytes(b"this is not a database" * 1000)
    with pytest.raises(SeedmillError, match=r"shard-3\.sqlite is damaged"):
        Ledger(tmp_path, "r")
    with pytest.raises(SeedmillError, match="cannot be read"):
        Reader(tmp_path).find("00000003" + "0" * 56)
    Ledger(tmp_path, "r", shards=[0, 1, 2]).close()


def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    Ledger(tmp_path, "r").close()
    database = sqlite3.connect(tmp_path / "shard-0.sqlite")
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(SeedmillError, match="newer version"):
        Ledger(tmp_path, "r")


def test_a_ledger_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SeedmillError, match="cannot be made"):
        Ledger(tmp_path / "file" / "ledger", "r")


def test_the_number_of_shards_is_the_ledgers(tmp_path: Path) -> None:
    assert shard_count(tmp_path) == SHARDS
    (tmp_path / "shape.json").write_text(json.dumps({"version": 1, "shards": 3}))
    ledger = Ledger(tmp_path, "r")
    for number in range(20):
        assert store(ledger, number) is None
    ledger.close()
    assert len(list(tmp_path.glob("shard-*.sqlite"))) == 3
    assert all(Reader(tmp_path).find(call_of(n).key) for n in range(20))


def test_two_writers_share_a_ledger_by_shards(tmp_path: Path) -> None:
    even, odd = Ledger(tmp_path, "a", shards=[0, 2, 4, 6]), Ledger(tmp_path, "b", shards=[1, 3, 5, 7], patience=0.1)
    for number in range(20):
        assert store(even if shard_of(call_of(number).key, SHARDS) % 2 == 0 else odd, number) is None
    even.close()
    odd.close()
    assert ledger_facts(tmp_path)["calls"] == 20


def test_a_second_run_waits_then_says_who_holds_the_ledger(tmp_path: Path) -> None:
    first = Ledger(tmp_path, "first-run")
    with pytest.raises(
        SeedmillError, match=f"run 'first-run' \\(process {os.getpid()} on .*, since 20.*Z\\) after"
    ) as caught:
        Ledger(tmp_path, "second", patience=0.2)
    assert "LEDGER=" in str(caught.value.hint)
    threading.Timer(0.3, first.close).start()
    second = Ledger(tmp_path, "second", patience=10)
    assert second.found_in_flight.total() == 0
    second.close()


def test_the_wait_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.llm.lease._NOTICE_AFTER", 0.15)
    told: list[str] = []
    with Lease([tmp_path / "a"], "first"):
        with pytest.raises(SeedmillError):
            Lease([tmp_path / "b", tmp_path / "a"], "second", 0.6, told.append)
        with Lease([tmp_path / "b"], "third", 0.1):
            pass  # what the second had taken, it gave back
    assert len(told) == 1
    assert "is in use by" in told[0]
    assert "run 'first'" in told[0]


def _hold(folder: str, ready: Any) -> None:
    held = Ledger(Path(folder), "killed", shards=[SHARDS - 1])
    ready.set()
    time.sleep(60)
    held.close()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready), daemon=True)
    process.start()
    assert ready.wait(30)
    with pytest.raises(SeedmillError, match="run 'killed'"):
        Ledger(tmp_path, "next", patience=0.1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    Ledger(tmp_path, "next", patience=10).close()
    process.join()


def test_readers_in_many_threads(tmp_path: Path) -> None:
    ledger, reader = Ledger(tmp_path, "r"), Reader(tmp_path)
    found: list[bool] = []

    def look() -> None:
        until(lambda: all(reader.find(call_of(n).key) for n in range(10)))
        found.append(True)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(10):
        store(ledger, number)
    for thread in threads:
        thread.join()
    assert found == [True] * 4
    ledger.close()


def test_a_call_given_up_and_begun_again_in_one_group_is_in_flight(tmp_path: Path) -> None:
    """Rows of one kind go together, but never past another write about the same call."""
    ledger = Ledger(tmp_path, "r")
    call, other = (
        call_of(0),
        next(c for n in range(1, 99) if shard_of((c := call_of(n)).key, SHARDS) == shard_of(call_of(0).key, SHARDS)),
    )
    shard = ledger._shards[shard_of(call.key, SHARDS)]
    told: list[SeedmillError | None] = []
    row = (call.key, "r", "e", "default", 0.0, None, "[]")
    lost = (call.key, "r", "e", "default", 0.0, "hung", call.key, None)
    begun, over = (
        Write(call.key, ((INTEND, row),), told.append),
        Write(call.key, ((LOSE, lost), (FORGET, (call.key,))), told.append),
    )
    beside = Write(other.key, ((INTEND, (other.key, *row[1:])),), told.append)
    shard.commit([begun, over, beside, begun])
    assert told == [None] * 4
    ledger.close()
    assert ledger_facts(tmp_path) == {"calls": 0, "intents": 2, "lost": 1}
