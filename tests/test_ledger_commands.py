"""`seedmill ledger` and `seedmill calls`: what they tell is what was asked; pruning takes that and nothing else."""

import gzip
import json
import sqlite3
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.errors import SeedmillError
from pipeline.llm import ledger_export, ledger_tools, prune
from pipeline.llm.ledger import SHARDS, Ledger, Reader, ledger_facts
from pipeline.llm.ledger_tools import Choice
from tests.ledgers import COLUMNS, HOSTILE, Told, call_of, fill, make_run, rows_of


@pytest.fixture(autouse=True)
def no_other_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEDGER", raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("outputs"))


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    return Told(capsys)


def test_stats_are_the_sums_of_what_is_stored(made: Path, told: Told) -> None:
    stored = rows_of(made / "ledger")
    facts = told.json("ledger", "stats", "--outputs", made)
    assert facts["total"]["calls"] == len(stored) > 10
    groups = Counter((row["model"], row["outcome"], row["run"]) for row in stored)
    assert {(g["model"], g["outcome"], g["run"]): g["calls"] for g in facts["calls"]} == groups
    used = [json.loads(row["reply"])["usage"] for row in stored]
    assert facts["total"]["prompt_tokens"] == sum(u["prompt_tokens"] for u in used)
    assert facts["total"]["completion_tokens"] == sum(u["completion_tokens"] for u in used)
    assert facts["total"]["cost"] is None
    assert facts["bytes"] == sum(p.stat().st_size for p in (made / "ledger").glob("*.sqlite*"))
    assert (facts["in_flight"], facts["lost"]) == ([], [])
    text = told.text("ledger", "stats", "--outputs", made)
    assert "unknown" in text
    assert "$" not in text


def test_stats_tell_known_money_from_unknown_and_name_what_may_have_been_paid(tmp_path: Path, told: Told) -> None:
    fill(tmp_path / "ledger", "a", range(3))
    assert told.json("ledger", "stats", "--outputs", tmp_path)["total"]["cost"] == 0.75
    fill(tmp_path / "ledger", "b", range(3, 5), cost=None, lost=("timeout",))
    ledger = Ledger(tmp_path / "ledger", "b")
    ledger.intend(call_of(9), lambda error: None)
    ledger.close()
    facts = told.json("ledger", "stats", "--outputs", tmp_path)
    assert (facts["total"]["cost"], facts["total"]["known_cost"], facts["total"]["unpriced"]) == (None, 0.75, 2)
    assert facts["in_flight"] == [{"run": "b", "entry": "answer", "calls": 1}]
    assert facts["lost"] == [{"run": "b", "why": "timeout", "attempts": 2}]
    text = told.text("ledger", "stats", "--outputs", tmp_path)
    assert "$0.75 + 2 unknown" in text
    assert "1 of run 'b', entry 'answer'" in text
    assert "2 of run 'b': timeout" in text
    unfinished = told.text("ledger", "show", call_of(9).key[:16], "--outputs", tmp_path, code=2)
    assert "was sent but never finished" in unfinished


def test_ls_is_newest_first_and_its_filters_choose(made: Path, told: Told) -> None:
    stored = rows_of(made / "ledger")
    found = told.json("ledger", "ls", "-n", 1000, "--outputs", made)
    assert [c["key"] for c in found] == [
        row["key"] for row in sorted(stored, key=lambda row: (-row["time"], row["key"]))
    ]
    assert told.json("ledger", "ls", "-n", 3, "--outputs", made) == found[:3]
    evolved = told.json("ledger", "ls", "-n", 1000, "--outputs", made, "--entry", "evol-instruct", "--run", "whole")
    assert evolved == [c for c in found if c["entry"] == "evol-instruct"]
    assert 0 < len(evolved) < len(found)
    assert told.json("ledger", "ls", "--outputs", made, "--model", "other") == []
    assert told.json("ledger", "ls", "--outputs", made, "--outcome", "length") == []
    assert found[0]["key"][:12] in told.text("ledger", "ls", "-n", 1, "--outputs", made)


