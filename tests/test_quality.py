"""The stage quality, prune by a model's threshold, a judged sample, and the way from a run to a model and back."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.errors import DataError, UsageError
from pipeline.pilot import _all_judged
from pipeline.quality.folder import read_model
from pipeline.quality.judged import judged_rows
from pipeline.quality.pair import pairs
from pipeline.record import Message, Record, digest, from_row, records_of, to_frame, to_row
from pipeline.stage import Outcome, merged
from pipeline.stages.prune import Prune
from pipeline.stages.quality import Quality, with_score
from pipeline.stages.score import Score
from pipeline.store import StageWriter
from tests.doubles import FunctionLLM, kept_ids, lend, reasons, run_rows, stream_of
from tests.quality_rows import model_in, records
from tests.runs import made_bytes, seedmill


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_in(tmp_path_factory.mktemp("quality"))


def stage(model: Path, **more: object) -> Quality:
    return Quality(classifier=str(model), **more)  # type: ignore[arg-type]


def scores(outcome: Outcome) -> dict[str, dict[str, float]]:
    frames = (outcome.kept, outcome.drops)
    return {r.id: dict(r.scores) for frame in frames for r in map(from_row, frame.iter_rows(named=True))}


def said(id: str, question: str, answer: str | None, **more: object) -> Record:
    turns = [Message(role="user", content=question)]
    if answer is not None:
        turns.append(Message(role="assistant", content=answer))
    return Record(id=id, messages=tuple(turns), **more)  # type: ignore[arg-type]


def test_every_record_gets_a_probability_and_keeps_its_other_scores(model: Path) -> None:
    rows = [replace(r, scores={"quality": 7.0, "zest": 1.0, "clarity": 2.0}) for r in records(40)]
    outcome = run_rows(stage(model), rows)
    assert kept_ids([outcome]) == [r.id for r in rows]
    for found in scores(outcome).values():
        assert list(found) == ["clarity", "quality", "zest"]
        assert 0 <= found["quality"] <= 1
    chance = np.array([found["quality"] for found in scores(outcome).values()])
    assert chance[::2].mean() > chance[1::2].mean() + 0.2  # every second one is good


def test_what_is_below_the_threshold_drops_with_its_probability(model: Path) -> None:
    rows = records(60)
    line = read_model(model).threshold
    all_scored = scores(run_rows(stage(model), rows))
    outcome = run_rows(stage(model, threshold="model"), rows)
    assert reasons([outcome]) == {"below-quality": sum(found["quality"] < line for found in all_scored.values())}
    assert outcome.kept.height > 20
    for drop in outcome.drops.iter_rows(named=True):
        detail = json.loads(drop["detail"])
        assert detail == {"probability": all_scored[drop["id"]]["quality"], "threshold": line}
        assert detail["probability"] < line
    assert run_rows(stage(model, threshold=1.0), rows).kept.is_empty()
    assert run_rows(stage(model, threshold=0), rows).drops.is_empty()


def test_the_judges_own_score_decides_where_there_is_one(model: Path) -> None:
    good, bad = records(2)
    rows = [replace(good, scores={"accuracy": 2.0}), replace(bad, id="b", scores={"accuracy": 5.0})]
    outcome = run_rows(stage(model, threshold="model"), rows)
    assert kept_ids([outcome]) == ["b"]
    assert outcome.notes == {"decided_by_judge": 2}
    detail = json.loads(outcome.drops["detail"][0])
    assert (detail["judge"], detail["score"], detail["good"]) == ("accuracy", 2.0, 4.5)


def test_unlearnt_languages_and_records_without_an_answer_are_not_judged(model: Path) -> None:
    rows = [
        said("ru", "Сколько будет два плюс два?", "Два плюс два будет четыре, это известно каждому."),
        said("ru-tagged", "river stone", "river", language="ru"),
        said("en-tagged", "река", "камень", language="en-GB"),
        said("told", "Please name the longest river of the country.", "The longest river is the one in the north."),
        said("silent", "river stone basket?", None, language="en"),
        said("empty", "river stone basket?", "  ", language="en"),
        Record(id="nothing"),
    ]
    for threshold in (None, "model", 1.0):
        outcome = run_rows(stage(model, threshold=threshold), rows)
        assert {id for id, found in scores(outcome).items() if found} == {"en-tagged", "told"}
        assert {"language_unseen": 2, "nothing_to_judge": 3}.items() <= outcome.notes.items()
        assert {"ru", "ru-tagged", "silent", "empty", "nothing"} <= set(outcome.kept["id"])


def test_the_pair_is_all_turns_and_the_last_answer() -> None:
    turns = ("user", "One?"), ("assistant", "Two."), ("user", "Three?"), ("assistant", "Four.")
    call = Message(role="assistant", content="", tool_calls='[{"name": "f"}]')
    block = to_frame(
        [
            Record(id="a", messages=tuple(Message(role=r, content=c) for r, c in turns), language="en"),  # type: ignore[arg-type]
            Record(id="b", messages=(Message(role="user", content="Call f."), call), language="en", input="it"),
            Record(id="c", messages=(Message(role="user", content="One?"),), language="zh-Hant"),
            Record(id="d", language="en"),
        ]
    )
    assert pairs(block).rows() == [
        ("a", "One?\nTwo.\nThree?", "Four.", "en"),
        ("b", "Call f.\nit", '[{"name": "f"}]', "en"),
        ("c", "One?", "", "zh"),
        ("d", "", "", "en"),
    ]


def test_blocks_do_not_matter(model: Path) -> None:
    rows = [*records(50), *records(20, language="ru"), said("silent", "river", None)]
    whole = run_rows(stage(model, threshold="model"), rows)
    parts = merged([run_rows(stage(model, threshold="model"), rows[at : at + 7]) for at in range(0, len(rows), 7)])
    assert whole.kept.equals(parts.kept)
    assert whole.drops.equals(parts.drops)
    assert whole.notes == parts.notes


def test_scores_without_a_value_are_taken_out() -> None:
    block = to_frame([Record(id="a", scores={"b": 1.0}), Record(id="b", scores={"q": 1.0}), Record(id="c")])
    found = with_score(block, "q", np.array([0.5, np.nan, 0.25]))
    assert [to_row(r)["scores"] for r in records_of(found)] == [
        [{"key": "b", "value": 1.0}, {"key": "q", "value": 0.5}],
        [],
        [{"key": "q", "value": 0.25}],
    ]


def test_mistakes_are_sentences(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="judge's own"):
        run_rows(stage(model, score="accuracy"), records(2))
    with pytest.raises(UsageError, match=r"4\.5 is no probability"):
        stage(model, threshold=4.5)
    with pytest.raises(UsageError, match="'modle' is no probability"):
        stage(model, threshold="modle")
    with pytest.raises(DataError, match="is not there"):
        run_rows(stage(tmp_path / "none"), records(2))
    broken = shutil.copytree(model, tmp_path / "broken")
    with (broken / "model.bin").open("r+b") as file:
        file.write(b"?")
    with pytest.raises(DataError, match="its bytes are not those"):
        run_rows(stage(broken), records(2))
    (broken / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="not the manifest of a quality model"):
        run_rows(stage(broken), records(2))


def test_prune_takes_the_models_threshold(model: Path, tmp_path: Path) -> None:
    rows = list(records_of(run_rows(stage(model), [*records(40), *records(3, language="ru")]).kept))
    rows = [replace(row, id=f"{at:03}") for at, row in enumerate(rows)]
    line = read_model(model).threshold
    best = Prune(score="quality", classifier=str(model))
    outcomes = list(best.run(stream_of(tmp_path, rows, 9), lend()))
    assert kept_ids(outcomes) == [row.id for row in rows if row.scores.get("quality", -1) >= line]
    assert reasons(outcomes)["unscored"] == 3
    outcomes = list(replace(best, unscored="keep").run(stream_of(tmp_path, rows, 9), lend()))
    assert kept_ids(outcomes) == [row.id for row in rows if row.scores.get("quality", 1) >= line]
    assert merged(outcomes).notes == {"unscored_kept": 3}
    assert reasons(outcomes) == {"below-threshold": 43 - len(kept_ids(outcomes))}
    few = Prune(score="quality", classifier=str(model), top_k=5, unscored="keep")
    assert len(kept_ids(few.run(stream_of(tmp_path, rows, 9), lend()))) == 8
    with pytest.raises(UsageError, match="needs a threshold"):
        Prune(classifier=str(model), threshold=0.5)


def test_a_sample_is_judged_and_a_larger_one_holds_it(tmp_path: Path) -> None:
    rows = [*records(50), said("silent", "river", None)]

    def judged_ids(sample: int | None) -> set[str]:
        llm = FunctionLLM(lambda request: "4")
        outcome = merged(list(Score(sample=sample, window=8).run(stream_of(tmp_path, rows, 13), lend(llm))))
        assert [*kept_ids([outcome]), *outcome.drops["id"]] == [
            row.id for row in rows if row.id not in set(outcome.drops["id"])
        ] + outcome.drops["id"].to_list()
        found = {id for id, score in scores(outcome).items() if "accuracy" in score}
        assert outcome.notes.get("not_sampled", 0) == len(rows) - min(len(rows), sample or len(rows))
        assert len(llm.asked) == len(found)
        return found | set(outcome.drops["id"])

    assert len(judged_ids(10)) == 10
    assert judged_ids(10) < judged_ids(25) < judged_ids(None)
    assert judged_ids(51) == judged_ids(None) == {row.id for row in rows}


def test_an_estimate_judges_all_of_its_pilot_and_counts_the_sample_alone() -> None:
    assert _all_judged(Score(sample=2_000), 50_000) == (Score(), 0.04)
    assert _all_judged(Score(sample=2_000), 500) == (Score(), 1.0)
    assert _all_judged(Score(), 500) == (Score(), 1.0)


RECIPE = """\
entries:
  - {stage: read, data: [rows.jsonl]}
  - {stage: prune, score: accuracy, threshold: 4.5, unscored: keep}
  - {stage: quality, classifier: made/model, threshold: model}
