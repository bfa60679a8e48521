"""Profiles: every signal measured once; what is decided from the numbers is what a run does with the texts."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from filters import FILTERS, PRESETS, Check
from pipeline import signals
from pipeline.__main__ import main
from pipeline.errors import DataError, UsageError
from pipeline.profile import store
from pipeline.profile.decide import Ruling, decide
from pipeline.profile.distribution import describe
from pipeline.profile.make import complete, make
from pipeline.profile.needs import asked, need
from pipeline.profile.thresholds import entries_of, quantile
from pipeline.record import records_of, view
from pipeline.stages.filter import Filter
from pipeline.stages.read import Read
from tests.doubles import lend, run_rows
from tests.test_filters_cases import asked as a_record
from tests.test_stage_filter import EVERYTHING

REAL = Path(os.environ.get("REAL_DATA", "."))
real = pytest.mark.skipif("REAL_DATA" not in os.environ, reason="REAL_DATA is not set")


SPAM = [
    a_record("Where to play?", "Casino, casino, jackpot slots and betting!"),
    a_record("去哪儿玩？", "百家乐，真人荷官，六合彩"),
]


def written(folder: Path, records: Sequence[Any] = (*EVERYTHING, *SPAM)) -> Path:
    """The labelled cases of the rules as a file of our own format."""
    from pipeline.formats import FORMATS

    path = folder / "cases.jsonl"
    rows = [FORMATS["records"].write(record) for record in records]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def measured(path: Path, folder: Path) -> store.Profile:
    return make(folder / "profile", Read(data=(str(path),)), {"fingerprint": "f"}, lambda done: None)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, store.Profile]:
    folder = tmp_path_factory.mktemp("cases")
    path = written(folder)
    return path, measured(path, folder)


def never(profile: store.Profile, checks: Mapping[str, Check], rules: Sequence[str]) -> None:
    raise AssertionError(f"the texts must not be looked at again, but {rules} ask for it")


def frame_of(path: Path) -> pl.DataFrame:
    outcomes = list(Read(data=(str(path),)).run(lend_stream(), lend()))
    return pl.concat([outcome.kept for outcome in outcomes])


def lend_stream() -> Any:
    from pipeline.stage import Stream

    return Stream(())


def same_as_run(path: Path, rulings: Sequence[Ruling], stages: Mapping[str, Filter]) -> None:
    frame = frame_of(path)
    for ruling, stage in zip(rulings, stages.values(), strict=True):
        outcome = run_rows(stage, list(records_of(frame)))
        assert ruling.rows == frame.height
        assert ruling.hits == outcome.hits
        dropped = dict(outcome.drops["reason"].value_counts().iter_rows())
        assert {reason: count for reason, count in ruling.dropped.items() if count} == dropped
        frame = outcome.kept
    assert rulings[-1].kept.sum() == frame.height


@pytest.mark.parametrize("name", [*FILTERS, *PRESETS])
def test_every_rule_and_preset_is_decided_from_what_is_stored(name: str, cases: tuple[Path, store.Profile]) -> None:
    path, profile = cases
    stages = {"filter": Filter(rules={name: {}}) if name in FILTERS else Filter(preset=name)}
    same_as_run(path, decide(profile, stages, never), stages)


CHANGED: list[dict[str, Any]] = [
    {"length": {"field": "output", "min_chars": 20, "max_words": 60}},
    {"length": {"field": "instruction", "max_words": 4}},
    {"statistics": {"field": "text", "min_chars": 1, "at_most": {"digit_ratio": 0.1, "hash_ratio": 0.01}}},
    {"repetition": {"max_repeated_sentences": 0.1, "min_distinct_words": 0.5}},
    {"flagged": {"max_ratio": 0.0, "min_hits": 1}},
    {"language": {"allow": ("en",), "same": False, "min_confidence": 0.3}},
]


@pytest.mark.parametrize("rules", CHANGED, ids=lambda rules: next(iter(rules)))
def test_bounds_change_without_the_texts(rules: dict[str, Any], cases: tuple[Path, store.Profile]) -> None:
    path, profile = cases
    stages = {"filter": Filter(rules=rules)}
    rulings = decide(profile, stages, never)
    assert sum(rulings[0].dropped.values())
    same_as_run(path, rulings, stages)


def test_a_setting_that_enters_a_pattern_computes_its_rule_again_and_no_other(tmp_path: Path) -> None:
    path = written(tmp_path, EVERYTHING[:60])
    profile = measured(path, tmp_path)
    asked_for: list[list[str]] = []

    def missing(profile: store.Profile, checks: Mapping[str, Check], rules: Sequence[str]) -> None:
        asked_for.append(list(rules))
        complete(profile, checks, Read(data=(str(path),)), lambda done: None)

    stages = {"filter": Filter(preset="clean", rules={"flagged": {"words": ("river",), "min_hits": 1}})}
    same_as_run(path, decide(profile, stages, missing), stages)
    assert asked_for == [["flagged"]]
    same_as_run(path, decide(profile, stages, never), stages)  # And from now on it is stored.


def test_the_stored_numbers_decide(tmp_path: Path) -> None:
    path = written(tmp_path, EVERYTHING[:40])
    profile = measured(path, tmp_path)
    stages = {"filter": Filter(rules={"length": {"max_chars": 100_000}})}
    assert decide(profile, stages, never)[0].dropped == {"too-long-output": 0}
    turns = profile.shards("turn")[0]
    poisoned = pl.read_parquet(turns).with_columns(
        output_chars=pl.when(pl.col("row") == 7).then(1e6).otherwise("output_chars")
    )
    poisoned.write_parquet(turns)
    ruling = decide(profile, stages, never, samples=3)[0]
    assert ruling.dropped == {"too-long-output": 1}
    assert [(s.row, s.value) for s in ruling.samples["too-long-output"]] == [(7, 1_000_000)]


def test_what_is_stored_are_the_signals_of_the_rules(cases: tuple[Path, store.Profile]) -> None:
    path, profile = cases
    viewed = view(frame_of(path)).with_row_index("row")
    names = [name for name in signals.signal_names() if name.startswith("text_")]
    wanted = signals.add(viewed, names)
    stored = profile.table("record").collect()
    assert stored["id"].equals(viewed["id"])
    for name in names:
        assert stored[name].cast(pl.String).to_list() == wanted[name].cast(stored[name].dtype).cast(pl.String).to_list()


def test_every_check_says_what_it_needs() -> None:
    for name, wanted in (("statistics", {"numbers"}), ("length", {"numbers"}), ("flagged", {"gated"})):
        assert {one.need for one in asked(Filter(rules={name: {}}))} == wanted
    assert {one.need for one in asked(Filter(rules={"refusal": {}}))} == {"text"}
    (check,) = (one.check for one in asked(Filter(rules={"flagged": {}})))
    assert need(replace(check, when=check.when & pl.col("text").str.contains("x"))) == "text"


def test_a_share_becomes_a_bound(tmp_path: Path) -> None:
    rows = [{"instruction": f"Say it {n} times.", "input": "", "output": "x" * n} for n in range(101)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    profile = measured(path, tmp_path)
    assert quantile(profile, "output", "chars", 0.05) == 5  # of the 100 that are there, 1 to 100
    entries = entries_of(profile, None, [], ["output_chars=5%"], ["output_chars=95%"])
    (ruling,) = decide(profile, entries, never, samples=1)
    assert entries["bounds-of-output"].rules == {
        "statistics": {"field": "output", "min_chars": 1, "at_least": {"chars": 5}, "at_most": {"chars": 95}}
    }
    assert ruling.dropped == {"too-few-characters": 4, "too-many-characters": 5}
    assert ruling.kept.sum() == 92  # The empty one is no short answer; the rule `empty` is for it.


WRONG = [
    ({"settings": ["length.max_words"]}, "not of the form rule.setting=value"),
    ({"settings": ["length.max_words=["]}, "the value is not YAML"),
    ({"settings": ["lenght.max_words=3"]}, "unknown rule 'lenght'"),
    ({"at_least": ["output_chars"]}, "not of the form signal=number"),
    ({"at_least": ["output_words=3"]}, "no signal 'output_words' can be bounded"),
    ({"at_most": ["outputs_chars=3"]}, "no signal 'outputs_chars'"),
    ({"at_most": ["output_chars=101%"]}, "between 0% and 100%"),
    ({"at_most": ["input_chars=99%"]}, "no row has a text in 'input'"),
    ({"preset": "cleen"}, "unknown preset 'cleen'"),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=lambda value: str(value)[:50])
def test_mistakes_are_sentences(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = written(tmp_path, EVERYTHING[:2])
    profile = measured(path, tmp_path)
    with pytest.raises(UsageError) as caught:
        entries_of(profile, **{"preset": None, "settings": [], "at_least": [], "at_most": []} | given)
    assert message in caught.value.message
    assert caught.value.hint


def test_numbers_are_described_as_numpy_counts_them() -> None:
    values = pl.Series([3.0, 1.0, 1.0, 200.0, 5.0]).to_numpy()
    told = describe(values, pl.Series([4, 5, 6, 7, 8], dtype=pl.UInt32).to_numpy())
    assert (told["count"], told["min"], told["max"], told["quantiles"]["0.5"]) == (5, 1, 200, 3)
    assert sum(told["histogram"]) == 5
    assert told["highest"][0] == [7, 200.0]
    assert [row for row, _ in told["lowest"][:2]] == [5, 6]
    assert describe(values[:0], values[:0].astype("uint32"))["count"] == 0


def test_the_command_measures_once_and_again_when_the_file_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.jsonl"
    rows = [
        {"instruction": f"Name {n} rivers of Asia.", "input": "", "output": "The Mekong. " * n} for n in range(1, 9)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    assert main(["profile", "mine.jsonl"]) == 0
    told = capsys.readouterr()
    assert "8 records measured" in told.err
    assert "1 rows cannot be read: malformed-json" in told.out
    assert "answers (8)" in told.out
    assert "gopher" in told.out

    assert main(["profile", "mine.jsonl", "--at-most", "output_chars=50%", "--json"]) == 0
    told = capsys.readouterr()
    assert "measured" not in told.err
    assert json.loads(told.out)["kept"] == 4

    assert main(["profile", "mine.jsonl", "--signal", "output_chars"]) == 0
    assert "row 7: 96" in capsys.readouterr().out

    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:5]))
    assert main(["profile", "mine.jsonl", "--json"]) == 0
    told = capsys.readouterr()
    assert "of another file or another version" in told.err
    assert json.loads(told.out)["records"] == 5

    monkeypatch.setattr(store, "code_hash", lambda: "another version")
    assert main(["profile", "mine.jsonl", "--json"]) == 0
    assert "of another file or another version" in capsys.readouterr().err


def test_mistakes_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"instruction": 3, "input": "", "output": ""}\n')
    (tmp_path / "good.jsonl").write_text('{"instruction": "Go.", "input": "", "output": "Gone."}\n')
    for words, message, code in (
        (["profile", "none.json"], "none.json: no such file", 1),
        (["profile", "."], ".: is a directory", 1),
        (["profile", "bad.jsonl"], "no row can be read (1 wrong-type)", 1),
        (["profile", "good.jsonl", "--signal", "output_char"], "there is no signal 'output_char'", 2),
        (["profile", "good.jsonl", "--save-recipe", "x.yaml"], "nothing to write into the recipe", 2),
        (["profile", "good.jsonl", "--format", "alpacca"], "there is no format 'alpacca'", 2),
    ):
        assert main(words) == code, words
        assert message in capsys.readouterr().err
    (tmp_path / "outputs" / "profile-good" / "taken").write_text("")
    assert main(["profile", "good.jsonl", "--run", "profile-good/taken"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not list(tmp_path.glob("outputs/*/.profile.partial"))
    assert not (tmp_path / "outputs" / "profile-bad").exists()


def test_terminal_escapes_of_a_hostile_row_are_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"instruction": "\x1b[31m[bold]red[/bold]", "input": "", "output": "\x1b]0;owned\x07 [link=x]y" * 3}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["profile", "mine.jsonl", "--at-most", "output_chars=1"]) == 0
    assert main(["profile", "mine.jsonl", "--signal", "output_chars"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]red[/bold]" in out


def decided_and_run(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[float, float]:
    """Profile, save, run; the run drops what the profile said. Seconds of the first and of the second call."""
    began = time.monotonic()
    assert main(["profile", str(data), "--json"]) == 0
    first = time.monotonic() - began
    capsys.readouterr()
    choice = ["--preset", "clean", "--set", "length.max_chars=1500", "--at-least", "output_chars=1%"]
    began = time.monotonic()
    assert main(["profile", str(data), *choice, "--json", "--save-recipe", "clean.yaml"]) == 0
    second = time.monotonic() - began
    told = json.loads(capsys.readouterr().out)
    assert main(["run", "clean.yaml", "--engine", "local", "--quiet"]) == 0
    capsys.readouterr()
    names = [entry.get("name", entry["stage"]) for entry in yaml.safe_load(Path("clean.yaml").read_text())["entries"]]
    assert names == ["read", "filter", "bounds-of-output"]
    for at, (name, entry) in enumerate(zip(names[1:], told["entries"], strict=True), 1):
        manifest = json.loads(Path(f"outputs/clean/{at:02d}-{name}/manifest.json").read_text())
        assert manifest["reasons"] == dict(sorted(entry["dropped"].items()))
        assert manifest["hits"] == dict(sorted(entry["hits"].items()))
        assert manifest["in"] == entry["in"]
        drops = pl.read_parquet(f"outputs/clean/{at:02d}-{name}/drops-*.parquet").select("id", "reason", "detail")
        evidence = {id: (reason, json.loads(detail)["value"]) for id, reason, detail in drops.iter_rows()}
        for sample in [sample for some in entry["samples"].values() for sample in some]:
            assert evidence[sample["id"]] == (sample["reason"], sample["value"])
    assert manifest["kept"] == told["kept"]
    return first, second


@real
def test_the_run_does_what_the_profile_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = json.loads((REAL / "alpaca_data.json").read_text(encoding="utf-8"))
    (tmp_path / "part.json").write_text(json.dumps(rows[:9_000]), encoding="utf-8")
    decided_and_run(tmp_path / "part.json", tmp_path, capsys)


@real
@pytest.mark.long
def test_the_run_does_what_the_profile_said_of_all_of_alpaca(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = decided_and_run(REAL / "alpaca_data.json", tmp_path, capsys)
    assert second < first / 4, f"measured in {first:.1f} s, decided in {second:.1f} s"


def test_a_conversation_counts_once_and_its_first_bad_turn_is_the_evidence(tmp_path: Path) -> None:
    turns = [
        ("user", "Hi"),
        ("assistant", "ab"),
        ("user", "Go on"),
        ("assistant", "abc" * 9),
        ("user", "So"),
        ("assistant", "a"),
    ]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    path = tmp_path / "chat.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    profile = measured(path, tmp_path)
    stages = {"filter": Filter(rules={"length": {"min_chars": 5}})}
    (ruling,) = decide(profile, stages, never, samples=5)
    assert ruling.hits == ruling.dropped | {"too-long-output": 0} == {"too-short-output": 2, "too-long-output": 0}
    assert [sample.value for sample in ruling.samples["too-short-output"]] == [2, 2]


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, EVERYTHING[:10])
    profile = measured(path, tmp_path)
    checks = {one.key: one.check for one in asked(Filter(rules={"belle": {}}))}
    written(tmp_path, EVERYTHING[:9])
    with pytest.raises(DataError, match="changed while it was read"):
        complete(profile, checks, Read(data=(str(path),)), lambda done: None)
