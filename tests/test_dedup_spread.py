"""Dedup through a shuffle: the same answer as in one process, whatever the shuffle and however many workers."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine.on_ray import RayEngine
from pipeline.record import Message, Record
from pipeline.similar.groups import packed, unite
from pipeline.stage import Outcome, Piece
from pipeline.stages.dedup import Dedup
from tests.doubles import lend, stream_of

WORDS = [f"w{k}" for k in range(300)]


def records(count: int, seed: int = 3) -> list[Record]:
    """Half of them repeat an earlier one with none to eight words replaced; some have an input, some no text."""
    rng = random.Random(seed)
    made: list[str] = []
    found = []
    for k in range(count):
        if made and rng.random() < 0.5:
            words = rng.choice(made).split()
            for place in rng.sample(range(len(words)), min(len(words), rng.randint(0, 8))):
                words[place] = rng.choice(WORDS)
            made.append(" ".join(words))
        else:
            made.append(" ".join(rng.choice(WORDS) for _ in range(rng.choice([0, 3, 40, 60]))))
        messages = (Message(role="user", content=f"task {rng.choice(WORDS)}"), Message(role="assistant", content="ok"))
        found.append(
            Record(id=f"r{k}", messages=messages, input=made[-1] or None)
            if k % 3 == 0
            else Record(id=f"r{k}", messages=(Message(role="user", content=made[-1]),), source=rng.choice("ab"))
        )
    return found


def shuffled(
    scatter: Callable[[Any, Any], pl.DataFrame],
    gather: Callable[[pl.DataFrame], pl.DataFrame],
    pieces: Sequence[tuple[Piece, Any]],
    parts: int,
) -> Iterator[pl.DataFrame]:
    """The contract of Tools.regroup at its worst: rows and parts in any order."""
    rows = pl.concat([scatter(piece.load(), argument) for piece, argument in pieces]).sample(fraction=1, shuffle=True)
    assert rows["part"].max() < parts
    for _, group in rows.group_by("part", maintain_order=False):
        yield gather(group)


def made(folder: Path, given: Sequence[Record], stage: Dedup, regroup: Any, block: int = 11) -> list[Any]:
    tools = replace(lend(folder=folder / "01-dedup"), regroup=regroup)
    outcomes: list[Outcome] = list(stage.run(stream_of(folder, given, block), tools))
    frames = [pl.concat([getattr(o, part) for o in outcomes]).to_dicts() for part in ("kept", "drops")]
    return [*frames, [o.notes for o in outcomes]]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred records are spread over several parts."""
    monkeypatch.setattr("pipeline.stages.dedup.SPREAD_FROM", 0)
    monkeypatch.setattr("pipeline.stages.dedup_spread._KEYS_A_PART", 1500)
    monkeypatch.setattr("pipeline.stages.dedup_spread._ROWS_A_PART", 10)


STAGES = [
    Dedup(),
    Dedup(cluster="components", keep="longest"),
    Dedup(method="minhash", outside_input=0.0, fields="pair"),
    Dedup(keep="best_source", sources=("b", "a"), num_perm=64),
    Dedup(method="exact"),
]


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: f"{s.method}-{s.keep}-{s.cluster}")
def test_a_shuffle_changes_nothing(tmp_path: Path, stage: Dedup) -> None:
    given = records(200)
    reference = made(tmp_path, given, stage, None)
    assert len(reference[1]) > (3 if stage.method == "exact" else 10)
    for block in (1, 11, 1000):
        assert made(tmp_path, given, stage, shuffled, block)[:2] == reference[:2]


def test_other_datasets_and_an_index_through_a_shuffle(tmp_path: Path) -> None:
    given = records(120)
    rows = [{"instruction": r.instruction, "input": r.input or "", "output": r.output} for r in records(120)[::4]]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = []
    for name, regroup in (("one", None), ("many", shuffled)):
        stage = Dedup(against=(str(tmp_path / "b.jsonl"),), index=str(tmp_path / name))
        answers.append([])
        for part, batch in enumerate((given[:50], given[50:])):
            folder = tmp_path / f"{name}{part}"
            folder.mkdir()
            answers[-1].append(made(folder, batch, stage, regroup))
    assert answers[0] == answers[1]
    assert any("batch" in json.loads(drop["detail"]) for drop in answers[0][1][1])
    assert any("file" in json.loads(drop["detail"]) for drop in answers[0][1][1])


@pytest.mark.parametrize("workers", [*(pytest.param(n, marks=pytest.mark.long) for n in (1, 2)), 4])
def test_ray_gives_the_same_clusters(tmp_path: Path, workers: int) -> None:
    given = records(80)
    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error")
    engine = RayEngine()
    try:
        for stage in (Dedup(), Dedup(cluster="components")) if workers == 2 else (Dedup(),):
            assert made(tmp_path, given, stage, engine.regroup, 40) == made(tmp_path, given, stage, None, 40)
    finally:
        engine.close()
        ray.shutdown()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15), st.integers(1, 5))
def test_groups_are_laid_whole(links: list[tuple[int, int]], rows: int) -> None:
    group = list(range(12))
    for a, b in links:
        group = [group[a] if g == group[b] else g for g in group]
    roots = np.arange(12)
    unite(roots, np.array([a for a, _ in links], np.int64), np.array([b for _, b in links], np.int64))
    parts = packed(roots, rows).tolist()
    for text in range(12):
        alone = group.count(group[text]) == 1
        assert (parts[text] == -1) == alone
        assert len({parts[other] for other in range(12) if group[other] == group[text]}) == 1
