"""Rates learned from refusals alone: servers that count in every way, over ten minutes of a simulated clock."""

import random
from collections.abc import Callable

import pytest

from pipeline.llm.gate import Gate
from tests.endpoints import Clock, Endpoint, FixedWindows, Limit, Log, SlidingWindow, TokenBucket, drive

PER_MINUTE = 500

SERVERS: dict[str, Callable[[], Limit]] = {
    "fixed windows": lambda: FixedWindows(PER_MINUTE),
    "fixed windows that began before us": lambda: FixedWindows(PER_MINUTE, offset=33.3),
    "fixed windows of six seconds": lambda: FixedWindows(PER_MINUTE // 10, 6.0),
    "a sliding window": lambda: SlidingWindow(PER_MINUTE),
    "a bucket that holds a minute": lambda: TokenBucket(PER_MINUTE),
    "a bucket that holds six seconds": lambda: TokenBucket(PER_MINUTE, burst=0.1),
    "a bucket that holds a second": lambda: TokenBucket(PER_MINUTE, burst=1 / 60),
}


def ten_minutes(limit: Limit | None, seconds: float, seed: int = 7, **settings: object) -> Log:
    clock = Clock()
    gate = Gate(concurrency=256, clock=clock)
    endpoint = Endpoint(
        limits=[limit] if limit else [],
        size=lambda rng, now: (seconds * rng.uniform(0.7, 1.3), 100.0),
        rng=random.Random(seed),
        **settings,  # type: ignore[arg-type]
    )
    return drive(gate, clock, endpoint, 600)


@pytest.mark.parametrize("retry_after", [False, True])
@pytest.mark.parametrize("seconds", [0.1, 1.0])
@pytest.mark.parametrize("server", SERVERS)
def test_the_rate_is_learned_and_used(server: str, seconds: float, retry_after: bool) -> None:
    for seed in range(3):
        log = ten_minutes(SERVERS[server](), seconds, seed, retry_after=retry_after)
        known = log.refused[0] + 60  # there is nothing to learn before the first refusal
        assert known <= 240
        assert log.between(log.accepted, known + 60, 600) >= 0.95 * (540 - known) / 60 * PER_MINUTE
        assert log.between(log.refused, known, 600) < 0.02 * log.between(log.sent, known, 600)


@pytest.mark.parametrize("server", SERVERS)
def test_slow_replies_only_take_longer_to_learn_from(server: str) -> None:
    log = ten_minutes(SERVERS[server](), 5.0)
    assert log.between(log.accepted, 480, 600) >= 0.93 * 2 * PER_MINUTE
    assert log.between(log.refused, 240, 600) < 0.02 * log.between(log.sent, 240, 600)


def test_a_limit_that_is_raised_is_found() -> None:
    limit = FixedWindows(PER_MINUTE)
    clock = Clock()
    gate = Gate(concurrency=256, clock=clock)
    endpoint = Endpoint(limits=[limit], size=lambda rng, now: (1.0, 100.0))
    log = drive(gate, clock, endpoint, 900, changes=[(300, lambda: setattr(limit, "limit", 2 * PER_MINUTE))])
    assert log.between(log.accepted, 600, 900) >= 0.9 * 5 * 2 * PER_MINUTE


def test_refusals_that_have_nothing_to_do_with_us_do_not_slow_us_down_for_ever() -> None:
    log = ten_minutes(None, 1.0, refuse_share=0.03)
    assert log.replies(480, 600) >= 1.5 * log.replies(60, 180)


def test_a_server_that_refuses_all_is_left_alone_but_asked_again() -> None:
    log = ten_minutes(None, 1.0, refuse_share=1.0)
    assert 60 <= len(log.sent) <= 300
    gaps = [b - a for a, b in zip(log.sent, log.sent[1:], strict=False)]
    assert max(gaps) <= 6.0


@pytest.mark.parametrize("per_minute", [1, 3, 20])
def test_a_small_limit_is_neither_stormed_nor_forgotten(per_minute: int) -> None:
    log = ten_minutes(TokenBucket(per_minute), 1.0)
    assert log.between(log.accepted, 120, 600) >= 0.8 * 8 * per_minute
    assert log.between(log.refused, 120, 600) <= 160
