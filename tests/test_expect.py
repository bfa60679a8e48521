"""Expectations of a recipe: each is met or fails with the figure found and the one asked for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.errors import UsageError
from pipeline.expect import EXPECT_SCHEMA
from pipeline.export.files import write_export
from pipeline.export.settings import Settings
from pipeline.recipe import load_recipe
from pipeline.record import Message, Record
from tests.doubles import stream_of


def row(i: int, **more: Any) -> Record:
    turns = (
        Message(role="user", content=f"Question number {i} of {10**i}?"),
        Message(role="assistant", content="word " * (i + 1)),
    )
    return Record(id=f"r{i}", messages=turns, source="s", method="m", language="en", license="mit", **more)


ROWS = [row(i, scores={"accuracy": 4.0 + i % 2}) for i in range(8)]
ROWS += [replace(ROWS[0], id="again"), replace(row(9), messages=row(9).messages[:1], language="zh", license=None)]
FACTS: dict[str, Any] = {
    "recipe": "r.yaml",
    "entries": [
        {
            "name": "read",
            "stage": "read",
            "manifest": {"in": 0, "derived": 20, "kept": 18, "dropped": 2, "reasons": {"bad-utf8": 2}, "fixed": {}}
            | {"hits": {}, "notes": {}, "seconds": 1.0},
        }
    ],
}

CASES: list[tuple[dict[str, Any], bool, str]] = [
    ({"rows": {"min": 10, "max": 10}}, True, "rows: 10 found, at least 10 and at most 10 asked for"),
    ({"rows": {"min": 1_000}}, False, "rows: 10 found, at least 1,000 asked for"),
    ({"rows": {"max": 9}}, False, "rows: 10 found, at most 9 asked for"),
    ({"answered": {"min": 0.9}}, True, "answered: 90% found, at least 90% asked for"),
    ({"answered": {"min": 1}}, False, "answered: 90% found, at least 100% asked for"),
    ({"languages": {"zh": {"min": 0.1}}}, True, "languages.zh: 10% found, at least 10% asked for"),
    ({"languages": {"fr": {"min": 0.1}}}, False, "languages.fr: 0% found, at least 10% asked for"),
    ({"scores": {"accuracy": {"min": 4.4}}}, True, "scores.accuracy: 4.444 found, at least 4.4 asked for"),
    ({"scores": {"accuracy": {"min": 4.5}}}, False, "scores.accuracy: 4.444 found, at least 4.5 asked for"),
    ({"scores": {"helpful": {"min": 4}}}, False, "scores.helpful: no such score found, at least 4 asked for"),
    ({"question_length": {"max": 40}}, True, "question_length: 26 found, at most 40 asked for"),
    ({"answer_length": {"min": 100}}, False, "answer_length: 20 found, at least 100 asked for"),
    ({"duplicates": {"max": 0.1}}, True, "duplicates: 10% found, at most 10% asked for"),
    ({"duplicates": {"max": 0.05}}, False, "duplicates: 10% found, at most 5% asked for"),
    ({"reasons": {"bad-utf8": {"max": 0.1}}}, True, "reasons.bad-utf8: 10% found, at most 10% asked for"),
    ({"reasons": {"bad-utf8": {"max": 0.01}}}, False, "reasons.bad-utf8: 10% found, at most 1% asked for"),
    ({"contaminated": {"max": 0}}, False, "contaminated: no entry that looks for benchmark rows found, at most 0"),
    ({"licenses": ["MIT", "unknown"]}, True, "licenses: no other found, only MIT, unknown asked for"),
    ({"licenses": ["mit"]}, False, "licenses: 1 under an unknown licence (r9) found, only mit asked for"),
]


@pytest.mark.parametrize(("expect", "met", "sentence"), CASES)
def test_an_expectation_says_what_was_found_and_asked(
    tmp_path: Path, expect: dict[str, Any], met: bool, sentence: str
) -> None:
    done = write_export(stream_of(tmp_path, ROWS), tmp_path / "e", Settings(expect=expect), FACTS, fingerprint="f")
    (verdict,) = done.verdicts
    assert verdict.met == met
    assert verdict.sentence().startswith(sentence)
    card = (tmp_path / "e" / "README.md").read_text(encoding="utf-8")
    assert "## Expectations" in card
    assert ("| yes |" in card) == met
    assert json.loads((tmp_path / "e" / "report.json").read_text())["expectations"] == [verdict.as_json()]


def test_every_kind_of_expectation_has_a_case() -> None:
    assert {key for expect, _, _ in CASES for key in expect} == set(EXPECT_SCHEMA["properties"])


def test_rows_marked_as_benchmark_rows_count_where_something_looked(tmp_path: Path) -> None:
    marked = replace(ROWS[1], tags={"contaminated": "gsm8k"})
    looked = FACTS | {"entries": [*FACTS["entries"], {"name": "decontaminate", "stage": "decontaminate"}]}
    settings = Settings(expect={"contaminated": {"max": 0}})
    for found, met in (([ROWS[1]], True), ([ROWS[2], marked], False)):
        done = write_export(
            stream_of(tmp_path, found),
            tmp_path / "e",
            settings,
            looked | {"entries": looked["entries"][1:]},
            fingerprint=str(met),
        )
        assert [verdict.met for verdict in done.verdicts] == [met]


RECIPE = """
entries:
  - stage: read
    data: [rows.jsonl]
    language: en
