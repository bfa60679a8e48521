"""The circuit breaker: an endpoint that has stopped answering is left alone but for one call now and then."""

import math

_ROW = 5
"""At least so many failures in a row; fewer are chance when few calls are in flight."""


class Breaker:
    """Opens when, after an endpoint had answered, every call in flight has failed in a row; closes at any answer.

    While it is open one call at a time goes through, at intervals that double. Like the whole gate it neither sleeps
    nor starts anything.
    """

    def __init__(self, first: float = 1.0, longest: float = 60.0) -> None:
        """Begin closed.

        Args:
            first: seconds before the first probe.
            longest: seconds between two probes at most.
        """
        self._first, self._longest = first, longest
        self._alive = False
        self._row = 0
        self._probe: float | None = None
        self._next = 0.0
        self._down = 0.0
        self.since: float | None = None
        self.interval = first

    def wait(self, now: float) -> float:
        """Seconds until a call may pass; infinite while a probe's answer is awaited."""
        if self.since is None:
            return 0.0
        return math.inf if self._probe is not None else max(0.0, self._next - now)

    def take(self, now: float) -> None:
        """A call is sent now."""
        if self.since is not None:
            self._probe = now

    def failed(self, now: float, sent: float, in_flight: int) -> None:
        """A call that was sent then found nobody, waited in vain, or met an error of the server (5xx)."""
        if self.since is None:
            self._row += 1
            if self._alive and self._row >= max(_ROW, in_flight):
                self.since, self.interval, self._next = now, self._first, now + self._first
        elif self._probe is not None and sent >= self._probe:
            self._probe = None
            self.interval = min(self._longest, self.interval * 2)
            self._next = now + self.interval

    def lives(self, now: float, *, answered: bool) -> bool:
        """A sign of life came, an answer or at least a refusal; True when that ends an outage."""
        self._alive |= answered
        self._row = 0
        if self.since is None:
            return False
        self._down += now - self.since
        self.since = self._probe = None
        return True

    def downtime(self, now: float) -> float:
        """Seconds of outage so far, all outages together."""
        return self._down + (0.0 if self.since is None else now - self.since)
