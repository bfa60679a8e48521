"""What `seedmill check` says a trainer would do: every rule on hand-built rows, whole files, lengths, the command."""

import ast
import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.errors import DataError, UsageError
from pipeline.trainers import TRAINERS
from pipeline.trainers.checking import Objection, Verdict, check_files, cut_at, objections, trainers_named
from pipeline.trainers.finding import EFFECTS
from pipeline.trainers.lengths import counter_of, estimated, length_of
from pipeline.trainers.sample import Sample
from pipeline.trainers.survey import read_rows, survey_of
from pipeline.trainers.told import as_text
from tests.runs import ROOT, seedmill
from tests.trainer_cases import CASES, TALK, Case, ask, chat, gpt, write_case

ALL = [(name, case) for name, cases in CASES.items() for case in cases]


def verdict(path: Path | str, trainer: str, cutoff: int | None = None) -> Verdict:
    found = list(check_files([str(path)], trainers_named([trainer]), cut_at(cutoff, None)))
    return next(item for item in found if isinstance(item, Verdict))


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("[" + ",\n".join(lines) + "]" if path.suffix == ".json" else "\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "case"), ALL, ids=[f"{name} {case.name}" for name, case in ALL])
def test_every_rule_on_rows_that_break_it_and_rows_that_do_not(tmp_path: Path, name: str, case: Case) -> None:
    path = write_case(tmp_path, case)
    survey = survey_of(path)
    assert survey.layout is not None
    rules = TRAINERS[name].row_rules[survey.layout.base]
    found = []
    for item in read_rows(path):
        objected = objections(Sample(item.value, survey.layout), rules)  # type: ignore[union-attr]
        found.append(min(objected, key=lambda f: EFFECTS.index(f.effect))[:2] if objected else None)
    wanted = [(effect, reason) for effect, reason, _ in case.bad]
    assert found[: len(case.good)] == [None] * len(case.good)
    assert found[len(case.good) : len(case.good) + len(wanted)] == wanted
    assert not any(found[len(case.good) + len(wanted) :])


FILE_RULES = {
    "llama-factory": {"file-name", "late-column", "mixed-types"},
    "axolotl": {"shape-not-read"},
    "trl": {"shape-not-read", "roles-not-translated", "prompt-beside-turns"},
    "unsloth": {"extra-turn-keys"},
    "fastchat": {"not-an-array", "shape-not-read", "verdicts-ignored"},
    "openai": {"not-json-lines", "too-few-rows", "shape-not-read"},
}
"""Reasons about whole files; the tests below produce them."""


@pytest.mark.parametrize("name", TRAINERS)
def test_every_reason_of_a_trainer_has_a_row_that_produces_it(name: str) -> None:
    file = {"openai": "openai_tuning"}.get(name, name.replace("-", "_"))
    tree = ast.parse((ROOT / "pipeline" / "trainers" / f"{file}.py").read_text(encoding="utf-8"))
    called = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name))
    made = {n.args[0] for n in called if n.func.id in ("stops", "skipped", "wrong", "note")}  # type: ignore[attr-defined]
    texts = {t.value for arg in made for t in ast.walk(arg) if isinstance(t, ast.Constant) and "-" in str(t.value)}
    assert len(texts) > 5
    produced = {reason for case in CASES[name] for _, reason, _ in case.bad}
    assert texts - FILE_RULES[name] == produced & texts


def test_counts_lines_and_reasons(tmp_path: Path) -> None:
    odd, bad = gpt("Say hi", "Hi", "Bye"), gpt("Say hi", "Hi", roles=("human", "bot"))
    path = write(tmp_path / "x.json", [TALK, odd, TALK, bad, odd, odd, odd, gpt("Say hi", ""), TALK])
    found = list(check_files([str(path)], trainers_named(["llama-factory"]), cut_at(None, None)))
    told = as_text(found[-1], cut_at(None, None))  # type: ignore[arg-type]
    assert "5 of 9 rows would be skipped: 4 odd turn count, 1 unknown role" in told
    assert "1 of 9 rows would be trained on wrongly: 1 empty answer" in told
    assert f"{path}:2: odd turn count: 3 turns; their number must be even" in told
    assert "… and 1 more with odd turn count" in told
    assert "3 rows would be trained on as they are" in told
    lines = [(item.line, item.finding.reason) for item in found if isinstance(item, Objection)]
    assert lines == [(n, "odd-turn-count") for n in (2,)] + [(4, "unknown-role")] + [
        *((n, "odd-turn-count") for n in (5, 6, 7)),
        (8, "empty-answer"),
    ]


