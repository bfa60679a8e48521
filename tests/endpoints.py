"""Endpoints on a clock that only moves when told to, and a client that asks one through a gate: hours in a second."""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.llm.gate import Gate, Pass

REFUSAL_SECONDS = 0.03
"""A refusal comes back at once."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Limit(Protocol):
    """Admits a request, or says how long it would take (a refusal counts nothing)."""

    def admit(self, now: float, busy: int) -> float: ...


class FixedWindows:
    """So many in every window of the clock on the wall."""

    def __init__(self, limit: int, seconds: float = 60.0, offset: float = 0.0) -> None:
        self.limit, self.seconds, self.offset = limit, seconds, offset
        self._number, self._count = -1, 0

    def admit(self, now: float, busy: int) -> float:
        number = math.floor((now + self.offset) / self.seconds)
        if number != self._number:
            self._number, self._count = number, 0
        if self._count >= self.limit:
            return (number + 1) * self.seconds - self.offset - now
        self._count += 1
        return 0.0


class SlidingWindow:
    """So many in any window."""

    def __init__(self, limit: int, seconds: float = 60.0) -> None:
        self.limit, self.seconds = limit, seconds
        self._times: deque[float] = deque()

    def admit(self, now: float, busy: int) -> float:
        while self._times and self._times[0] <= now - self.seconds:
            self._times.popleft()
        if len(self._times) >= self.limit:
            return self._times[0] + self.seconds - now
        self._times.append(now)
        return 0.0


class TokenBucket:
    """An even flow, and a share of a window's worth at once."""

    def __init__(self, limit: int, seconds: float = 60.0, burst: float = 1.0) -> None:
        self.rate, self.size = limit / seconds, max(1.0, limit * burst)
        self._level, self._then = self.size, 0.0

    def admit(self, now: float, busy: int) -> float:
        self._level, self._then = min(self.size, self._level + (now - self._then) * self.rate), now
        if self._level < 1:
            return (1 - self._level) / self.rate
        self._level -= 1
        return 0.0


class Places:
    """So many at once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def admit(self, now: float, busy: int) -> float:
        return 0.0 if busy < self.limit else 0.5


@dataclass
class Endpoint:
    """Shares its speed evenly: `total(n)` is the work a second that n calls get together.

    `size(rng, now)` draws a call's work and the tokens it reports.
    """

    limits: Sequence[Limit] = ()
    total: Callable[[int], float] = float
    size: Callable[[random.Random, float], tuple[float, float]] = lambda rng, now: (1.0, 100.0)
    retry_after: bool = False
    refuse_share: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    _virtual: float = 0.0
    _then: float = 0.0
    _running: list[tuple[float, int, float]] = field(default_factory=list)

    def arrive(self, now: float, number: int) -> float | None:
        """None when the call is taken, else seconds until it could be."""
        self.advance(now)
        if self.rng.random() < self.refuse_share:
            return 0.0
        for limit in self.limits:
            wait = limit.admit(now, len(self._running))
            if wait > 0:
                return wait
        work, tokens = self.size(self.rng, now)
        heapq.heappush(self._running, (self._virtual + work, number, tokens))
        return None

    def _speed(self) -> float:
        return self.total(len(self._running)) / len(self._running)

    def advance(self, now: float) -> None:
        if self._running:
            self._virtual += (now - self._then) * self._speed()
        self._then = now

    def next_end(self) -> float:
        if not self._running:
            return math.inf
        return self._then + max(0.0, self._running[0][0] - self._virtual) / self._speed()

    def end(self, now: float) -> tuple[int, float]:
        self.advance(now)
        _, number, tokens = heapq.heappop(self._running)
        return number, tokens


@dataclass
class Log:
    """Times of what happened."""

    sent: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    ended: list[tuple[float, float]] = field(default_factory=list)
    limits: list[tuple[float, float]] = field(default_factory=list)

    @staticmethod
    def between(times: Sequence[float], begin: float, end: float) -> int:
        return sum(begin <= t < end for t in times)

    def replies(self, begin: float, end: float) -> int:
        return sum(begin <= t < end for t, _ in self.ended)

    def tokens(self, begin: float, end: float) -> float:
        return sum(tokens for t, tokens in self.ended if begin <= t < end)

    def mean_limit(self, begin: float, end: float) -> float:
        found = [limit for t, limit in self.limits if begin <= t < end]
        return sum(found) / len(found)


def drive(
    gate: Gate,
    clock: Clock,
    endpoint: Endpoint,
    seconds: float,
    *,
    changes: Sequence[tuple[float, Callable[[], object]]] = (),
) -> Log:
    """Ask as much as the gate lets through for so long; refused calls rest a moment and are tried again.

    `changes` are made at their times, in seconds from the beginning.
    """
    rng, log, due_changes = random.Random(3), Log(), deque(changes)
    begin, number = clock.now, 0
    passes: dict[int, Pass] = {}
    events: list[tuple[float, int, float | None]] = []  # refusals on their way back (with wait), and rests (None)
    due: deque[int] = deque()
    endpoint.advance(clock.now)

    def send(given: Pass, who: int) -> None:
        passes[who] = given
        log.sent.append(clock.now - begin)
        wait = endpoint.arrive(clock.now, who)
        if wait is not None:
            heapq.heappush(events, (clock.now + REFUSAL_SECONDS, who, wait))
        else:
            log.accepted.append(clock.now - begin)

    while clock.now < begin + seconds:
        while due_changes and clock.now >= begin + due_changes[0][0]:
            due_changes.popleft()[1]()
        pause = math.inf
        while due and (again := gate.wait_again(0.0)) is not None:
            if again > 0:
                pause = again
                break
            who = due.popleft()
            send(gate.renew(passes[who]), who)
        while not due and pause == math.inf and (first := gate.wait("r", 10**6, 0.0)) is not None:
            if first > 0:
                pause = first
                break
            send(gate.enter("r", 0.0), number)
            number += 1
        end, event = endpoint.next_end(), events[0][0] if events else math.inf
        clock.now = min(clock.now + pause, end, event)
        log.limits.append((clock.now - begin, gate.limit))
        if clock.now == end:
            who, tokens = endpoint.end(clock.now)
            log.ended.append((clock.now - begin, tokens))
            given = passes.pop(who)
            gate.report(given, answered=True, used=tokens)
            gate.leave(given)
        elif clock.now == event:
            _, who, wait = heapq.heappop(events)
            if wait is None:
                due.append(who)
                continue
            log.refused.append(clock.now - begin)
            told = wait if endpoint.retry_after else None
            gate.report(passes[who], limited=True, wait=told)
            heapq.heappush(events, (clock.now + rng.uniform(0.25, 0.5), who, None))
    return log