def test_ls_gives_pages_and_a_span_of_time(tmp_path: Path, told: Told) -> None:
    fill(tmp_path / "ledger", "a", range(25))
    everything = told.json("ledger", "ls", "-n", 99, "--outputs", tmp_path)
    assert len(everything) == 25
    pages = [told.json("ledger", "ls", "-n", 10, "--skip", skip, "--outputs", tmp_path) for skip in (0, 10, 20, 30)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert [call for page in pages for call in page] == everything
    assert told.text("ledger", "ls", "-n", 10, "--skip", 10, "--outputs", tmp_path).endswith("more: add --skip 20\n")
    assert "more" not in told.text("ledger", "ls", "-n", 10, "--skip", 15, "--outputs", tmp_path)
    middle = everything[12]["time"]
    since = datetime.fromtimestamp(middle, UTC).isoformat()
    later = told.json("ledger", "ls", "-n", 99, "--since", since, "--outputs", tmp_path)
    assert later == [call for call in everything if call["time"] >= datetime.fromisoformat(since).timestamp()]
    assert told.json("ledger", "ls", "-n", 99, "--since", "1h", "--outputs", tmp_path) == everything
    assert told.json("ledger", "stats", "--since", "2999-01-01", "--outputs", tmp_path)["total"]["calls"] == 0
    for wrong in ("yesterday", "3 h", "-1d"):
        with pytest.raises(SystemExit):
            main(["ledger", "ls", f"--since={wrong}", "--outputs", str(tmp_path)])


def test_every_lost_attempt_and_every_call_in_flight_is_listed(tmp_path: Path, told: Told) -> None:
    fill(tmp_path / "ledger", "a", range(3), lost=("timeout", "connection broken"))
    ledger = Ledger(tmp_path / "ledger", "b")
    over = threading.Event()
    ledger.intend(call_of(9), lambda error: over.set(), reserved=0.002, lost=["timeout"])
    assert over.wait(20)
    found = told.json("ledger", "ls", "--lost", "-n", 99, "--outputs", tmp_path)
    assert Counter((a["run"], a["why"]) for a in found) == {
        ("a", "timeout"): 3,
        ("a", "connection broken"): 3,
        ("b", "in flight"): 1,
        ("b", "timeout"): 1,
    }
    assert [attempt["time"] for attempt in found] == sorted((a["time"] for a in found), reverse=True)
    assert {attempt["key"] for attempt in found[:2]} == {call_of(9).key}
    assert [attempt["reserved"] for attempt in found[:2]] == [0.002, 0.002]
    assert told.json("ledger", "ls", "--lost", "-n", 99, "--run", "a", "--outputs", tmp_path) == found[2:]
    assert told.json("ledger", "ls", "--lost", "-n", 2, "--skip", 3, "--outputs", tmp_path) == found[3:5]
    assert "no model and no outcome" in told.text(
        "ledger", "ls", "--lost", "--model", "m", "--outputs", tmp_path, code=2
    )
    text = told.text("ledger", "ls", "--lost", "--outputs", tmp_path)
    assert "in flight" in text
    assert "$0.002" in text
    ledger.close()
    Ledger(tmp_path / "ledger", "c").close()
    again = told.json("ledger", "ls", "--lost", "-n", 99, "--run", "b", "--outputs", tmp_path)
    assert {attempt["why"] for attempt in again} == {"timeout", "the process died"}
    key = call_of(0).key
    assert [attempt["why"] for attempt in told.json("ledger", "show", key, "--outputs", tmp_path)["lost"]] == [
        "timeout",
        "connection broken",
    ]
    assert "maybe paid: connection broken" in told.text("ledger", "show", key, "--outputs", tmp_path)


def test_a_ledger_of_version_1_is_read_as_it_is(tmp_path: Path, told: Told) -> None:
    """Read-only commands change no file, so they meet the tables of earlier programs."""
    fill(tmp_path / "ledger", "a", range(5), lost=("timeout",))
    for path in (tmp_path / "ledger").glob("*.sqlite"):
        database = sqlite3.connect(path)
        database.executescript(
            "DROP INDEX calls_by_time; DROP TABLE spending; ALTER TABLE lost DROP COLUMN reserved; "
            "ALTER TABLE lost DROP COLUMN resolved; ALTER TABLE intents DROP COLUMN reserved; "
            "ALTER TABLE intents DROP COLUMN lost; PRAGMA user_version=1;"
        )
        database.close()
    assert told.json("ledger", "stats", "--outputs", tmp_path)["total"]["calls"] == 5
    assert len(told.json("ledger", "ls", "--outputs", tmp_path)) == 5
    assert len(told.json("ledger", "ls", "--lost", "--outputs", tmp_path)) == 5
    assert told.json("ledger", "show", call_of(1).key, "--outputs", tmp_path)["lost"]
    fill(tmp_path / "ledger", "a", range(5, 6))
    assert len(told.json("ledger", "ls", "--lost", "--outputs", tmp_path)) == 5
    assert len(told.json("ledger", "ls", "--outputs", tmp_path)) == 6


def plan_of(path: Path, sql: str) -> str:
    database = sqlite3.connect(path)
    plan = " / ".join(row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}"))
    database.close()
    return plan


def test_lists_and_sums_never_touch_the_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every query of stats, ls and export's order is answered from the index alone, and none sorts a whole ledger."""
    fill(tmp_path, "a", range(20))
    asked: list[str] = []
    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        database = real(*arguments, **options)
        database.set_trace_callback(asked.append)
        return database

    monkeypatch.setattr("pipeline.llm.ledger_tools.sqlite3.connect", connect)
    choice = Choice(run="a", outcome="ok", since=1.0)
    ledger_tools.newest(tmp_path, choice, 5)
    ledger_tools.newest(tmp_path, Choice(), 5)
    ledger_tools.tally(tmp_path, ("model", "outcome", "run"), Choice())
    ledger_tools.count(tmp_path, choice)
    ledger_export.export(tmp_path, choice, tmp_path / "x.jsonl")
    monkeypatch.undo()
    queries = {sql for sql in asked if "FROM calls" in sql and "WHERE key =" not in sql}
    assert len(queries) >= 5
    for sql in queries:
        plan = plan_of(tmp_path / "shard-0.sqlite", sql)
        assert "COVERING INDEX calls_by_time" in plan, (sql, plan)
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan, (sql, plan)


def test_show_prints_what_is_stored_and_a_beginning_must_be_enough(made: Path, told: Told) -> None:
    stored = rows_of(made / "ledger")
    row = stored[0]
    text = told.text("ledger", "show", row["key"][:20], "--outputs", made)
    assert f"\nrequest:\n{row['request']}\nreply:\n{row['reply']}\n" in text
    call = told.json("ledger", "show", row["key"], "--outputs", made)
    assert (call["request"], call["reply"]) == (json.loads(row["request"]), row["reply"])
    digit, count = Counter(r["key"][0] for r in stored).most_common(1)[0]
    assert f"{count} calls have a key that begins with '{digit}'" in told.text(
        "ledger", "show", digit, "--outputs", made, code=2
    )
    assert "no call in" in told.text("ledger", "show", "0" * 64, "--outputs", made, code=2)
    for wrong in ("", "xyz", "a%", "ABC"):
        assert "is not the beginning of a key" in told.text("ledger", "show", wrong, "--outputs", made, code=2)


@pytest.mark.parametrize("name", ["calls.jsonl", "calls.jsonl.gz"])
def test_export_holds_every_call_once_oldest_first(made: Path, tmp_path: Path, told: Told, name: str) -> None:
    output = tmp_path / name
    stored = sorted(rows_of(made / "ledger"), key=lambda row: (row["time"], row["key"]))
    assert told.json("ledger", "export", "-o", output, "--outputs", made)["calls"] == len(stored)
    data = output.read_bytes()
    lines = (gzip.decompress(data) if name.endswith(".gz") else data).decode().splitlines()
    assert [{name: json.loads(line)[name] for name in COLUMNS} for line in lines] == [
        row | {"request": json.loads(row["request"])} for row in stored
    ]
    told.text("ledger", "export", "-o", output, "--outputs", made)
    assert output.read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_export_says_what_it_cannot_write(made: Path, tmp_path: Path, told: Told) -> None:
    assert "JSON lines" in told.text("ledger", "export", "-o", tmp_path / "x.csv", "--outputs", made, code=2)
    missing = tmp_path / "none" / "x.jsonl"
    assert "cannot be written" in told.text("ledger", "export", "-o", missing, "--outputs", made, code=1)


def test_prune_takes_what_it_said_and_leaves_the_rest_readable(tmp_path: Path, told: Told) -> None:
    ledger = tmp_path / "ledger"
    fill(ledger, "a", range(40), text="Blue. " * 2000, lost=("timeout",))
    fill(ledger, "b", range(40, 50))
    size = ledger_tools.size_on_disk(ledger)
    assert "needs to know what" in told.text("ledger", "prune", "--yes", "--outputs", tmp_path, code=2)
    dry = told.text("ledger", "prune", "--run", "a", "--dry-run", "--outputs", tmp_path)
    assert dry.startswith("40 calls would go")
    assert dry == told.text("ledger", "prune", "--run", "a", "--outputs", tmp_path)
    about = told.json("ledger", "prune", "--run", "a", "--outputs", tmp_path)["bytes"]
    assert ledger_facts(ledger)["calls"] == 50
    for nothing in (
        ("--older-than", "1"),
        ("--outcome", "length"),
        ("--entry", "other"),
        ("--run", "a", "--outcome", "length"),
    ):
        assert told.json("ledger", "prune", *nothing, "--yes", "--outputs", tmp_path)["calls"] == 0
    done = told.json(
        "ledger", "prune", "--run", "a", "--outcome", "ok", "--older-than", 0, "--yes", "--outputs", tmp_path
    )
    assert done["calls"] == 40
    assert done["bytes_freed"] == size - ledger_tools.size_on_disk(ledger) > 40 * 2000
    assert 0.5 * done["bytes_freed"] < about < 2 * done["bytes_freed"]
    assert ledger_facts(ledger) == {"calls": 10, "intents": 0, "lost": 40}
    reader = Reader(ledger)
    assert reader.find(call_of(0).key) is None
    assert all(reader.find(call_of(number).key) for number in range(40, 50))
    fill(ledger, "c", range(2))
    assert ledger_facts(ledger)["calls"] == 12


def test_prune_never_runs_beside_a_writer(tmp_path: Path) -> None:
    fill(tmp_path, "a", range(8))
    writer = Ledger(tmp_path, "busy", shards=[SHARDS - 1])
    began = time.monotonic()
    with pytest.raises(SeedmillError, match="still in use by run 'busy'"):
        prune.prune(tmp_path, Choice(run="a"), patience=0.2)
    assert time.monotonic() - began < 5
    assert ledger_facts(tmp_path)["calls"] == 8
    writer.close()
    assert prune.prune(tmp_path, Choice(run="a"), patience=0.2).calls == 8


def test_a_newer_ledger_is_not_pruned(tmp_path: Path) -> None:
    fill(tmp_path, "a", range(1))
    path = next(p for p in tmp_path.glob("*.sqlite") if rows_in(p))
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(SeedmillError, match="newer version"):
        prune.prune(tmp_path, Choice(run="a"))
    assert rows_in(path) == 1


def rows_in(path: Path) -> int:
    database = sqlite3.connect(path)
    count: int = database.execute("SELECT count(*) FROM calls").fetchone()[0]
    database.close()
    return count


def test_hostile_replies_do_not_reach_the_terminal(tmp_path: Path, told: Told) -> None:
    fill(tmp_path / "ledger", f"run{HOSTILE}", range(1), text=HOSTILE, entry=f"e{HOSTILE}\nx")
    key = call_of(0).key
    commands = (("stats",), ("ls",), ("show", key), ("stats", "--json"), ("ls", "--json"), ("show", key, "--json"))
    for command in commands:
        text = told.text("ledger", *command, "--outputs", tmp_path)
        assert "\x1b" not in text, command
        assert all(c == "\n" or c.isprintable() for c in text), command
    assert json.loads(told.json("ledger", "show", key, "--outputs", tmp_path)["reply"])["choices"][0]["message"][
        "content"
    ] == (HOSTILE)
    assert told.json("ledger", "ls", "--outputs", tmp_path)[0]["run"] == f"run{HOSTILE}"


def test_a_missing_or_damaged_ledger_is_a_sentence(tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no ledger in" in told.text("ledger", "stats", "--outputs", tmp_path, code=2)
    assert "there is no ledger in" in told.text("ledger", "prune", "--run", "a", "--outputs", tmp_path, code=2)
    fill(tmp_path / "elsewhere", "a", range(1))
    monkeypatch.setenv("LEDGER", str(tmp_path / "elsewhere"))
    assert told.json("ledger", "stats", "--outputs", tmp_path)["total"]["calls"] == 1
    for path in (tmp_path / "elsewhere").glob("*.sqlite"):
        path.write_bytes(b"not a database at all" * 100)
    assert "cannot be read" in told.text("ledger", "stats", "--outputs", tmp_path, code=1)
    assert "is damaged" in told.text("ledger", "prune", "--run", "a", "--yes", "--outputs", tmp_path, code=1)