expect:
  rows: {min: MIN}
  licenses: [mit, unknown]
"""


def recipe(folder: Path, text: str) -> Path:
    (folder / "rows.jsonl").write_text('{"instruction": "Say hi", "input": "", "output": "Hi"}\n')
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


def test_a_failed_expectation_fails_the_run_and_is_shown_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    path = recipe(tmp_path, RECIPE.replace("MIN", "2"))
    options = ["--outputs", str(tmp_path / "out"), "--run", "r"]
    assert main(["run", str(path), *options, "--quiet"]) == 1
    assert "expectation failed: rows: 1 found, at least 2 asked for" in capsys.readouterr().err
    assert main(["report", "r", "--outputs", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "1 of 2 expectations met" in shown
    assert "FAIL  rows: 1 found, at least 2 asked for" in shown
    assert "ok    licenses: no other found" in shown
    publish = ["publish", "r", "--repo", "a/b", "--outputs", str(tmp_path / "out")]
    assert main(publish) == 1
    assert "since expectations failed: rows: 1 found, at least 2 asked for" in capsys.readouterr().err
    assert main([*publish, "--dry-run"]) == 0
    assert "note: publishing would stop, since expectations failed: rows: 1 found" in capsys.readouterr().out
    assert main([*publish, "--dry-run", "--allow-failed"]) == 0
    assert "would stop" not in capsys.readouterr().out
    path.write_text(RECIPE.replace("MIN", "1"))
    assert main(["run", str(path), *options, "--quiet"]) == 0


@pytest.mark.parametrize(
    ("expect", "said", "hint"),
    [
        ("rowz: {min: 1}", "unknown key 'rowz' in expect", "did you mean 'rows'?"),
        ("rows: {least: 1}", "unknown key 'least' in expect.rows", "valid ones: min, max"),
        ("rows: {min: many}", 'expect.rows.min: "many" should be number', None),
        ("rows: {}", "expect.rows", None),
        ("languages: {zh: 0.5}", "expect.languages.zh: 0.5 should be object", None),
        ("licenses: mit", 'expect.licenses: "mit" should be array', None),
    ],
)
def test_a_malformed_expectation_is_a_sentence_with_its_line(
    tmp_path: Path, expect: str, said: str, hint: str | None
) -> None:
    path = recipe(tmp_path, f"entries:\n  - stage: read\n    data: [rows.jsonl]\nexpect:\n  {expect}\n")
    with pytest.raises(UsageError) as caught:
        load_recipe(path)
    assert said in caught.value.message
    assert caught.value.message.startswith(f"{path}:5: ")
    assert hint is None or caught.value.hint == hint


@pytest.mark.parametrize(
    ("export", "said"),
    [
        ("split: {validation: 0.6, test: 0.5}", "export.split leaves nothing for train"),
        ("split: {train: 0.5}", "train"),
        ("split: {validation: 5}", "5 is greater than or equal to the maximum"),
        ("shard_mb: 0", "0 is less than or equal to the minimum"),
        ("only_licenses: []", "export.only_licenses"),
    ],
)
def test_a_malformed_export_setting_is_a_sentence(tmp_path: Path, export: str, said: str) -> None:
    path = recipe(tmp_path, f"entries:\n  - stage: read\n    data: [rows.jsonl]\nexport:\n  {export}\n")
    with pytest.raises(UsageError) as caught:
        load_recipe(path)
    assert said in caught.value.message


def test_what_init_writes_as_comments_is_valid_when_it_is_uncommented(tmp_path: Path) -> None:
    from pipeline.starter import starter_recipe

    (tmp_path / "mine.jsonl").write_text('{"instruction": "Say hi", "output": "Hi"}\n')
    text = starter_recipe(tmp_path / "mine.jsonl", tmp_path, "en", None)
    head, tail = text.split("export:\n")
    lines = [line.replace("# ", "", 1) for line in tail.splitlines() if "What must be" not in line]
    (tmp_path / "recipe.yaml").write_text(f"{head.replace('# license', 'license')}export:\n" + "\n".join(lines))
    found = load_recipe(tmp_path / "recipe.yaml")
    assert found.export["split"] == {"validation": 0.05}
    assert found.expect["scores"] == {"accuracy": {"min": 4.5}}
    assert found.entries[0].settings()["license"] == "cc-by-4.0"
