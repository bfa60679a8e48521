"""Prune: thresholds, the best of each group, ties, and records that nobody has judged."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.record import Message, Record, digest
from pipeline.stage import Outcome
from pipeline.stages.prune import Prune
from tests.doubles import kept_ids, lend, reasons, stream_of


def record(id: str, score: float | None = None, output: str = "x", **more: Any) -> Record:
    scores = {"clarity": 5.0} | ({} if score is None else {"accuracy": float(score)})
    return Record(id=id, messages=(Message(role="assistant", content=output),), scores=scores, **more)


def run(folder: Path, records: Sequence[Record], stage: Prune, block: int = 1000) -> list[Outcome]:
    return list(stage.run(stream_of(folder, records, block), lend()))


def details(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    drops = pl.concat([o.drops for o in outcomes])
    return {row["id"]: {"reason": row["reason"], **json.loads(row["detail"])} for row in drops.iter_rows(named=True)}


def test_threshold(tmp_path: Path) -> None:
    records = [record("a", 4.5), record("b", 4.0), record("c"), record("d", 5.0), record("e", float("nan"))]
    outcomes = run(tmp_path, records, Prune(threshold=4.5))
    assert kept_ids(outcomes) == ["a", "d"]
    assert details(outcomes) == {
        "b": {"reason": "below-threshold", "name": "accuracy", "score": 4.0, "cut": 4.5},
        "c": {"reason": "unscored", "name": "accuracy"},
        "e": {"reason": "unscored", "name": "accuracy"},
    }


def test_top_k_breaks_ties_by_length_then_id(tmp_path: Path) -> None:
    records = [
        record("d", 3),
        record("c", 3),
        record("b", 3, "longer"),
        record("a", 1, "longest of all"),
        record("e", 4),
    ]
    assert kept_ids(run(tmp_path, records, Prune(top_k=1))) == ["e"]
    assert kept_ids(run(tmp_path, records, Prune(top_k=2))) == ["b", "e"]
    outcomes = run(tmp_path, records, Prune(top_k=3))
    assert kept_ids(outcomes) == ["c", "b", "e"]
    assert details(outcomes) == {
        "d": {"reason": "below-top-k", "name": "accuracy", "score": 3.0, "cut": 3.0},
        "a": {"reason": "below-top-k", "name": "accuracy", "score": 1.0, "cut": 3.0},
    }
    assert len(kept_ids(run(tmp_path, records, Prune(top_k=99)))) == 5


def test_top_k_after_a_threshold(tmp_path: Path) -> None:
    records = [record("a", 5), record("b", 4), record("c", 3), record("d", 2), record("e")]
    outcomes = run(tmp_path, records, Prune(threshold=3, top_k=2))
    assert kept_ids(outcomes) == ["a", "b"]
    assert reasons(outcomes) == {"below-threshold": 1, "below-top-k": 1, "unscored": 1}


@pytest.mark.parametrize(
    ("rows", "share", "kept"),
    [(10, 0.25, 3), (10, 0.3, 3), (100, 0.07, 7), (1, 0.01, 1), (4, 1.0, 4), (30, 0.1, 3)],
)
def test_top_share_is_rounded_up_from_the_share_as_written(tmp_path: Path, rows: int, share: float, kept: int) -> None:
    records = [record(f"r{i:03}", i) for i in range(rows)]
    outcomes = run(tmp_path, [*records, record("unscored")], Prune(top_share=share), 7)
    assert kept_ids(outcomes) == [r.id for r in records[-kept:]]
    assert reasons(outcomes) == {"unscored": 1} | ({"below-top-share": rows - kept} if rows > kept else {})


def test_groups(tmp_path: Path) -> None:
    records = [
        record("a", 1, language="zh", tags={"topic": "art"}),
        record("b", 5, language="en", tags={"topic": "art"}),
        record("c", 4, language="en", tags={"topic": "law"}),
        record("d", 3),
        record("e", 2),
    ]
    by_language = run(tmp_path, records, Prune(top_k=1, per="language"))
    assert kept_ids(by_language) == ["a", "b", "d"]
    assert details(by_language)["c"] == {
        "reason": "below-top-k",
        "name": "accuracy",
        "score": 4.0,
        "cut": 5.0,
        "group": "en",
    }
    assert details(by_language)["e"] == {"reason": "below-top-k", "name": "accuracy", "score": 2.0, "cut": 3.0}
    assert kept_ids(run(tmp_path, records, Prune(top_share=0.5, per="tag:topic"))) == ["b", "c", "d"]
    assert kept_ids(run(tmp_path, records, Prune(top_k=1, per="tag:nothing"))) == ["b"]


def test_another_score(tmp_path: Path) -> None:
    records = [record("a", 1), record("b", 5)]
    assert kept_ids(run(tmp_path, records, Prune(score="clarity", threshold=5))) == ["a", "b"]
    assert reasons(run(tmp_path, records, Prune(score="depth", threshold=5))) == {"unscored": 2}
    assert reasons(run(tmp_path, records, Prune(score="depth", top_k=5))) == {"unscored": 2}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.none() | st.integers(0, 4), st.sampled_from("xyz"), st.integers(0, 2)), max_size=14),
    k=st.integers(1, 4),
    block=st.integers(1, 15),
)
def test_best_k_of_each_group_at_any_block_size(tmp_path: Path, rows: list[Any], k: int, block: int) -> None:
    records = [record(digest(i), s, "w" * n, language=g) for i, (s, g, n) in enumerate(rows)]
    best: set[str] = set()
    for group in "xyz":
        members = [r for r in records if r.language == group and "accuracy" in r.scores]
        best |= {r.id for r in sorted(members, key=lambda r: (-r.scores["accuracy"], -len(r.output), r.id))[:k]}
    outcomes = run(tmp_path, records, Prune(top_k=k, per="language"), block)
    assert kept_ids(outcomes) == [r.id for r in records if r.id in best]
    assert sum(len(o.kept) + len(o.drops) for o in outcomes) == len(records)
    whole = run(tmp_path, records, Prune(top_k=k, per="language"))
    assert details(outcomes) == details(whole) if records else outcomes == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "given: none"),
        ({"top_k": 3, "top_share": 0.5}, "given: top_k, top_share"),
        ({"threshold": 1.0, "top_share": 0.5}, "given: threshold, top_share"),
        ({"threshold": float("nan")}, "threshold of nan"),
        ({"top_k": 0}, "keeps nothing"),
        ({"top_share": 0.0}, "top_share is 0"),
        ({"top_share": 25.0}, "at most 1"),
        ({"top_k": 1, "per": "tag:"}, "names no tag"),
        ({"top_k": 1, "per": "topic"}, "valid ones: language, tag:NAME"),
        ({"threshold": 1.0, "per": "language"}, "do not matter"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Prune(**settings)