"""


def test_from_a_run_to_a_model_and_back(tmp_path: Path) -> None:
    rows = [to_row(r) for r in [*records(300, scored=True), *(replace(r, id=digest(r.id)) for r in records(30))]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    run = ("run", "recipe.yaml", "--run", "r", "--engine", "local", "--quiet")
    waiting = seedmill(*run, cwd=tmp_path)
    assert waiting.returncode == 1
    assert f"distill-scores RUN -o {tmp_path}/made/model" in waiting.stderr
    assert "Traceback" not in waiting.stderr
    wrong = seedmill(*run, "--set", "quality.classifier=rows.jsonl", cwd=tmp_path)
    assert (wrong.returncode, "rows.jsonl is a file" in wrong.stderr) == (2, True)
    unknown = seedmill("distill-scores", "r", "--score", "charm", cwd=tmp_path)
    assert (unknown.returncode, "scores there: accuracy" in unknown.stderr) == (2, True)
    made = seedmill("distill-scores", "r", "-o", "made/model", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    # What prune dropped was judged all the same.
    assert "300 judged rows of run 'r'" in made.stdout
    assert "warning" not in made.stdout
    done = seedmill(*run, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kept = pl.read_parquet(tmp_path / "outputs" / "r" / "02-quality" / "kept-*.parquet")
    assert kept["scores"].list.eval(pl.element().struct["key"] == "quality").list.any().all()
    bytes_of = made_bytes(tmp_path / "outputs" / "r")
    before = (tmp_path / "made" / "model" / "manifest.json").read_bytes()
    assert seedmill("distill-scores", "r", "-o", "made/model", cwd=tmp_path).returncode == 0
    assert (tmp_path / "made" / "model" / "manifest.json").read_bytes() == before
    assert seedmill(*run, "--block-size", "17", cwd=tmp_path).returncode == 0
    assert made_bytes(tmp_path / "outputs" / "r") == bytes_of


def test_the_judge_is_named_in_the_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "r" / "01-score"
    folder.parent.mkdir()
    writer = StageWriter(folder, 20)
    writer.add(Outcome.of(records(20, scored=True)))
    settings = {"model": "judge", "dimension": "accuracy", "prompt": None, "window": 4, "sample": None}
    facts = {
        "settings": settings,
        "models": {"judge": {"model": "oracle", "style": "chat"}},
        "fingerprint": "f",
        "previous": [],
    }
    manifest = writer.commit(facts)
    run = {"run": "r", "entries": [{"name": "score", "stage": "score", "folder": "01-score", "manifest": manifest}]}
    found = judged_rows(tmp_path / "r", run, "accuracy")
    assert found.rows.height == 20
    assert found.source["judge"] == {"judge": {"model": "oracle", "style": "chat"}}
    assert found.source["prompts"]["en"].startswith("score.chat.en@")