def test_a_file_that_the_trainer_cannot_take_is_not_judged_row_by_row(tmp_path: Path) -> None:
    lines = write(tmp_path / "x.jsonl", [TALK] * 12)
    array = write(tmp_path / "y.json", [chat(("user", "a"), ("assistant", "b"))] * 12)
    few = write(tmp_path / "z.jsonl", [chat(("user", "a"), ("assistant", "b"))] * 9)
    odd = (tmp_path / "rows.txt.bak").rename
    (tmp_path / "rows.txt.bak").write_bytes(array.read_bytes())
    named = odd(tmp_path / "rows.data")
    pairs = write(
        tmp_path / "p.json",
        [gpt("a", "b", chosen={"from": "gpt", "value": "c"}, rejected={"from": "gpt", "value": "d"})],
    )
    weighted = write(
        tmp_path / "w.json",
        [{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 1}]}],
    )
    reasons = {
        (path.name, name): [finding.reason for finding in verdict(path, name).of_file]
        for path, name in (
            *((lines, "fastchat"), (array, "fastchat"), (array, "openai"), (few, "openai"), (lines, "openai")),
            *((named, "llama-factory"), (pairs, "fastchat"), (pairs, "trl"), (weighted, "unsloth"), (lines, "trl")),
        )
    }
    assert reasons == {
        ("x.jsonl", "fastchat"): ["not-an-array"],
        ("y.json", "fastchat"): ["shape-not-read"],
        ("y.json", "openai"): ["not-json-lines"],
        ("z.jsonl", "openai"): ["too-few-rows"],
        ("x.jsonl", "openai"): ["shape-not-read"],
        ("rows.data", "llama-factory"): ["file-name"],
        ("p.json", "fastchat"): ["verdicts-ignored"],
        ("p.json", "trl"): ["roles-not-translated", "shape-not-read"],
        ("w.json", "unsloth"): ["extra-turn-keys"],
        ("x.jsonl", "trl"): ["roles-not-translated"],
    }
    both = write(tmp_path / "b.json", [chat(("user", "a"), ("assistant", "b"), prompt="a")])
    assert [f.reason for f in verdict(both, "trl").of_file] == ["prompt-beside-turns"]
    assert not verdict(lines, "trl").good
    assert verdict(lines, "llama-factory").good


