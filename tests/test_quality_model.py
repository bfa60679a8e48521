"""Quality models: what they read, that ours is fastText's, their splits, thresholds and figures."""

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError, UsageError
from pipeline.quality import figures
from pipeline.quality.classifier import GOOD, read_classifier
from pipeline.quality.distill import Aim, distill
from pipeline.quality.folder import FILES, read_model
from pipeline.quality.judged import Judged
from pipeline.quality.line import lines_of
from pipeline.quality.logistic import platt, probability
from pipeline.quality.splits import split
from pipeline.quality.threshold import choose, good_needed
from pipeline.record import digest
from tests.quality_rows import AIM, judged, model_in

PIECES = [*"aZ1９Ａ!?.,¶ \n\t\0\x85é日か한ไ", "</s>", "__label__good", "\u200b", "river", "stone", "山水"]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.characters(exclude_categories=["Cs"])), max_size=40).map("".join)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_in(tmp_path_factory.mktemp("quality"), [judged(400), judged(300, language="zh")])


@pytest.fixture(scope="module")
def library(model: Path) -> Any:
    import fasttext

    fasttext.FastText.eprint = lambda *words: None
    return fasttext.load_model(str(model / "model.bin"))


def line(question: str, answer: str) -> str:
    return lines_of(pl.Series([question]), pl.Series([answer])).texts()[0]


def test_a_line() -> None:
    assert line("Name two rivers.\n\nIn ＵＳ!", "Two rivers: 12 km") == (
        "?name ?two ?rivers ?. ?¶ ?in ?us ?! =2 ~2 !10 two rivers : 00 km"
    )
    assert line("你好吗", "好的，你好。") == "?你 ?好 ?吗 =2 ~7 !7 好 的 , 你 好 。"
    assert line("", "") == "=0 ~0 !0"
    assert line("", "x" * 50).split()[-1] == "x" * 32


@given(TEXTS, TEXTS)
def test_no_text_can_be_a_label_or_end_its_line(question: str, answer: str) -> None:
    tokens = line(question, answer).split(" ")
    assert all(tokens)
    assert not any(re.search(r"[\x00-\x20\x7f-\x9f]|^__label__|^</s>$", token) for token in tokens)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_a_line_is_a_function_of_its_own_pair(pairs: list[tuple[str, str]]) -> None:
    together = lines_of(pl.Series([q for q, _ in pairs]), pl.Series([a for _, a in pairs])).texts()
    assert together == [line(question, answer) for question, answer in pairs]


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS)
def test_our_probabilities_are_fasttexts(model: Path, library: Any, question: str, answer: str) -> None:
    lines = lines_of(pl.Series([question]), pl.Series([answer]))
    ours = float(probability(read_model(model).classifier.logits(lines))[0])
    theirs = {label: chance for chance, label in library.f.predict(lines.texts()[0] + "\n", 2, 0.0, "strict")}
    assert ours == pytest.approx(theirs[GOOD], abs=1e-4)


def test_equal_rows_give_equal_bytes_in_any_order(tmp_path: Path) -> None:
    rows = judged(240)
    turned = Judged(rows.rows.sample(fraction=1, shuffle=True, seed=3), rows.source)
    distill(rows, AIM, tmp_path / "one")
    distill(turned, AIM, tmp_path / "other")
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "other"]


def test_the_manifest_holds_figures_and_no_texts(model: Path) -> None:
    text = (model / "manifest.json").read_text(encoding="utf-8")
    assert not re.search("river|stone|basket|[山水火木]", text)
    found = json.loads(text)
    assert found["figures"]["auc"][1] > 0.7
    assert found["figures"]["baselines"]["auc_above_length"] is not None
    assert found["figures"]["brier"][2] < found["figures"]["baselines"]["share_brier"]
    assert set(found["languages"]) == set(found["figures"]["languages"]) == {"en", "zh"}
    parts = [found["counts"][part] for part in ("train", "calibration", "held_out")]
    assert sum(part["rows"] for part in parts) == 700
    cells = found["figures"]["at_threshold"]["confusion"]
    assert sum(cells.values()) == found["figures"]["rows"] == parts[2]["rows"]


def test_no_near_duplicate_is_in_another_part() -> None:
    dice = random.Random(1)
    words = [f"word{i}" for i in range(400)]
    texts = [dice.choices(words, k=40) for _ in range(150)]
    copies = [[*text[:39], "other"] for text in texts]
    ids = [digest(i) for i in range(300)]
    found = split(ids, pl.Series([" ".join(text) for text in texts + copies]))
    assert (found.part[:150] == found.part[150:]).all()
    assert set(found.part.tolist()) == {0, 1, 2}
    order = dice.sample(range(300), 300)
    again = split([ids[i] for i in order], pl.Series([" ".join((texts + copies)[i]) for i in order]))
    assert again.part.tolist() == found.part[order].tolist()


@pytest.mark.parametrize("recall", [0.8, 0.9, 0.95])
def test_the_threshold_keeps_what_it_promises(recall: float) -> None:
    random_numbers = np.random.default_rng(1)
    chosen = [choose(np.round(random_numbers.random(120), 6), recall) for _ in range(2_000)]
    real = np.array([1 - found.probability for found in chosen])  # of uniform rows, that many reach it
    assert real.mean() == pytest.approx(chosen[0].expected, abs=0.005)
    assert chosen[0].expected >= recall
    assert (real >= chosen[0].at_least).mean() == pytest.approx(0.95, abs=0.015)


