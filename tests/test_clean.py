"""The cleaning half over the real file that everybody knows, and the README's funnel of it."""

import json
import os
from pathlib import Path

import pytest

from tests.runs import ROOT, environment, made_bytes, seedmill

FACTS = {"empty-output": 28, "merged-record": 37}
"""Hits of rules on alpaca_data.json, as other people counted them."""


@pytest.fixture(scope="module")
def alpaca() -> Path:
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip("REAL_DATA is not set: alpaca_data.json is not at hand")
    return Path(folder) / "alpaca_data.json"


@pytest.fixture(scope="module")
def cleaned(alpaca: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    outputs = tmp_path_factory.mktemp("outputs")
    done = seedmill("clean", alpaca, "--run", "alpaca", "--outputs", outputs, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"outputs": outputs}


def entry(cleaned: dict, name: str) -> dict:
    return next(e for e in cleaned["entries"] if e["name"] == name)


def test_known_facts_come_out_as_hits(cleaned: dict) -> None:
    assert entry(cleaned, "read")["kept"] == 52_002
    assert entry(cleaned, "fix")["fixed"]["no-input-marker"] == 546
    hits = entry(cleaned, "filter")["hits"]
    assert {reason: hits.get(reason) for reason in FACTS} == FACTS


def test_alpacas_own_preset_objects_to_nothing(alpaca: Path, tmp_path: Path) -> None:
    done = seedmill(
        "clean",
        alpaca,
        "--run",
        "own",
        "--outputs",
        tmp_path,
        "--set",
        "filter.preset=alpaca",
        "--to",
        "filter",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert entry(json.loads(done.stdout), "filter")["dropped"] == 0


def test_the_funnel_in_the_readme_is_this_one(cleaned: dict) -> None:
    done = seedmill("report", "alpaca", "--outputs", cleaned["outputs"])
    funnel = done.stdout.strip("\n").split("\n\n")[0]
    assert funnel in (ROOT / "README.md").read_text(encoding="utf-8"), f"put this into README.md:\n{funnel}"


def test_nothing_is_done_twice(cleaned: dict, alpaca: Path) -> None:
    before = made_bytes(cleaned["outputs"] / "alpaca")
    done = seedmill("clean", alpaca, "--run", "alpaca", "--outputs", cleaned["outputs"], env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("(unchanged)") == 4
    assert made_bytes(cleaned["outputs"] / "alpaca") == before


def test_files_by_a_glob_and_a_run_that_keeps_nothing(tmp_path: Path) -> None:
    for name in ("one.jsonl", "two.jsonl"):
        (tmp_path / name).write_text('{"instruction": "Name a riv', encoding="utf-8")
    done = seedmill("clean", "*.jsonl", "--run", "none", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dropped 2 malformed-json" in done.stdout
    assert "note: nothing was kept; see why with: seedmill show none read --drops" in done.stdout
