"""How fast an endpoint may be asked: calls in flight, requests and tokens per minute, and pauses it asks for."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

_BURST_SECONDS = 1.0
"""A bucket holds a second's worth: servers count over short windows too, and a full minute's burst would be refused."""

_START = 8
_SHRINK = 0.7


class Bucket:
    """A token bucket that may run into debt: what costs more than it holds passes when it is full, and is paid off."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._rate = per_minute / 60.0
        self._size = max(1.0, self._rate * _BURST_SECONDS)
        self._level, self._at = self._size, now

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` may be taken."""
        self._refill(now)
        missing = min(cost, self._size) - self._level
        # The smallest step keeps rounding from asking for a wait too short to fill anything.
        return 0.0 if missing <= 1e-9 else max(missing / self._rate, 1e-3)

    def take(self, cost: float, now: float) -> None:
        """Take `cost`; a negative cost gives back."""
        self._refill(now)
        self._level = min(self._size, self._level - cost)

    def _refill(self, now: float) -> None:
        self._level = min(self._size, self._level + (now - self._at) * self._rate)
        self._at = now


@dataclass(frozen=True, slots=True)
class Pass:
    """A call's place: what is reserved for an attempt, and since which cut of the limit the attempt counts."""

    role: str
    tokens: float
    epoch: int


class Gate:
    """What one endpoint's model can take. A state machine over a clock: it never sleeps and starts no thread.

    The number of calls in flight starts small, doubles in the time of one call while all goes well, is cut to 70 % by a
    429 (once for all calls sent before the cut), then grows by one in the time of one call. No other fault shrinks it:
    a slow or broken server is not a sign that we ask too much. It never falls below one. A call keeps its place between
    two attempts, so a server that is down is asked by a few calls again and again, never by all that wait.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.most = concurrency
        self.limit = float(min(_START, concurrency))
        self.in_flight = 0
        self._of_role: dict[str, int] = {}
        self._epoch = 0
        self._was_limited = False
        self._pressed = False  # the last call that asked found all places taken
        self.paused_until = -math.inf  # by the clock: the server wants to be left alone till then
        now = clock()
        self._requests = None if requests_per_minute is None else Bucket(requests_per_minute, now)
        self._tokens = None if tokens_per_minute is None else Bucket(tokens_per_minute, now)

    @property
    def counts_tokens(self) -> bool:
        """Whether a call's tokens matter here."""
        return self._tokens is not None

    def wait(self, role: str, role_most: int, tokens: float) -> float | None:
        """Seconds until a call may be sent (0.0: now), or None when another call must end first."""
        self._pressed = self.in_flight >= max(1, int(self.limit))
        if self._pressed or self._of_role.get(role, 0) >= role_most:
            return None
        return self.wait_again(tokens)

    def wait_again(self, tokens: float) -> float:
        """Seconds until a call that has its place may be tried again (0.0: now)."""
        now = self._clock()
        waits = [self.paused_until - now, 0.0]
        if self._requests is not None:
            waits.append(self._requests.wait(1.0, now))
        if self._tokens is not None:
            waits.append(self._tokens.wait(tokens, now))
        return max(waits)

    def enter(self, role: str, tokens: float) -> Pass:
        """Count a call that is sent now; it keeps its place until `leave`."""
        self.in_flight += 1
        self._of_role[role] = self._of_role.get(role, 0) + 1
        return self.renew(Pass(role, tokens, self._epoch))

    def renew(self, given: Pass) -> Pass:
        """Count an attempt that is sent now, by a call that has its place."""
        now = self._clock()
        if self._requests is not None:
            self._requests.take(1.0, now)
        if self._tokens is not None:
            self._tokens.take(given.tokens, now)
        return replace(given, epoch=self._epoch)

    def report(
        self,
        given: Pass,
        *,
        answered: bool = False,
        limited: bool = False,
        wait: float | None = None,
        used: float | None = None,
    ) -> None:
        """How an attempt ended.

        Args:
            answered: it brought a final outcome.
            limited: it was refused with a 429.
            wait: seconds the server wants to be left alone; pauses the whole endpoint.
            used: tokens it really used, when known.
        """
        now = self._clock()
        if self._tokens is not None and used is not None:
            self._tokens.take(used - given.tokens, now)
        if wait is not None:
            self.paused_until = max(self.paused_until, now + wait)
        if limited:
            self._was_limited = True
            if given.epoch == self._epoch:
                self._epoch += 1
                self.limit = max(1.0, self.limit * _SHRINK)
        elif answered and given.epoch == self._epoch and self._pressed:
            step = 1.0 / self.limit if self._was_limited else 1.0
            self.limit = min(float(self.most), self.limit + step)

    def leave(self, given: Pass) -> None:
        """A call is over; its place is free."""
        self.in_flight -= 1
        self._of_role[given.role] -= 1
