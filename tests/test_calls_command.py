"""`seedmill calls`: the exact prompt and raw reply of any row, kept or dropped, and sums that agree with the ledger."""

import json
import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.llm.body import compose
from pipeline.llm.ledger import Finished, Ledger
from pipeline.llm.reading import read_reply
from pipeline.llm.request import Request
from pipeline.record import Message, Record, to_drop_frame, to_frame
from pipeline.report.calls import said as in_words
from tests.ledgers import HOSTILE, Told, make_run, rows_of
from tests.scripted import said, spec_of


@pytest.fixture(autouse=True)
def no_other_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEDGER", raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("outputs"))


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    return Told(capsys)


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
        assert f"raw reply:\n{own['reply']}" in text
        assert f"said:\n{json.loads(own['reply'])['choices'][0]['message']['content']}\n" in text
        for message in call["request"]["messages"]:
            assert f"[{message['role']}]\n{message['content']}\n" in text
    if kind == "drops":
        assert f"dropped by self-instruct: {row['reason']}" in text


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
    assert facts["calls"] == [{"key": key, "missing": True, "lost": []} for key in row["calls"]]
    assert "not in the ledger" in told.text("calls", "whole", row["id"], "--outputs", tmp_path / "o")
    table = told.json("calls", "whole", "--outputs", tmp_path / "o")["entries"]
    assert [item["ledger"]["calls"] for item in table] == [0, 0]
    assert all(item["usage"]["calls"] for item in table)


def hostile_run(outputs: Path) -> Path:
    """A run with one kept row whose one call was a completion in a schema's form, lost once, and full of controls."""
    params = {"max_tokens": 9, "stop": [HOSTILE]}
    call = compose(spec_of(style="completion"), Request(prompt=f"Say: {HOSTILE}", params=params), f"e{HOSTILE}\nx")
    body = json.dumps({"choices": [{"text": HOSTILE, "finish_reason": "length"}], "usage": {"prompt_tokens": 2}})
    ledger = Ledger(outputs / "ledger", f"run{HOSTILE}")
    over = threading.Event()
    end = Finished(body=body, reading=read_reply(body), cost=0.5, sends=2, ms=5, lost=(f"timeout {HOSTILE}",))
    ledger.finish(call, f"m{HOSTILE}", end, lambda error: over.set())
    assert over.wait(20)
    ledger.close()
    record = Record(
        id="ab" * 10,
        messages=(Message(role="user", content=HOSTILE), Message(role="assistant", content=HOSTILE)),
        source="x",
        method="x",
        calls=(call.key,),
    )
    folder = outputs / "x" / "00-read"
    folder.mkdir(parents=True)
    to_frame([record]).write_parquet(folder / "kept-00000.parquet")
    to_drop_frame([]).write_parquet(folder / "drops-00000.parquet")
    manifest = {"previous": [], "shards": [], "usage": {}, "in": 0, "derived": 1, "kept": 1, "dropped": 0}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    facts = {"run": "x", "entries": [{"name": f"e{HOSTILE}", "stage": "read", "folder": "00-read"}]}
    (outputs / "x" / "run.json").write_text(json.dumps(facts))
    return outputs


def test_hostile_texts_do_not_reach_the_terminal(tmp_path: Path, told: Told) -> None:
    outputs = hostile_run(tmp_path)
    for command in (("calls", "x", "ab"), ("calls", "x", "ab", "--json"), ("explain", "x", "ab")):
        text = told.text(*command, "--outputs", outputs)
        assert all(c == "\n" or c.isprintable() for c in text), command
    facts = told.json("calls", "x", "ab", "--outputs", outputs)
    assert facts["calls"][0]["request"]["prompt"] == f"Say: {HOSTILE}"


def test_a_completion_its_lost_attempt_and_its_cost_are_told(tmp_path: Path, told: Told) -> None:
    text = told.text("calls", "x", "ab", "--outputs", hostile_run(tmp_path))
    assert "lost attempt, sent 20" in text
    assert "maybe paid: timeout" in text
    assert "attempts 2" in text
    assert "Say: \\x1b[2J" in text
    assert "(finish_reason length)" in text
    assert "1 call, 2 prompt tokens, 0 completion tokens, cost $0.50" in text


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"content": "Blue."}, ["Blue."]),
        ({"content": "4", "reasoning_content": "2 + 2"}, ["(thinking) 2 + 2", "4"]),
        ({"content": None, "refusal": "No."}, ["(refusal) No."]),
        ({"content": "", "tool_calls": [{"id": "a"}]}, ['(tool_calls) [{"id": "a"}]']),
        ({"content": [{"type": "text", "text": "Blue."}]}, ['[{"type": "text", "text": "Blue."}]']),
    ],
)
def test_a_reply_in_words(message: dict[str, Any], words: list[str]) -> None:
    reply = {"choices": [{"message": message, "finish_reason": "stop"}]}
    assert list(in_words(json.dumps(reply))) == words


def test_several_samples_errors_and_what_is_no_reply() -> None:
    two = {"choices": [{"text": "a"}, {"text": "b", "finish_reason": "length"}]}
    assert list(in_words(json.dumps(two))) == ["[choice 1]", "a", "[choice 2]", "b", "(finish_reason length)"]
    assert list(in_words('{"error": {"message": "too long"}}')) == ['(error) {"message": "too long"}']
    for nonsense in ("<html>", "[1]", '{"choices": [1]}', '{"choices": 3}', "null"):
        assert list(in_words(nonsense)) == ["(nothing that could be read)"]
    assert list(in_words(said("Blue.").data.decode())) == ["Blue."]


def test_calls_names_what_is_there(made: Path, told: Told) -> None:
    assert "runs there: whole" in told.text("calls", "hole", "--outputs", made, code=2)
    assert "no record of run 'whole'" in told.text("calls", "whole", "zzz", "--outputs", made, code=2)
