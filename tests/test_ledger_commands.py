"""`seedmill ledger` and `seedmill calls`: what they tell is what was asked; pruning takes that and nothing else."""

import gzip
import json
import shutil
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.__main__ import main
from pipeline.errors import SeedmillError
from pipeline.llm import ledger_tools, prune
from pipeline.llm.body import Call, compose
from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.ledger import Finished, Ledger, Reader, ledger_facts
from pipeline.llm.ledger_tools import Choice
from pipeline.llm.reading import read_reply
from pipeline.llm.request import Request
from tests.runs import RECIPES, environment, seedmill
from tests.scripted import said, spec_of

HOSTILE = "\x1b[2J\x9b31m \u202e end"
COLUMNS = ("key", "request", "reply", "outcome", "run", "entry", "model", "time")


@pytest.fixture(autouse=True)
def no_other_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEDGER", raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    with FakeProvider(own_process=True) as provider:
        env = environment(LLM_BASE_URL=provider.url, LLM_MODEL="fake", LLM_API_KEY="sk-x")
        options = ("--outputs", folder, "--engine", "local", "--quiet", "--to", "evol-instruct")
        done = seedmill("run", RECIPES / "whole.yaml", *options, "--set", "self-instruct.target=4", env=env)
        assert done.returncode == 0, done.stderr
    return folder


def rows_of(ledger: Path) -> list[dict[str, Any]]:
    """Every stored call, read without any of our code."""
    found = []
    for path in sorted(ledger.glob("shard-*.sqlite")):
        database = sqlite3.connect(path)
        found += [
            dict(zip(COLUMNS, row, strict=True)) for row in database.execute(f"SELECT {', '.join(COLUMNS)} FROM calls")
        ]
        database.close()
    return found


class Told:
    """Runs commands in this process and gives back what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def text(self, *words: object, code: int = 0) -> str:
        self._capsys.readouterr()
        assert main([str(word) for word in words]) == code
        said = self._capsys.readouterr()
        assert code == 0 or not said.out
        return said.out if code == 0 else said.err

    def json(self, *words: object) -> Any:
        return json.loads(self.text(*words, "--json"))


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    return Told(capsys)


def call_of(number: int, entry: str = "answer", text: str = "number") -> Call:
    return compose(spec_of(), Request(prompt=f"{text} {number}"), entry)


def fill(
    folder: Path,
    run: str,
    numbers: range,
    *,
    cost: float | None = 0.25,
    text: str = "Blue.",
    lost: tuple[str, ...] = (),
    entry: str = "answer",
) -> None:
    """Store calls as a run does."""
    ledger = Ledger(folder, run)
    for number in numbers:
        over = threading.Event()
        body = said(text).data.decode()
        end = Finished(body=body, reading=read_reply(body), cost=cost, sends=1 + len(lost), ms=5, lost=lost)
        ledger.finish(call_of(number, entry), "m", end, lambda error, over=over: over.set())
        assert over.wait(20)
    ledger.close()


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
    assert "$0.750000 + 2 unknown" in text
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
    dry = told.text("ledger", "prune", "--run", "a", "--outputs", tmp_path)
    assert dry.startswith("40 calls would go")
    assert ledger_facts(ledger)["calls"] == 50
    for nothing in (("--older-than", "1"), ("--outcome", "length"), ("--run", "a", "--outcome", "length")):
        assert told.json("ledger", "prune", *nothing, "--yes", "--outputs", tmp_path)["calls"] == 0
    done = told.json(
        "ledger", "prune", "--run", "a", "--outcome", "ok", "--older-than", 0, "--yes", "--outputs", tmp_path
    )
    assert done["calls"] == 40
    assert done["bytes_freed"] == size - ledger_tools.size_on_disk(ledger) > 40 * 2000
    assert ledger_facts(ledger) == {"calls": 10, "intents": 0, "lost": 40}
    reader = Reader(ledger)
    assert reader.find(call_of(0).key) is None
    assert all(reader.find(call_of(number).key) for number in range(40, 50))
    fill(ledger, "c", range(2))
    assert ledger_facts(ledger)["calls"] == 12


def test_prune_never_runs_beside_a_writer(tmp_path: Path) -> None:
    fill(tmp_path, "a", range(8))
    writer = Ledger(tmp_path, "busy", shards=[7])
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


@pytest.mark.parametrize("kind", ["kept", "drops"])
def test_calls_of_a_row_are_its_exact_prompts_and_raw_replies(made: Path, told: Told, kind: str) -> None:
    entry = {"kept": "02-evol-instruct", "drops": "01-self-instruct"}[kind]
    rows = pl.read_parquet(made / "whole" / entry / f"{kind}-*.parquet").to_dicts()
    row = next(row for row in rows if row["calls"])
    stored = {r["key"]: r for r in rows_of(made / "ledger")}
    facts = told.json("calls", "whole", row["id"], "--outputs", made)
    assert [call["key"] for call in facts["calls"]] == row["calls"]
    assert facts["entries"][-1]["kept"] == (kind == "kept")
    text = told.text("calls", "whole", row["id"][:16], "--outputs", made)
    for call in facts["calls"]:
        own = stored[call["key"]]
        assert (call["request"], call["reply"]) == (json.loads(own["request"]), own["reply"])
        assert f"replied:\n{own['reply']}" in text
        for message in call["request"]["messages"]:
            assert f"[{message['role']}]\n{message['content']}\n" in text
    if kind == "drops":
        assert f"self-instruct: dropped: {row['reason']}" in text


def test_calls_of_a_run_agree_with_manifests_and_ledger(made: Path, told: Told) -> None:
    facts = told.json("calls", "whole", "--outputs", made)
    assert [item["entry"] for item in facts["entries"]] == ["self-instruct", "evol-instruct"]
    stored = Counter(row["entry"] for row in rows_of(made / "ledger"))
    for item in facts["entries"]:
        manifest = json.loads(next((made / "whole").glob(f"[0-9][0-9]-{item['entry']}/manifest.json")).read_text())
        assert item["usage"] == manifest["usage"]
        assert item["ledger"]["calls"] == item["ledger"]["outcomes"]["ok"] == stored[item["entry"]]
    text = told.text("calls", "whole", "--outputs", made)
    assert "evol-instruct" in text
    assert f"{stored['evol-instruct']:,} ok" in text


def test_calls_of_rows_survive_pruning_as_missing(made: Path, tmp_path: Path, told: Told) -> None:
    shutil.copytree(made, tmp_path / "o")
    done = told.json("ledger", "prune", "--run", "whole", "--yes", "--outputs", tmp_path / "o")
    assert done["calls"] > 10
    row = pl.read_parquet(tmp_path / "o" / "whole" / "02-evol-instruct" / "kept-*.parquet").to_dicts()[-1]
    facts = told.json("calls", "whole", row["id"], "--outputs", tmp_path / "o")
    assert facts["calls"] == [{"key": key, "missing": True} for key in row["calls"]]
    assert "not in the ledger" in told.text("calls", "whole", row["id"], "--outputs", tmp_path / "o")
    table = told.json("calls", "whole", "--outputs", tmp_path / "o")["entries"]
    assert [item["ledger"]["calls"] for item in table] == [0, 0]
    assert all(item["usage"]["calls"] for item in table)


def test_calls_names_what_is_there(made: Path, told: Told) -> None:
    assert "runs there: whole" in told.text("calls", "hole", "--outputs", made, code=2)
    assert "no record of run 'whole'" in told.text("calls", "whole", "zzz", "--outputs", made, code=2)