@given(st.floats(0.5, 0.99))
def test_how_many_good_rows_a_threshold_needs(recall: float) -> None:
    needed = good_needed(recall)
    assert choose(np.linspace(0, 1, needed), recall).expected >= recall - 1e-9
    if needed > 1:
        with pytest.raises(DataError, match="good rows to be chosen on"):
            choose(np.linspace(0, 1, needed - 1), recall)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_figures_are_what_their_names_say(rows: list[tuple[bool, int, int]]) -> None:
    good = np.array([g for g, _, _ in rows])
    chance, score = (np.array([row[i] for row in rows], np.float64) for i in (1, 2))
    pairs = [(a > b) + (a == b) / 2 for a in chance[good] for b in chance[~good]]
    assert figures.auc(good, chance) == pytest.approx(np.mean(pairs) if pairs else np.nan, nan_ok=True)
    if len(set(chance)) > 1 and len(set(score)) > 1:
        assert figures.spearman(score, chance) == pytest.approx(scipy.stats.spearmanr(score, chance).statistic)
    kept = chance > 2
    agreed = np.mean(good == kept)
    by_chance = sum(np.mean(good == value) * np.mean(kept == value) for value in (True, False))
    expected = (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else np.nan
    assert figures.kappa(good, kept) == pytest.approx(expected, nan_ok=True, abs=1e-9)


def test_calibration_finds_the_odds_and_never_turns_the_order_round() -> None:
    random_numbers = np.random.default_rng(2)
    logits = random_numbers.normal(size=20_000) * 3
    slope, intercept = platt(logits, random_numbers.random(20_000) < probability(0.5 * logits - 1))
    assert (slope, intercept) == pytest.approx((0.5, -1), abs=0.1)
    slope, _ = platt(logits, random_numbers.random(20_000) < probability(-logits))
    assert slope > 0


def test_a_judge_whose_scores_cannot_be_told_from_the_words(tmp_path: Path) -> None:
    found = distill(judged(400, noise=0.5), AIM, tmp_path / "model")
    assert not figures.beats_chance(found["figures"])


@pytest.mark.parametrize(
    ("rows", "aim", "message"),
    [
        (judged(150), AIM, "150 rows have a score 'accuracy': too few"),
        (judged(300, share=0.02, noise=0), AIM, "6 of 300 judged rows are good"),
        (judged(300, share=1, noise=0), AIM, "0 of 300 judged rows are not good"),
        (judged(300), Aim("accuracy", 4.5, 0.999), "recall of 0.999 needs 999 good rows"),
        (judged(300, share=0.15, noise=0), Aim("accuracy", 4.5, 0.97), "recall of 0.97 needs 33 good rows"),
    ],
)
def test_too_few_rows_are_a_sentence_and_no_model(tmp_path: Path, rows: Judged, aim: Aim, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        distill(rows, aim, tmp_path / "model")
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_copies_of_one_row_cannot_be_split(tmp_path: Path) -> None:
    rows = judged(300).rows.with_columns(question=pl.lit("Name five rivers of this land."), answer=pl.lit("No, none."))
    with pytest.raises(DataError, match="so much alike"):
        distill(Judged(rows, {}), AIM, tmp_path / "model")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, model: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(UsageError, match="is no quality model"):
        distill(judged(240), AIM, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 4_000), junk=st.binary(max_size=40))
def test_a_damaged_file_is_a_sentence(
    model: Path, tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.bin"
    path.write_bytes((model / "model.bin").read_bytes()[:cut] + junk)
    with pytest.raises(ValueError):  # noqa: PT011
        read_classifier(path)


@pytest.mark.skipif("REAL_DATA" not in os.environ, reason="REAL_DATA names no folder")
@pytest.mark.parametrize(
    ("name", "language", "least"),
    [("alpaca_data.json", "en", 0.8), ("alpaca_zh_translated_00000_03252.json", "zh", 0.75)],
)
def test_damaged_answers_are_told_from_real_ones(tmp_path: Path, name: str, language: str, least: float) -> None:
    """Every second answer of the first 2,400 is cut short or another row's."""
    rows = json.loads((Path(os.environ["REAL_DATA"]) / name).read_text(encoding="utf-8"))[:2_400]
    questions = [f"{row['instruction']}\n{row.get('input', '')}".strip() for row in rows]
    answers = [row["output"] for row in rows]
    damaged = [
        answer if i % 2 else answers[(i + 700) % len(rows)] if i % 4 else answer[: len(answer) * 6 // 10]
        for i, answer in enumerate(answers)
    ]
    table = pl.DataFrame(
        {
            "id": [digest(name, i) for i in range(len(rows))],
            "question": questions,
            "answer": damaged,
            "language": [language] * len(rows),
            "score": [5.0 if i % 2 else 2.0 for i in range(len(rows))],
        }
    ).filter(pl.col("answer") != "")
    found = distill(Judged(table, {}), AIM, tmp_path / "model")["figures"]
    assert found["auc"][0] > least
    assert figures.beats_length(found)
    recall = found["at_threshold"]["recall"]
    assert recall[1] < 0.93
    assert recall[2] > 0.87
