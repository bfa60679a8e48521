"""The same bytes from every engine and at every block size."""

import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest

from pipeline.engine.on_ray import RayEngine
from pipeline.errors import SeedmillError, UsageError
from tests.runs import made_bytes, seedmill

WORDS = [
    "river",
    "stone",
    "lamp",
    "wind",
    "paper",
    "glass",
    "bread",
    "cloud",
    "iron",
    "seed",
    "salt",
    "rope",
    "clock",
    "field",
    "bridge",
    "candle",
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred rows with what every cleaning entry has something to say about."""
    draw = random.Random(5)
    rows = []
    for n in range(100):
        instruction = f"Explain in one paragraph how {draw.choice(WORDS)} and {draw.choice(WORDS)} differ, case {n}."
        output = " ".join(draw.choice(WORDS) for _ in range(30)) + "."
        rows.append({"instruction": instruction, "input": draw.choice(["", "<noinput>", "a&amp;b"]), "output": output})
    for n in range(0, 100, 10):
        rows[n]["output"] = draw.choice(["", "As an AI language model, I cannot do that.", rows[n]["output"]])
    rows += [dict(rows[1]), dict(rows[2]), rows[3] | {"output": rows[3]["output"] + " Indeed."}]
    path = tmp_path_factory.mktemp("data") / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def clean(dataset: Path, outputs: Path, *options: object) -> dict[str, str]:
    done = seedmill("clean", dataset, "--run", "x", "--outputs", outputs, "--engine", "local", "--quiet", *options)
    assert done.returncode == 0, done.stderr
    return made_bytes(outputs / "x")


def test_block_sizes_agree(dataset: Path, tmp_path: Path) -> None:
    """That Ray agrees too is seen by test_whole and, on a cluster, by test_submit."""
    reference = clean(dataset, tmp_path / "local-1000", "--block-size", 1000)
    assert any(name.startswith("export/") for name in reference)
    for size in (1, 7):
        assert clean(dataset, tmp_path / f"local-{size}", "--block-size", size) == reference


@pytest.mark.long
def test_ray_agrees(dataset: Path, tmp_path: Path) -> None:
    reference = clean(dataset, tmp_path / "local")
    assert clean(dataset, tmp_path / "ray", "--engine", "ray", "--block-size", 20) == reference


@dataclass(frozen=True)
class Numbers:
    """A slice that is made where it is loaded."""

    first: int

    def load(self) -> pl.DataFrame:
        return pl.DataFrame({"n": [self.first, self.first + 1]})


def total(frame: pl.DataFrame) -> int:
    """Waits longer for smaller numbers, so that results come back out of order."""
    first = int(frame["n"][0])
    time.sleep(0.05 if first % 4 == 0 else 0.0)
    if first == 1000:
        raise UsageError("no such number", "take another")
    if first == 2000:
        raise ZeroDivisionError
    if first == 3000:
        os._exit(1)
    return int(frame["n"].sum())


@pytest.fixture(scope="module")
def ray_engine() -> Iterator[RayEngine]:
    engine = RayEngine()
    yield engine
    engine.close()


def mapped(engine: RayEngine, firsts: Sequence[int]) -> Iterator[int]:
    return engine.map(total, cast(Any, [Numbers(first) for first in firsts]))


def test_ray_gives_results_in_order_and_errors_as_they_were_raised(ray_engine: RayEngine) -> None:
    assert list(mapped(ray_engine, [])) == []
    assert list(mapped(ray_engine, range(0, 80, 2))) == [2 * n + 1 for n in range(0, 80, 2)]
    some = mapped(ray_engine, [0, 2, *[1000] * 3, 4])
    assert [next(some), next(some)] == [1, 5]
    with pytest.raises(UsageError, match="no such number") as told:
        next(some)
    assert told.value.hint == "take another"
    with pytest.raises(ZeroDivisionError):
        list(mapped(ray_engine, [2000]))
    left = mapped(ray_engine, range(0, 400, 2))
    assert next(left) == 1
    left.close()  # type: ignore[attr-defined]
    assert list(mapped(ray_engine, [6])) == [13], "nothing of what nobody wants any more stands in the way"


def test_a_cluster_may_shrink_meanwhile(ray_engine: RayEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([8.0, 8.0, 1.0])
    ray_engine.start()
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": next(sizes, 1.0)})
    assert list(mapped(ray_engine, range(0, 80, 2))) == [2 * n + 1 for n in range(0, 80, 2)]


def test_a_worker_that_dies_again_and_again_is_a_sentence(ray_engine: RayEngine) -> None:
    with pytest.raises(SeedmillError, match="a Ray worker has died again and again"):
        list(mapped(ray_engine, [3000]))
