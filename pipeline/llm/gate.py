"""How fast one endpoint's model may be asked: what the user allows, what the server tells, and what we learn of it."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.llm.allowance import Allowance
from pipeline.llm.breaker import Breaker
from pipeline.llm.pace import Pace
from pipeline.llm.throughput import Throughput
from pipeline.llm.told import Told

_SCOUT_SECONDS = 2.0
"""A wrong key or name is refused at once; after so long without an answer a few more calls are risked."""

_MEMORY = 30.0
"""How many calls in flight the server took is remembered for so many seconds, and up to twice as long."""

_LONG_WAIT = 5.0
"""A server that wants to be left alone for so many seconds counts over time, not how many it works on at once."""

_POLL = 1.0
"""Asks to come back at least that often while it is another call's answer that is awaited."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A call's place: what is reserved for an attempt, and how things stood when the attempt was sent.

    Attributes:
        epoch: cuts of the limit before.
        sent: when.
        beside: calls in the air, itself included.
        probe: it was sent to see whether an endpoint that was down is back.
    """

    role: str
    tokens: float
    epoch: int = 0
    sent: float = 0.0
    beside: int = 0
    probe: bool = False


class Gate:
    """What one endpoint's model can take. A state machine over a clock: it never sleeps and starts no thread.

    - `Throughput` says how many calls may be in flight: at most the user's number, fewer where more do not pay.
    - `Allowance` keeps the rates that the user gives or the server tells, whichever is less.
    - `Pace` learns the rate of a server that only refuses.
    - `Breaker` leaves a server alone that is down.

    A 429 cuts the number in flight to 70 % (once for all calls sent before the cut) when it met more calls in flight
    than the server has lately taken, for then that may be what it objects to; any other 429 is about the rate. No other
    fault shrinks anything: a slow or broken server is no sign that we ask too much. The number never falls below one.

    As long as nothing is known of the endpoint a single call scouts, so that a wrong key costs one request; the others
    follow at its answer, whatever it is, or after two seconds. A call keeps its place between two attempts, so a server
    that is down is asked by a few calls again and again, never by all that wait.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        first_probe: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with nothing known.

        Args:
            concurrency: calls in flight at most.
            requests_per_minute: at most, whatever the server tells.
            tokens_per_minute: likewise.
            first_probe: seconds before an endpoint that is down is asked again; then twice as long each time.
            clock: in seconds.
        """
        self._clock = clock
        self._flow = Throughput(concurrency)
        self._breaker = Breaker(first_probe, 60.0 * first_probe)
        now = clock()
        self._pace = Pace(now)
        self.in_flight = self.active = 0
        self._of_role: dict[str, int] = {}
        self._epoch = 0
        self._pressed = False  # the last call that asked found all places taken
        self.known, self._scout = False, 0.0
        self.paused_until = -math.inf  # by the clock: the server wants to be left alone till then
        self._taken: tuple[float, int, int] = (now, 0, 0)
        self._requests = Allowance(requests_per_minute, now, strict=True)
        self._tokens = Allowance(tokens_per_minute, now, strict=False)

    def allow(self, *, concurrency: int, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        """Keep these limits of the user's from now on; what the server has told and what was learned stays."""
        now = self._clock()
        self._flow.allow(concurrency)
        self._requests.give(requests_per_minute, now)
        self._tokens.give(tokens_per_minute, now)

    @property
    def limit(self) -> float:
        """Calls that may be in flight now."""
        return self._flow.limit

    @property
    def counts_tokens(self) -> bool:
        """Whether a call's tokens matter here."""
        return self._tokens.per_minute is not None

    @property
    def requests_per_minute(self) -> float | None:
        """The rate that is kept now: the user's, the server's or the learned one, whichever is least."""
        learned = None if self._pace.rate is None else 60.0 * self._pace.rate
        return min((rate for rate in (self._requests.per_minute, learned) if rate is not None), default=None)

    @property
    def down_since(self) -> float | None:
        """When the endpoint was found to be down, on the clock; None when it is not."""
        return self._breaker.since

    @property
    def probe_interval(self) -> float:
        """Seconds between two probes of an endpoint that is down."""
        return self._breaker.interval

    def downtime(self) -> float:
        """Seconds so far for which the endpoint was left alone because it was down."""
        return self._breaker.downtime(self._clock())

    def wait(self, role: str, role_most: int, tokens: float) -> float | None:
        """Seconds until a call may be sent (0.0: now), or None when another call must end first."""
        self._pressed = self.in_flight >= max(1, int(self.limit))
        if self._pressed or self._of_role.get(role, 0) >= role_most:
            return None
        wait = self.wait_again(tokens)
        if wait is None or self.known or not self.in_flight:
            return wait
        return min(_POLL, max(wait, self._scout - self._clock()))

    def wait_again(self, tokens: float) -> float | None:
        """Seconds until a call that has its place may be tried again (0.0: now), or None as `wait`."""
        if self.active >= max(1, int(self.limit)):
            self._pressed = True
            return None
        now = self._clock()
        waits = [
            self.paused_until - now,
            self._breaker.wait(now),
            self._pace.wait(now),
            self._requests.wait(1.0, now),
            self._tokens.wait(tokens, now),
        ]
        wait = max(0.0, *waits)
        return _POLL if wait == math.inf else wait

    def enter(self, role: str, tokens: float) -> Pass:
        """Count a call that is sent now; it keeps its place until `leave`."""
        self.in_flight += 1
        self._of_role[role] = self._of_role.get(role, 0) + 1
        return self._attempt(role, tokens)

    def renew(self, given: Pass) -> Pass:
        """Count an attempt that is sent now, by a call that has its place."""
        return self._attempt(given.role, given.tokens)

    def _attempt(self, role: str, tokens: float) -> Pass:
        now = self._clock()
        self.active += 1
        self._requests.take(1.0, now)
        self._tokens.take(tokens, now)
        self._pace.take(now)
        self._breaker.take(now)
        self._scout = now + _SCOUT_SECONDS
        return Pass(role, tokens, self._epoch, now, self.active, self._breaker.since is not None)

    def report(
        self,
        given: Pass,
        *,
        answered: bool = False,
        limited: bool = False,
        failed: bool = False,
        reached: bool = True,
        wait: float | None = None,
        used: float | None = None,
        told: Iterable[Told] = (),
    ) -> None:
        """How an attempt ended; to be called once for each.

        Args:
            answered: it brought a final outcome.
            limited: it was refused with a 429.
            failed: the server was not there, did not answer in time, or met an error of its own (5xx).
            reached: the server was there.
            wait: seconds the server wants to be left alone; pauses the whole endpoint.
            used: tokens it really used, when known.
            told: what the server told of its limits.
        """
        now = self._clock()
        self.active -= 1
        if used is not None:
            self._tokens.take(used - given.tokens, now)
        for one in told:
            (self._tokens if one.what == "tokens" else self._requests).hear(one, given.sent, now)
        if wait is not None:
            self.paused_until = max(self.paused_until, now + wait)
        if failed:
            self._breaker.failed(now, given.sent, self.in_flight)
        elif self._breaker.lives(now, answered=answered):
            self._flow.resume()
        if not reached:
            self._scout = math.inf
            return
        self.known = True
        if limited:
            self._refused(given, now, wait)
            return
        self._pace.taken(now, given.sent)
        self._remember(now, given.beside)
        if answered and given.epoch == self._epoch:
            self._flow.answered(now, used or 0.0, self.active + 1, pressed=self._pressed)

    def withdraw(self, given: Pass) -> None:
        """An attempt ended without our knowing anything of the endpoint; in place of `report`."""
        self.active -= 1

    def leave(self, given: Pass) -> None:
        """A call is over; its place is free."""
        self.in_flight -= 1
        self._of_role[given.role] -= 1

    def _refused(self, given: Pass, now: float, wait: float | None) -> None:
        _, before, lately = self._taken
        crowded = given.beside > max(before, lately) and given.beside >= 0.7 * self.limit
        if not crowded or self.limit <= 1 or (wait or 0.0) >= _LONG_WAIT:
            self._pace.refused(now, given.sent, wait)
        elif given.epoch == self._epoch:
            self._epoch += 1
            self._flow.cut()

    def _remember(self, now: float, beside: int) -> None:
        """The server took a call beside so many."""
        since, before, lately = self._taken
        if now - since > _MEMORY:
            since, before, lately = now, lately if now - since < 2 * _MEMORY else 0, 0
        self._taken = (since, before, max(lately, beside))
