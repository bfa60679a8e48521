"""How fast a run goes now: rates over the last seconds, the time that is left, and how long nothing has come."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

S = TypeVar("S", bound=tuple[float, ...])

WINDOW = 30.0
"""Seconds over which calls and tokens per second are counted: what is true now, not since the start."""

ETA_WINDOW = 300.0
"""Seconds over which an entry's own progress is counted; longer, since a slow model ends a row a minute."""

_ETA_AFTER_SECONDS, _ETA_AFTER_ROWS = 10.0, 3
"""Before that an estimate would mean nothing."""

_REPLAY = 10
"""So many times more replies reused than new: the ledger is being replayed, at a pace that says nothing of the rest."""


class Pace:
    """Watches a run's snapshots, one about every second; a state machine over a clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls: deque[tuple[float, int, int]] = deque()
        self._rows: deque[tuple[float, int]] = deque()
        self._entry: str | None = None
        self._counts = (0, 0)
        self._last_reply = clock()

    def note(self, entries: list[dict[str, Any]], usage: Mapping[str, Any], *, paused: bool = False) -> dict[str, Any]:
        """Take the newest numbers in.

        Args:
            entries: as in status.json.
            usage: of all entries together.
            paused: the run stands still because somebody wants it to; that is no pace.

        Returns:
            `requests_per_second` and `tokens_per_second` (replies that came, over WINDOW), `eta_seconds` of the
            running entry (None while unknown), and `quiet_seconds` since the last reply while calls are in flight.
        """
        now = self._clock()
        replies = usage.get("new", 0) + usage.get("after_target", 0)
        requests_per_second, tokens_per_second = self._rates(now, replies, usage)
        if not usage.get("in_flight"):
            self._last_reply = now
        running = next((entry for entry in entries if entry["state"] == "running"), None)
        return {
            "requests_per_second": round(requests_per_second, 3),
            "tokens_per_second": round(tokens_per_second, 1),
            "eta_seconds": self._eta(now, running, replies, usage.get("reused", 0), paused),
            "quiet_seconds": round(now - self._last_reply, 1),
        }

    def _rates(self, now: float, replies: int, usage: Mapping[str, Any]) -> tuple[float, float]:
        tokens = usage.get("new_completion_tokens", 0)
        if self._calls and replies != self._calls[-1][1]:
            self._last_reply = now
        elif self._calls and not usage.get("in_flight"):
            self._calls.clear()  # nothing is asked: the pause between two entries is no slowness
        self._calls.append((now, replies, tokens))
        first = _within(self._calls, now - WINDOW)
        seconds = now - first[0]
        return ((replies - first[1]) / seconds, (tokens - first[2]) / seconds) if seconds > 0 else (0.0, 0.0)

    def _eta(self, now: float, entry: Mapping[str, Any] | None, new: int, reused: int, paused: bool) -> float | None:
        made, replayed = new - self._counts[0], reused - self._counts[1]
        self._counts = (new, reused)
        name = None if entry is None else entry["name"]
        if entry is None or name != self._entry or paused or replayed > _REPLAY * made:
            self._rows.clear()
        self._entry = name
        if entry is None:
            return None
        self._rows.append((now, entry["done"]))
        first = _within(self._rows, now - ETA_WINDOW)
        seconds, rows = now - first[0], int(entry["done"]) - first[1]
        if not entry["total"] or seconds < _ETA_AFTER_SECONDS or rows < _ETA_AFTER_ROWS:
            return None
        left = float(entry["total"] - entry["done"])
        return round(max(0.0, left) * seconds / rows, 1)


def _within(samples: deque[S], since: float) -> S:
    """The oldest sample that is not older; forgets the others, but never the newest."""
    while len(samples) > 1 and samples[0][0] < since:
        samples.popleft()
    return samples[0]
