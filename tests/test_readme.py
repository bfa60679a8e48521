"""What the README says is done: its commands run, its make targets exist."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.llm.fake.provider import FakeProvider
from tests.runs import ROOT, environment, seedmill

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.strip()]


def test_every_command_of_the_readme_runs(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (ROOT / "seeds" / "zh.jsonl").read_text(encoding="utf-8").splitlines()[:30]]
    seeds = [{"instruction": r["instruction"], **r["instances"][0]} for r in rows]
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps(s) for s in seeds), encoding="utf-8")
    english = [json.loads(line) for line in (ROOT / "seeds" / "en.jsonl").read_text(encoding="utf-8").splitlines()]
    dataset = [{"instruction": r["instruction"], **r["instances"][0]} for r in english]
    (tmp_path / "alpaca_data.json").write_text(json.dumps(dataset), encoding="utf-8")
    (tmp_path / "gsm8k_test.jsonl").write_text(
        '{"question": "How many legs have five cats and a hen?"}\n', encoding="utf-8"
    )
    ran = 0
    with FakeProvider(own_process=True) as provider:
        env = environment(
            LLM_BASE_URL=provider.url,
            LLM_MODEL="fake",
            LLM_API_KEY="sk-x",
            PYTHONPATH=str(ROOT),
            HF_ENDPOINT="http://127.0.0.1:9",
        )
        for command in COMMANDS:
            words = shlex.split(command)
            if words[0] != ".venv/bin/seedmill":
                continue
            options = ["--set", "self-instruct.target=6", "--engine", "local"] if words[1] == "run" else []
            done = seedmill(*words[1:], *options, env=env, cwd=tmp_path)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            ran += 1
    assert ran >= 9


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_make_targets_exist() -> None:
    targets = {words[1] for line in COMMANDS if (words := shlex.split(line))[0] == "make"}
    named = targets | set(re.findall(r"`make ([a-z-]+)", TEXT))
    assert {"run", "test", "dedup", "submit", "help"} <= named
    for target in named:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_lists_every_target() -> None:
    help_text = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"\.PHONY: (.*)", (ROOT / "Makefile").read_text())
    assert phony
    entries = re.search(r"ENTRIES := (.*)", (ROOT / "Makefile").read_text())
    assert entries
    for target in phony[1].replace("$(ENTRIES)", entries[1]).split():
        assert target in help_text, target


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_clean_outputs_spares_the_ledger(tmp_path: Path) -> None:
    for name in ("ledger/shard-0.sqlite", "demo/00-read/manifest.json", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    subprocess.run(["make", "clean-outputs", f"OUTPUTS={tmp_path}"], cwd=ROOT, check=True, capture_output=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["README.md", "ledger"]
    assert (tmp_path / "ledger" / "shard-0.sqlite").exists()
