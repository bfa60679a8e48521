"""From judged rows to a quality model: split, train, calibrate, choose a threshold, and measure on held-out rows."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.quality.classifier import read_classifier
from pipeline.quality.figures import HeldOut, figures
from pipeline.quality.folder import DECIMALS, calibrated, write_model
from pipeline.quality.judged import Judged
from pipeline.quality.learn import SETTINGS, train
from pipeline.quality.line import lines_of
from pipeline.quality.logistic import fit, platt, probability
from pipeline.quality.splits import CALIBRATION, HELD_OUT, SIMILARITY, TRAIN, Splits, split
from pipeline.quality.threshold import choose, good_needed

LEAST_ROWS, LEAST_OF_CLASS = 200, 30
"""Below, a classifier would learn the rows and its figures would say nothing."""

LEAST_OF_LANGUAGE = 30
"""Rows trained on from which a language counts as learnt."""

_PARTS = {"train": TRAIN, "calibration": CALIBRATION, "held_out": HELD_OUT}


@dataclass(frozen=True, slots=True)
class Aim:
    """What is wanted of the model.

    Attributes:
        score: name of the judge's score.
        good: lowest score of a good row.
        recall: share of the good rows that the threshold is to keep.
    """

    score: str
    good: float
    recall: float


def distill(judged: Judged, aim: Aim, folder: Path) -> dict[str, Any]:
    """Make the model's folder; its manifest.

    The result is a function of the rows, whatever their order: the same rows give the same bytes.

    Raises:
        DataError: too few rows, of one class or in all.
    """
    rows = judged.rows.sort("id", "score", "question", "answer")
    good = rows["score"].to_numpy() >= aim.good
    _require_enough(good, aim)
    splits = split(rows["id"].to_list(), rows.select(pl.concat_str("question", "answer", separator="\n")).to_series())
    _require_both(good, splits)

    def make(path: Path) -> Mapping[str, Any]:
        return _made(rows, good, splits, aim, path) | {"source": dict(judged.source)}

    return write_model(folder, make)


def _require_enough(good: NDArray[np.bool_], aim: Aim) -> None:
    hint = "raise 'sample' of the run's score entry and run it again: rows that were judged are not paid for twice"
    if len(good) < LEAST_ROWS:
        raise DataError(
            f"{len(good)} rows have a score '{aim.score}': too few to learn from, {LEAST_ROWS} are the least and 2,000 "
            "a fair number",
            hint,
        )
    count = int(good.sum())
    if count < LEAST_OF_CLASS or len(good) - count < LEAST_OF_CLASS:
        few, what = (count, "good") if count < LEAST_OF_CLASS else (len(good) - count, "not good")
        raise DataError(
            f"{few} of {len(good):,} judged rows are {what} ('{aim.score}' {'from' if what == 'good' else 'below'} "
            f"{aim.good:g}): too few to learn from, {LEAST_OF_CLASS} are the least",
            f"{hint}; or draw the line elsewhere with --good",
        )
    if count < good_needed(aim.recall):
        raise DataError(
            f"a threshold for a recall of {aim.recall:g} needs {good_needed(aim.recall)} good rows to be chosen on",
            f"there are {count} in all: ask for less with --recall, or judge more rows",
        )


def _require_both(good: NDArray[np.bool_], splits: Splits) -> None:
    """Near-duplicates stay together, so a set of copies may leave a part without one of the classes."""
    for name, part in _PARTS.items():
        mine = good[splits.part == part]
        if mine.all() or not mine.any():
            raise DataError(
                f"the rows are so much alike that all {len(mine)} of one part ({name}) are of one class",
                "drop near-duplicates (an entry 'dedup') before rows are judged",
            )


def _made(rows: pl.DataFrame, good: NDArray[np.bool_], splits: Splits, aim: Aim, path: Path) -> dict[str, Any]:
    lines, ids = lines_of(rows["question"], rows["answer"]), rows["id"].to_list()
    training, held = np.flatnonzero(splits.part == TRAIN), splits.part == HELD_OUT
    calibrating = splits.part == CALIBRATION
    texts = lines.texts()
    train([texts[row] for row in training], [ids[row] for row in training], good[training], path)
    logits = read_classifier(path).logits(lines)
    slope, intercept = platt(logits[calibrating], good[calibrating])
    chance = calibrated(logits, slope, intercept)
    threshold = choose(chance[calibrating & good], aim.recall)
    by_length, length_threshold = _by_length(rows, good, splits, aim.recall)
    told = HeldOut(
        probability=chance[held],
        score=rows["score"].to_numpy()[held],
        good=good[held],
        by_length=by_length[held],
        length=rows["answer"].str.len_chars().to_numpy()[held].astype(np.float64),
        language=rows["language"].to_numpy()[held].astype(np.str_),
        group=splits.group[held],
    )
    return {
        "score": aim.score,
        "good": aim.good,
        "threshold": {
            "probability": threshold.probability,
            "recall": threshold.recall,
            "chosen_on_good": threshold.good,
            "recall_expected": round(threshold.expected, 4),
            "recall_at_least": round(threshold.at_least, 4),
        },
        "calibration": {"slope": slope, "intercept": intercept},
        "counts": {name: _count(good, splits.part == part) for name, part in _PARTS.items()}
        | {"groups": len(np.unique(splits.group)), "similarity": SIMILARITY},
        "languages": _languages(rows, good, splits.part == TRAIN),
        "figures": figures(told, threshold.probability, length_threshold),
        "training": {**SETTINGS, "thread": 1, "seed": 1, "smaller_class": "repeated"},
        "versions": {name: importlib.metadata.version(name) for name in ("fasttext-wheel", "numpy", "polars")},
    }


def _count(good: NDArray[np.bool_], mine: NDArray[np.bool_]) -> dict[str, int]:
    return {"rows": int(mine.sum()), "good": int(good[mine].sum())}


def _languages(rows: pl.DataFrame, good: NDArray[np.bool_], training: NDArray[np.bool_]) -> dict[str, dict[str, int]]:
    """Languages with enough rows to have been learnt, of both classes."""
    tags = rows["language"].to_numpy().astype(np.str_)
    found = {tag: _count(good, training & (tags == tag)) for tag in sorted(set(tags.tolist()))}
    return {
        tag: count
        for tag, count in found.items()
        if count["rows"] >= LEAST_OF_LANGUAGE and 0 < count["good"] < count["rows"]
    }


def _by_length(
    rows: pl.DataFrame, good: NDArray[np.bool_], splits: Splits, recall: float
) -> tuple[NDArray[np.float64], float]:
    """What lengths alone tell: a logistic regression on their logarithms and the squares of these, trained alike."""
    logs = [np.log1p(rows[name].str.len_chars().to_numpy().astype(np.float64)) for name in ("question", "answer")]
    training, calibrating = splits.part == TRAIN, splits.part == CALIBRATION
    scaled = [(log - log[training].mean()) / (log[training].std() or 1.0) for log in logs]
    x = np.column_stack([np.ones(len(rows)), *scaled, *(log * log for log in scaled)])
    chance = np.round(probability(x @ fit(x[training], good[training].astype(np.float64), 1.0)), DECIMALS)
    return chance, choose(chance[calibrating & good], recall).probability
