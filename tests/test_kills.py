"""kill -9 at any moment loses nothing, repeats nothing and changes no byte."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.llm.fake.provider import FakeProvider
from tests.kills import POINTS, Trial, moments
from tests.runs import RECIPES


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(RECIPES / "calm.yaml", own_process=True) as running:
        yield running


@pytest.fixture(scope="module")
def reference(provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float]:
    """The bytes of an uninterrupted run, and its seconds."""
    trial = Trial(provider, tmp_path_factory.mktemp("reference"), "local")
    began = time.monotonic()
    return trial.finish(), time.monotonic() - began


def torture(trial: Trial, points: list[str], seconds: list[float]) -> dict[str, str]:
    """Kill at each point and moment, run to the end; after every step no durable call has been asked again."""
    trial.provider.reset()
    trial.outputs.mkdir(exist_ok=True)
    for point in points:
        before = trial.note()
        assert trial.kill_at_point(point), f"the run never came to {point}"
        trial.check(before)
    for moment in seconds:
        before = trial.note()
        trial.kill_after(moment)
        trial.check(before)
    before = trial.note()
    made = trial.finish()
    trial.check(before)
    return made


def verify(trial: Trial, made: dict[str, str], expected: dict[str, str]) -> None:
    assert made == expected
    trial.verify()


def test_kills_in_process(provider: FakeProvider, reference: tuple[dict[str, str], float], tmp_path: Path) -> None:
    expected, seconds = reference
    trial = Trial(provider, tmp_path, "local")
    made = torture(trial, list(POINTS), moments(1, 2, seconds))
    assert trial.kills == 8
    verify(trial, made, expected)


def test_kills_on_ray(provider: FakeProvider, reference: tuple[dict[str, str], float], tmp_path: Path) -> None:
    expected, seconds = reference
    trial = Trial(provider, tmp_path, "ray")
    made = torture(trial, ["reply-durable:20"], [seconds + 4])
    assert trial.kills == 2
    verify(trial, made, expected)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_a_hundred_seeded_kills(
    provider: FakeProvider, reference: tuple[dict[str, str], float], tmp_path: Path, seed: int
) -> None:
    """Twenty runs, each killed five times at points and moments of its own; every fifth on Ray."""
    expected, seconds = reference
    on_ray = seed % 5 == 4
    trial = Trial(provider, tmp_path, "ray" if on_ray else "local")
    dice = random.Random(seed)
    replies = [f"reply-durable:{n}" for n in sorted(dice.sample(range(1, 40), 2))]
    made = torture(trial, replies, moments(seed, 3, seconds * 0.8 + (8 if on_ray else 0)))
    verify(trial, made, expected)
