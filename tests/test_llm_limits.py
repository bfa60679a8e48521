"""Limits against a clock that only moves when told to."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.llm.limits import Bucket, Gate


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def gate(clock: Clock, concurrency: int = 64, **limits: float) -> Gate:
    return Gate(concurrency=concurrency, clock=clock, **limits)


def ready(g: Gate, tokens: float = 0.0) -> bool:
    return g.wait("r", 1000, tokens) == 0.0


@given(st.floats(1, 6000), st.lists(st.floats(0.1, 50), min_size=1, max_size=60))
def test_a_bucket_never_gives_more_than_its_rate_and_never_stalls(rate: float, costs: list[float]) -> None:
    now, taken = 0.0, 0.0
    bucket = Bucket(rate, now)
    for cost in costs:
        wait = bucket.wait(cost, now)
        assert math.isfinite(wait)
        now += wait
        assert bucket.wait(cost, now) <= 1e-3
        bucket.take(cost, now)
        taken += cost
        # a second's worth (at least one), and the debt of the last one, may be ahead of the rate
        assert taken - cost <= now * rate / 60 + max(1.0, rate / 60) + 1e-6


@pytest.mark.parametrize("per_minute", [30, 500, 3000])
def test_requests_per_minute_are_used_and_kept(per_minute: float) -> None:
    clock = Clock()
    g = gate(clock, requests_per_minute=per_minute)
    sent, end = 0, clock.now + 120
    while True:
        wait = g.wait("r", 1000, 0.0)
        assert wait is not None
        if clock.now + wait > end:
            break
        clock.now += wait
        if wait == 0.0:
            g.leave(g.enter("r", 0.0))
            sent += 1
    assert 0.95 * 2 * per_minute <= sent <= 2 * per_minute + max(1, per_minute / 60) + 1


def test_tokens_per_minute_settle_on_what_was_used() -> None:
    clock = Clock()
    g = gate(clock, tokens_per_minute=60_000)
    assert g.counts_tokens
    first = g.enter("r", 5000.0)
    assert not ready(g, 100.0)
    g.report(first, answered=True, used=500)
    assert ready(g, 100.0)
    g.leave(first)
    huge = g.wait("r", 1000, 10.0**9)
    assert huge is not None
    assert huge < 1.0, "a call larger than the bucket passes when it is full"


def test_concurrency_starts_modest_and_grows_to_its_bound() -> None:
    g = gate(Clock(), concurrency=50)
    rounds = 0
    while g.limit < 50:
        given = []
        while ready(g):
            given.append(g.enter("r", 0.0))
        assert len(given) <= 8 * 2**rounds
        for one in given:
            g.report(one, answered=True)
            g.leave(one)
        rounds += 1
    assert rounds <= 5
    assert g.limit == 50


def test_only_a_429_shrinks_it_once_per_cut_and_never_below_one() -> None:
    g = gate(Clock(), concurrency=8)
    given = [g.enter("r", 0.0) for _ in range(8)]
    g.report(given[0])
    assert g.limit == 8
    for one in given:
        g.report(one, limited=True)
    assert g.limit == pytest.approx(5.6)
    for _ in range(50):
        g.report(g.renew(given[0]), limited=True)
    for one in given:
        g.leave(one)
    assert g.limit == 1.0
    assert ready(g)


def test_it_grows_slowly_after_a_cut() -> None:
    g = gate(Clock(), concurrency=64)
    one = g.enter("r", 0.0)
    g.report(one, limited=True)
    g.leave(one)
    before = g.limit
    for _ in range(int(before)):
        given = []
        while ready(g):
            given.append(g.enter("r", 0.0))
        g.report(given[0], answered=True)
        for one in given:
            g.leave(one)
    assert before < g.limit <= before + 1


def test_an_idle_endpoint_does_not_grow() -> None:
    g = gate(Clock(), concurrency=64)
    for _ in range(100):
        one = g.enter("r", 0.0)
        g.report(one, answered=True)
        g.leave(one)
    assert g.limit == 8


def test_retry_after_pauses_the_endpoint_for_new_calls_and_further_attempts() -> None:
    clock = Clock()
    g = gate(clock)
    one = g.enter("r", 0.0)
    g.report(one, limited=True, wait=20.0)
    assert g.wait("other role", 5, 0.0) == pytest.approx(20.0)
    assert g.wait_again(0.0) == pytest.approx(20.0)
    g.report(one, limited=True, wait=5.0)
    assert g.wait_again(0.0) == pytest.approx(20.0), "a shorter wish does not cut a longer one short"
    clock.now += 20.0
    assert ready(g)


def test_a_role_keeps_to_its_own_bound() -> None:
    g = gate(Clock(), concurrency=8)
    g.enter("judge", 0.0)
    assert g.wait("judge", 1, 0.0) is None
    assert g.wait("default", 8, 0.0) == 0.0


def test_it_settles_near_what_a_server_allows() -> None:
    """A server that takes 20 at once and refuses the rest: most calls pass, few are refused, it never stalls."""
    clock, rng = Clock(), random.Random(1)
    g = gate(clock, concurrency=256)
    flying: list[tuple[float, bool, object]] = []
    passed = refused = 0
    for _ in range(20_000):
        while ready(g):
            busy = sum(1 for _, limited, _ in flying if not limited)
            limited = busy >= 20
            flying.append((clock.now + (0.01 if limited else rng.uniform(0.8, 1.2)), limited, g.enter("r", 0.0)))
        flying.sort(key=lambda f: f[0])
        clock.now, limited, given = flying.pop(0)
        g.report(given, limited=limited, answered=not limited)  # type: ignore[arg-type]
        g.leave(given)  # type: ignore[arg-type]
        passed, refused = passed + (not limited), refused + limited
    assert refused < 0.05 * (passed + refused)
    assert passed / (clock.now - 1000) > 0.75 * 20
