"""The gate against a clock that only moves when told to."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.llm.bucket import Bucket, Window
from pipeline.llm.gate import Gate
from pipeline.llm.told import Told
from tests.endpoints import Clock, Endpoint, Places, SlidingWindow, drive


def gate(clock: Clock, concurrency: int = 64, **limits: float) -> Gate:
    """A gate whose endpoint has answered once."""
    g = Gate(concurrency=concurrency, clock=clock, **limits)
    first = g.enter("r", 0.0)
    g.report(first)
    g.leave(first)
    return g


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


@given(st.floats(0.2, 300), st.lists(st.floats(0, 30), min_size=1, max_size=60))
def test_no_minute_has_more_than_a_window_allows(rate: float, pauses: list[float]) -> None:
    window, now, times = Window(rate), 0.0, []
    for pause in pauses:
        now += pause
        now += window.wait(now)
        assert window.wait(now) <= 1e-3
        window.take(now)
        times.append(now)
    for begin in times:
        assert sum(begin <= t < begin + 60 for t in times) <= math.ceil(rate)


@pytest.mark.parametrize("per_minute", [30, 500, 3000])
def test_requests_per_minute_are_used_and_never_exceeded(per_minute: int) -> None:
    clock = Clock()
    g = Gate(concurrency=256, requests_per_minute=per_minute, clock=clock)
    log = drive(g, clock, Endpoint(limits=[SlidingWindow(per_minute)]), 300)
    assert not log.refused
    assert 0.95 * 4 * per_minute <= log.between(log.sent, 60, 300) <= 4 * per_minute


def test_tokens_per_minute_settle_on_what_was_used() -> None:
    g = gate(Clock(), tokens_per_minute=60_000)
    assert g.counts_tokens
    first = g.enter("r", 5000.0)
    assert not ready(g, 100.0)
    g.report(first, answered=True, used=500)
    assert ready(g, 100.0)
    g.leave(first)
    huge = g.wait("r", 1000, 10.0**9)
    assert huge is not None
    assert huge < 1.0, "a call larger than the bucket passes when it is full"


def test_one_call_scouts_until_the_first_answer() -> None:
    clock = Clock()
    g = Gate(concurrency=64, clock=clock)
    one = g.enter("r", 0.0)
    assert not ready(g)
    g.report(one)  # a 500 will do: key and name are judged before anything else
    sent = []
    while ready(g):
        sent.append(g.enter("r", 0.0))
    assert len(sent) == 7


def test_a_slow_first_answer_is_not_waited_for() -> None:
    clock = Clock()
    g = Gate(concurrency=64, clock=clock)
    g.enter("r", 0.0)
    clock.now += 2.01
    assert ready(g)


def test_where_nobody_is_there_the_scout_stays_alone_and_may_try_again() -> None:
    clock = Clock()
    g = Gate(concurrency=64, clock=clock)
    one = g.enter("r", 0.0)
    for _ in range(5):
        g.report(one, failed=True, reached=False)
        clock.now += 10
        assert not ready(g)
        assert g.wait_again(0.0) == 0.0
        one = g.renew(one)


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
        for one in given:
            g.leave(one)
        rounds += 1
    assert rounds <= 6
    assert g.limit == 50


def test_only_a_429_shrinks_it_once_per_cut_and_never_below_one() -> None:
    g = gate(Clock(), concurrency=8)
    given = [g.enter("r", 0.0) for _ in range(8)]
    g.report(given[0], failed=True)
    assert g.limit == 8
    given[0] = g.renew(given[0])
    for one in given:
        g.report(one, limited=True)
    assert g.limit == pytest.approx(5.6)
    for one in given:
        g.leave(one)
    for _ in range(50):
        one = g.enter("r", 0.0)
        g.report(one, limited=True)
        g.leave(one)
    assert 1.0 <= g.limit <= 5.6


def test_it_grows_slowly_after_a_cut() -> None:
    clock = Clock()
    g = gate(clock, concurrency=64)
    given = [g.enter("r", 0.0) for _ in range(8)]
    g.report(given[-1], limited=True)
    before = g.limit
    for one in given[:-1]:
        g.report(one, answered=True)
    for one in given:
        g.leave(one)
    assert g.limit == before, "calls sent before the cut are no reason to grow"
    for _ in range(int(before)):
        given = []
        while ready(g):
            given.append(g.enter("r", 0.0))
        g.report(given[0], answered=True)
        for one in given[1:]:
            g.report(one)
        for one in given:
            g.leave(one)
    assert before < g.limit <= before + 1.05


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
    one, two = g.enter("r", 0.0), g.enter("r", 0.0)
    g.report(one, limited=True, wait=20.0)
    assert g.wait("other role", 5, 0.0) == pytest.approx(20.0)
    assert g.wait_again(0.0) == pytest.approx(20.0)
    g.report(two, limited=True, wait=5.0)
    assert g.wait_again(0.0) == pytest.approx(20.0), "a shorter wish does not cut a longer one short"
    clock.now += 20.0
    assert ready(g)


def test_a_role_keeps_to_its_own_bound() -> None:
    g = gate(Clock(), concurrency=8)
    g.enter("judge", 0.0)
    assert g.wait("judge", 1, 0.0) is None
    assert g.wait("default", 8, 0.0) == 0.0


@pytest.mark.parametrize("places", [3, 20, 100])
@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_it_settles_near_what_a_server_takes_at_once(places: int, seconds: float) -> None:
    clock = Clock()
    g = Gate(concurrency=256, clock=clock)
    endpoint = Endpoint(limits=[Places(places)], size=lambda rng, now: (seconds * rng.uniform(0.7, 1.3), 100.0))
    log = drive(g, clock, endpoint, 600)
    assert log.replies(60, 600) / 540 > 0.7 * places / seconds
    assert log.between(log.refused, 60, 600) < (0.2 if places < 10 else 0.03) * log.between(log.sent, 60, 600)


def told(limit: float, remaining: float, reset: float) -> Told:
    return Told(what="requests", limit=limit, remaining=remaining, reset=reset)


def hear(g: Gate, *what: Told) -> None:
    one = g.enter("r", 0.0)
    g.report(one, answered=True, told=what)
    g.leave(one)


def test_what_is_told_is_kept_but_never_more_than_the_user_gave() -> None:
    clock = Clock()
    g = gate(clock, requests_per_minute=100)
    hear(g, told(500, 499, 0.12))
    assert g.requests_per_minute == 100
    hear(g, told(60, 59, 1.0))
    assert g.requests_per_minute == 60
    free = gate(clock)
    hear(free, told(500, 499, 0.12), Told(what="tokens", limit=6000.0))
    assert (free.requests_per_minute, free.counts_tokens) == (500, True)


def test_a_told_limit_is_used_and_kept() -> None:
    clock = Clock()
    g = gate(clock, concurrency=256)
    hear(g, told(500, 499, 0.12))
    log = drive(g, clock, Endpoint(limits=[SlidingWindow(500)]), 300)
    assert not log.refused
    assert log.between(log.accepted, 60, 300) >= 0.95 * 4 * 500


def test_what_is_left_of_a_window_lasts_until_its_end() -> None:
    """Another client of the same key has used most of it."""
    clock = Clock()
    g = gate(clock, concurrency=256)
    hear(g, told(600, 20, 30.0))
    log = drive(g, clock, Endpoint(), 60)
    assert log.between(log.sent, 0, 30) <= 20 + 10, "and what had been saved up"
    assert log.between(log.sent, 31, 60) >= 0.9 * 290


def test_nothing_left_is_waited_out() -> None:
    clock = Clock()
    g = gate(clock, concurrency=256)
    hear(g, told(600, 0, 30.0))
    log = drive(g, clock, Endpoint(), 29)
    assert len(log.sent) <= 10 + 1


def test_the_user_may_allow_less_or_more_on_the_way() -> None:
    clock = Clock()
    g = gate(clock, concurrency=16)
    limits = {"concurrency": 16, "requests_per_minute": None, "tokens_per_minute": None}
    given = [g.enter("r", 0.0) for _ in range(8)]
    g.allow(**limits | {"concurrency": 3})
    assert g.wait("r", 1000, 0.0) is None, "eight are in flight and end; nothing is sent before fewer than three are"
    for one in given[:5]:
        g.report(one, answered=True)
        g.leave(one)
    assert not ready(g)
    g.report(given[5], answered=True)
    g.leave(given[5])
    assert ready(g)
    g.allow(**limits | {"requests_per_minute": 60})
    last = g.enter("r", 0.0)
    assert not ready(g), "one a second"
    g.report(last, answered=True)
    g.leave(last)
    assert not ready(g)
    g.allow(**limits)
    assert g.requests_per_minute is None
    assert ready(g)
    assert not g.counts_tokens
    g.allow(**limits | {"tokens_per_minute": 6000})
    assert g.counts_tokens


def test_what_a_server_tells_outlives_a_rate_that_is_lifted() -> None:
    clock = Clock()
    g = gate(clock, requests_per_minute=60)
    one = g.enter("r", 0.0)
    g.report(one, answered=True, told=[told(120, 119, 0.5)])
    g.leave(one)
    assert g.requests_per_minute == 60
    g.allow(concurrency=64, requests_per_minute=None, tokens_per_minute=None)
    assert g.requests_per_minute == 120


@pytest.mark.parametrize("most", [4, 100])
def test_another_bound_is_kept_and_grown_into(most: int) -> None:
    g = gate(Clock(), concurrency=20)
    answer_rounds(g, 6)
    assert g.limit == 20
    g.allow(concurrency=most, requests_per_minute=None, tokens_per_minute=None)
    assert g.limit <= most
    answer_rounds(g, 6)
    assert g.limit == most


def answer_rounds(g: Gate, rounds: int) -> None:
    """Send as many as may be sent, have all of them answered, and so on."""
    for _ in range(rounds):
        given = []
        while ready(g):
            given.append(g.enter("r", 0.0))
        for one in given:
            g.report(one, answered=True)
        for one in given:
            g.leave(one)
