"""Budgets against a clock: an even flow that may run into debt, and a count that no window exceeds."""

import math
from collections import deque

_BURST_SECONDS = 1.0
"""A bucket holds a second's worth: servers count over short windows too, and a full minute's burst would be refused."""

_MARGIN = 1.005
"""Two calls that leave us a window apart may arrive a little closer together."""


class Bucket:
    """A token bucket that may run into debt: what costs more than it holds passes when it is full, and is paid off."""

    def __init__(self, per_minute: float, now: float, burst: float = _BURST_SECONDS) -> None:
        """Begin full.

        Args:
            per_minute: what flows in.
            now: in seconds, as everywhere here.
            burst: seconds' worth that it holds, at least one unit.
        """
        self._burst = burst
        self._rate, self._size = per_minute / 60.0, max(1.0, per_minute / 60.0 * burst)
        self._level, self._at = self._size, now

    def flow(self, per_minute: float, now: float) -> None:
        """Let another amount flow in from now on."""
        self._refill(now)
        self._rate, self._size = per_minute / 60.0, max(1.0, per_minute / 60.0 * self._burst)
        self._level = min(self._size, self._level)

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


class Window:
    """No more than a limit in any window of time, wherever it begins: the strictest way in which a server may count."""

    def __init__(self, per_minute: float) -> None:
        self._times: deque[float] = deque()
        self.set(per_minute)

    def set(self, per_minute: float) -> None:
        """Count against another limit from now on."""
        self._most = max(1, math.ceil(per_minute))  # of 2.5 a minute 3 in 72 s, so that no minute has more than 3
        self._seconds = 60.0 * self._most / per_minute * _MARGIN

    def wait(self, now: float) -> float:
        """Seconds until one more may be sent."""
        while self._times and self._times[0] <= now - self._seconds:
            self._times.popleft()
        excess = len(self._times) - self._most
        return 0.0 if excess < 0 else max(1e-3, self._times[excess] + self._seconds - now)

    def take(self, now: float) -> None:
        """One is sent now."""
        self._times.append(now)
