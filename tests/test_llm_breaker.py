"""An endpoint that stops answering."""

import math

from pipeline.llm.breaker import Breaker
from pipeline.llm.gate import Gate
from tests.endpoints import Clock


def test_it_opens_when_all_in_flight_have_failed_in_a_row() -> None:
    breaker = Breaker()
    for at in range(20):
        breaker.failed(at, at, 4)
    assert breaker.since is None, "an endpoint that never answered is another matter"
    breaker.lives(20, answered=True)
    for at in range(21, 30):
        breaker.failed(at, at, 10)
    assert breaker.since is None
    breaker.failed(30, 30, 10)
    assert breaker.since == 30
    assert breaker.wait(30) == 1.0


def test_any_answer_breaks_the_row() -> None:
    breaker = Breaker()
    breaker.lives(0, answered=True)
    for at in range(100):
        breaker.failed(at, at, 3)
        if at % 4 == 3:
            breaker.lives(at, answered=False)
    assert breaker.since is None


def test_it_probes_with_one_call_at_growing_intervals_and_counts_the_time() -> None:
    breaker = Breaker(1.0, 60.0)
    breaker.lives(0, answered=True)
    for _ in range(5):
        breaker.failed(10, 9, 2)
    now, waits = 10.0, []
    for _ in range(9):
        wait = breaker.wait(now)
        waits.append(wait)
        now += wait
        assert breaker.wait(now) == 0.0
        breaker.take(now)
        assert breaker.wait(now) == math.inf, "one call at a time"
        breaker.failed(now, 9, 2)
        assert breaker.wait(now) == math.inf, "failures of calls sent earlier are no news"
        breaker.failed(now, now, 2)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert breaker.lives(now, answered=True)
    assert breaker.since is None
    assert breaker.downtime(now + 100) == now - 10


def test_the_gate_resumes_with_fewer_calls() -> None:
    clock = Clock()
    gate = Gate(concurrency=64, clock=clock)
    given = [gate.enter("r", 0.0)]
    gate.report(given[0], answered=True)
    gate.leave(given.pop())
    while gate.limit < 64:
        while gate.wait("r", 100, 0.0) == 0.0:
            given.append(gate.enter("r", 0.0))
        for one in given:
            gate.report(one, answered=True)
        for one in given:
            gate.leave(one)
        given.clear()
    while gate.wait("r", 100, 0.0) == 0.0:
        given.append(gate.enter("r", 0.0))
    for one in given:
        gate.report(one, failed=True)
    assert gate.down_since == clock.now
    assert gate.wait_again(0.0) == 1.0
    clock.now += 1.0
    assert gate.wait_again(0.0) == 0.0
    probe = gate.renew(given[0])
    assert probe.probe
    assert gate.wait_again(0.0) == 1.0, "nothing passes beside it"
    clock.now += 3.0
    gate.report(probe, answered=True)
    assert gate.down_since is None
    assert gate.downtime() == 4.0
    assert gate.limit <= 9
    assert gate.wait_again(0.0) == 0.0