def test_verdicts_and_preferences_in_a_shape_that_is_not_theirs(tmp_path: Path) -> None:
    marked = write(tmp_path / "k.json", [gpt("a", "b", label=True), gpt("a", "c", label=False)])
    flat = write(tmp_path / "a.json", [{"instruction": "a", "chosen": "b", "rejected": "c"}] * 2)
    for path, name in ((marked, "axolotl"), (marked, "trl"), (flat, "axolotl"), (flat, "trl")):
        found = verdict(path, name)
        assert found.refused
        assert found.of_file[-1].reason == "shape-not-read", (path, name)
    roles = write(
        tmp_path / "c.json",
        [{"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}],
    )
    assert [f.reason for f in verdict(roles, "trl").of_file] == ["shape-not-read"]
    assert [f.reason for f in verdict(roles, "openai").of_file] == ["not-json-lines", "too-few-rows", "shape-not-read"]


def test_a_column_that_begins_beyond_ten_mebibytes_stops_the_load(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [ask(output="x" * 100_000) for _ in range(110)]
    late = [*rows, ask(history=[["a", "b"]])]
    found = verdict(write(tmp_path / "x.jsonl", late), "axolotl")
    assert [f.reason for f in found.of_file] == ["late-column"]
    assert "'history' has its first value in line 111" in found.of_file[0].detail
    assert not verdict(write(tmp_path / "y.jsonl", [late[-1], *rows]), "trl").survey.late
    assert not verdict(write(tmp_path / "x.json", late), "llama-factory").of_file


def test_two_kinds_of_values_in_a_column_stop_llama_factory(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", [ask(id=1), ask(id="2")])
    found = verdict(path, "llama-factory")
    assert [f.reason for f in found.of_file] == ["mixed-types"]
    assert "'id' holds number and text, from line 2 on" in found.of_file[0].detail
    assert verdict(path, "axolotl").good


def test_rows_inside_an_object_are_not_found_by_the_loader(tmp_path: Path) -> None:
    around, row = {"version": 1, "data": [TALK, TALK]}, tmp_path / "row.json"
    for indent in (None, 1):
        path = tmp_path / "x.json"
        path.write_text(json.dumps(around, indent=indent))
        for name in ("llama-factory", "axolotl", "trl", "unsloth"):
            assert "inside-an-object" in [f.reason for f in verdict(path, name).of_file], (name, indent)
        row.write_text(json.dumps(TALK, indent=indent))
        assert verdict(row, "axolotl").good


def test_a_damaged_row_stops_whoever_loads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(
        "\n".join([json.dumps(TALK), '{"conversations": [', json.dumps(TALK), "[1]", '{"conversations": NaN}'])
    )
    found = verdict(path, "llama-factory")
    assert found.rows == 5
    assert found.reasons["stops"] == Counter({"unreadable-row": 2})
    assert found.reasons["note"] == Counter({"unreadable-row": 1})
    assert [line for line, _ in found.first["stops", "unreadable-row"]] == [2, 4]


def test_rows_that_are_too_long_meet_each_trainers_fate(tmp_path: Path) -> None:
    words = "word " * 300
    path = write(tmp_path / "x.json", [TALK, gpt("Say it", words), gpt(words, "Hi")])
    fates = {
        name: {effect: dict(found.reasons[effect]) for effect in EFFECTS if found.reasons[effect]}
        for name in ("llama-factory", "axolotl", "trl", "unsloth", "fastchat")
        for found in [verdict(path, name, cutoff=100)]
    }
    assert fates == {
        "llama-factory": {"wrong": {"too-long": 2}},
        "axolotl": {"skipped": {"too-long": 2}},
        "trl": {"skipped": {"answer-cut-off": 1}, "wrong": {"too-long": 1}},
        "unsloth": {"skipped": {"answer-cut-off": 1}, "wrong": {"too-long": 1}},
        "fastchat": {"wrong": {"too-long": 1, "answer-cut-off": 1}},
    }
    assert verdict(path, "llama-factory", cutoff=325).near == 2
    assert not any(verdict(path, "axolotl", cutoff=400).reasons.values())


def test_a_tokenizer_of_ones_own_counts(tmp_path: Path) -> None:
    tokenizer = {
        "version": "1.0",
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "added_tokens": [],
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps({**tokenizer, "truncation": None, "padding": None}))
    for name in (tmp_path, tmp_path / "tokenizer.json"):
        assert counter_of(str(name))("one two three") == 3
    path = write(tmp_path / "x.json", [gpt("one two", "three four five"), gpt("one", "two")])
    sample = Sample(json.loads(path.read_text())[0], survey_of(path).layout)  # type: ignore[arg-type]
    assert length_of(sample, counter_of(str(tmp_path))) == (2 + 3 + 10, 2 + 5)
    with pytest.raises(UsageError, match="cannot be loaded"):
        counter_of(str(tmp_path / "none.json"))
    with pytest.raises(UsageError, match="without --cutoff"):
        cut_at(None, str(tmp_path))


def test_the_estimate_knows_english_chinese_and_code() -> None:
    assert estimated("The quick brown fox jumps over the lazy dog.") in range(9, 12)
    assert estimated("机器学习是人工智能的一个分支。") in range(7, 11)
    assert estimated("for i in range(10):\n    print(i)\n") in range(12, 20)
    assert estimated("") == 0


def test_an_export_folder_is_judged_by_the_file_that_suits_each_trainer(tmp_path: Path) -> None:
    write(tmp_path / "sharegpt.json", [TALK] * 12)
    write(tmp_path / "alpaca.json", [ask()] * 12)
    write(tmp_path / "messages.jsonl", [chat(("user", "a"), ("assistant", "b"))] * 12)
    found = check_files([str(tmp_path)], trainers_named(["all"]), cut_at(None, None))
    judged = {item.trainer.name: (item.survey.path.name, item.good) for item in found if isinstance(item, Verdict)}
    assert judged == {
        "llama-factory": ("sharegpt.json", True),
        "axolotl": ("messages.jsonl", True),
        "trl": ("messages.jsonl", True),
        "unsloth": ("sharegpt.json", True),
        "fastchat": ("sharegpt.json", True),
        "openai": ("messages.jsonl", True),
    }


def test_every_split_of_an_export_is_judged(tmp_path: Path) -> None:
    for name, rows in (("sharegpt.json", [TALK] * 3), ("sharegpt-validation.json", [TALK, gpt("Say hi")])):
        write(tmp_path / name, rows)
    write(tmp_path / "alpaca.json", [ask()] * 3)
    found = check_files([str(tmp_path)], trainers_named(["llama-factory"]), cut_at(None, None))
    judged = [(item.survey.path.name, item.good) for item in found if isinstance(item, Verdict)]
    assert judged == [("sharegpt.json", True), ("sharegpt-validation.json", False)]


def test_tables_and_packed_files_are_judged_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("instruction,input,output\nSay hi,,Hi\nSay bye,,\n")
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(json.dumps([TALK]).encode()))
    found = verdict(tmp_path / "x.csv", "llama-factory")
    assert found.survey.container == "table"
    assert not found.of_file
    assert sum(found.reasons["skipped"].values()) + sum(found.reasons["wrong"].values()) == 1
    assert verdict(tmp_path / "x.csv", "openai").of_file[0].reason == "shape-not-read"
    assert [f.reason for f in verdict(tmp_path / "x.json.gz", "llama-factory").of_file] == ["file-name"]
    assert [f.reason for f in verdict(tmp_path / "x.json.gz", "fastchat").of_file] == ["not-an-array"]
    assert verdict(tmp_path / "x.json.gz", "axolotl").good


def test_what_cannot_be_judged_is_said_in_a_sentence(tmp_path: Path) -> None:
    unknown = write(tmp_path / "x.json", [{"question": "a", "answer": "b"}])
    with pytest.raises(
        DataError, match="of no shape that a trainer reads; the first has the keys 'question', 'answer'"
    ):
        survey_of(unknown)
    with pytest.raises(DataError, match="no such file"):
        survey_of(tmp_path / "none.json")
    with pytest.raises(DataError, match="holds no file of an export"):
        list(check_files([str(tmp_path)], trainers_named(["trl"]), cut_at(None, None)))
    with pytest.raises(UsageError, match="there is no trainer 'torchtune'"):
        trainers_named(["torchtune"])


def test_the_command_reports_writes_rows_and_says_by_its_exit_code(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", [TALK, gpt("Say hi"), gpt("Say hi", "Hi")])
    rows = tmp_path / "out.jsonl"
    done = seedmill("check", path, "--for", "llama-factory,axolotl", "--rows", rows, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "1 of 3 rows would be skipped: 1 odd turn count" in done.stdout
    written = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [(r["line"], r["trainer"], r["effect"], r["reason"]) for r in written] == [
        (2, "llama-factory", "skipped", "odd-turn-count"),
        (2, "axolotl", "skipped", "no-answer"),
    ]
    told = seedmill(
        "check", path, "--for", "all", "--json", "--cutoff", 2048, "--glue", tmp_path / "glue", cwd=tmp_path
    )
    assert told.returncode == 1
    facts = json.loads(told.stdout)
    assert [v["trainer"] for v in facts["verdicts"]] == list(TRAINERS)
    assert facts["verdicts"][0]["of_rows"]["skipped"] == {
        "odd-turn-count": {"rows": 1, "first": [{"line": 2, "detail": "1 turn; their number must be even"}]}
    }
    assert facts["verdicts"][0]["cutoff"] == {"tokens": 2048, "counted_by": "an estimate, ±15%", "near": 0}
    assert sorted(p.name for p in (tmp_path / "glue").iterdir()) == sorted(Path(p).name for p in facts["glue"])
    good = write(
        tmp_path / "good.json", [TALK, {"conversations": [*TALK["conversations"], *TALK["conversations"][:1]]}][:1]
    )
    assert seedmill("check", good, "--for", "axolotl", cwd=tmp_path).returncode == 0
    assert seedmill("check", good, "--for", "axolotl", "--rows", good, cwd=tmp_path).returncode == 2
    for wrong in (
        ("none", "--for", "trl"),
        (good, "--for", "trl", "--rows", "no/x"),
        (good, "--for", "trl", "--glue", good),
    ):
        refused = seedmill("check", *wrong, cwd=tmp_path)
        assert refused.returncode in (1, 2)
        assert "Traceback" not in refused.stderr


def test_versions_are_named_alike() -> None:
    # In a trainer's title, in what its file says it was read from, and in the pins of the real packages.
    pins = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "trainers.txt").read_text(encoding="utf-8"), re.MULTILINE))
    for name, package in (("llama-factory", "llamafactory"), ("trl", "trl")):
        assert TRAINERS[name].title.endswith(pins[package])
    for name, trainer in TRAINERS.items():
        version = trainer.title.split()[-1].strip("()")
        file = {"openai": "openai_tuning"}.get(name, name.replace("-", "_"))
        assert version in (ROOT / "pipeline" / "trainers" / f"{file}.py").read_text(encoding="utf-8").split('"""')[1]
