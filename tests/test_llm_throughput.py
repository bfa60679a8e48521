"""Servers that never refuse and only get slower, on a simulated clock."""

import random
from collections.abc import Callable

import pytest

from pipeline.llm.gate import Gate
from tests.endpoints import Clock, Endpoint, drive

Size = Callable[[random.Random, float], tuple[float, float]]


def even(rng: random.Random, now: float) -> tuple[float, float]:
    return 1.0, 100.0


def noisy(rng: random.Random, now: float) -> tuple[float, float]:
    return rng.expovariate(1.0), 100.0


def sized(rng: random.Random, now: float) -> tuple[float, float]:
    size = rng.lognormvariate(0, 0.8)
    return size, 100.0 * size


def misleading(rng: random.Random, now: float) -> tuple[float, float]:
    """Sizes that have nothing to do with the time they take."""
    return rng.uniform(0.8, 1.2), 100.0 * rng.lognormvariate(0, 1.0)


def with_a_slow_phase(rng: random.Random, now: float) -> tuple[float, float]:
    return rng.uniform(0.7, 1.3) * (5.0 if 1300 <= now < 1500 else 1.0), 100.0


def capped(most: int) -> Callable[[int], float]:
    return lambda calls: float(min(calls, most))


def worse_beyond(most: int) -> Callable[[int], float]:
    return lambda calls: float(calls) if calls <= most else max(0.3 * most, most - 0.25 * (calls - most))


def share_of_best(
    total: Callable[[int], float],
    size: Size,
    best: float,
    *,
    seed: int,
    concurrency: int = 256,
    minutes: int = 20,
    settled: int = 3,
) -> tuple[float, float]:
    """Work done after so many minutes, as a share of what the server could do, and the mean limit in the last half."""
    clock, begun = Clock(), [0.0]

    def counted(rng: random.Random, now: float) -> tuple[float, float]:
        work, tokens = size(rng, now)
        begun[0] += work if now >= 1000 + 60 * settled else 0.0
        return work, tokens

    gate = Gate(concurrency=concurrency, clock=clock)
    log = drive(gate, clock, Endpoint(total=total, size=counted, rng=random.Random(seed)), 60.0 * minutes)
    assert max(limit for _, limit in log.limits) <= concurrency
    return begun[0] / (60.0 * (minutes - settled)) / best, log.mean_limit(30.0 * minutes, 60.0 * minutes)


@pytest.mark.parametrize("size", [even, noisy, sized, misleading, with_a_slow_phase])
@pytest.mark.parametrize("most", [20, pytest.param(60, marks=pytest.mark.long)])
def test_a_full_server_is_used_and_not_flooded(most: int, size: Size) -> None:
    for seed in (7, 8):
        share, limit = share_of_best(capped(most), size, most, seed=seed)
        assert share >= 0.9
        assert limit <= 2.5 * most


@pytest.mark.parametrize("size", [even, sized, misleading])
@pytest.mark.parametrize("most", [20, pytest.param(60, marks=pytest.mark.long)])
def test_a_server_that_gets_worse_is_kept_near_its_best(most: int, size: Size) -> None:
    for seed in (7, 8):
        share, limit = share_of_best(worse_beyond(most), size, most, seed=seed, settled=10)
        assert share >= 0.9
        assert limit <= 1.5 * most


@pytest.mark.parametrize("half", [40, 100])
def test_a_server_that_gains_less_and_less_is_given_what_still_pays(half: int) -> None:
    best = 256 / (1 + 256 / half)
    share, _ = share_of_best(lambda calls: calls / (1 + calls / half), sized, best, seed=7)
    assert share >= 0.9


@pytest.mark.parametrize("size", [noisy, sized, with_a_slow_phase])
def test_noise_is_not_taken_for_a_full_server(size: Size) -> None:
    for seed in (7, 8):
        share, limit = share_of_best(float, size, 64, seed=seed, concurrency=64, minutes=12)
        assert limit >= 0.9 * 64
        assert share >= 0.9


def test_more_room_is_found_by_asking_again() -> None:
    """The server gets three times as fast after ten minutes."""
    clock = Clock()
    gate = Gate(concurrency=256, clock=clock)
    endpoint = Endpoint(total=lambda calls: float(min(calls, 20 if clock.now < 1600 else 60)), size=sized)
    log = drive(gate, clock, endpoint, 1800)
    assert log.mean_limit(300, 600) <= 50
    assert log.mean_limit(1200, 1800) >= 54
