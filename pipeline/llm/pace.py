"""Learns how many requests a server takes over time when it tells only by refusing (429)."""

import math
from dataclasses import dataclass

from pipeline.llm.bucket import Bucket

_FIRST_PROBE, _LONGEST_PROBE = 0.02, 5.0
"""Seconds between two probes while the server refuses all: the first time, and at most."""

_SPAN = 5.0
"""Seconds that a measurement needs at least."""

_BELOW = 0.97
"""Share of the rate at which the server began to refuse that we go on with at most."""

_GROWTH, _STEP, _GROWTH_MOST = 0.01, 30.0, 0.1
"""The rate grows by so much in a step of so many seconds, by twice as much in the next, and never by more than that."""

_BRIEF = 2.0
"""Seconds for which a server that fills a bucket refuses at most, or nearly so."""

_IDLE = 10.0
"""Seconds without a call that do not count as time in which the server could have taken some."""

_BURST = 0.25
"""Seconds' worth of calls that may leave at once."""

_FEW, _MANY = 0.004, 0.25
"""A smaller share of refused requests than this is what learning costs; a larger one says that the rate is far too
high."""

_ROW = 10
"""So many refusals in a row are taken for a limit whatever was concluded before."""

_TRIAL, _TRIAL_EVERY = 0.8, 600.0
"""The first cut goes that much deeper for a moment, to see whether it helps; so many seconds between two such cuts."""

_DEAF_FIRST, _DEAF_LONGEST = 60.0, 900.0
"""Seconds for which refusals that slowing down did not lessen are no reason to slow down: at first, and at most."""


@dataclass(slots=True)
class _Cycle:
    """What happened since a server began to take calls until it takes calls again after having refused some."""

    began: float
    sent: int = 0
    refused: int = 0
    closings: int = 0
    refused_probes: int = 0


class Pace:
    """A request rate learned from refusals; a state machine over a clock.

    The first refusal closes it: one call at a time probes at growing intervals until the server takes calls again. From
    opening to opening the accepted calls measure the rate, whether the server counts in fixed windows, in sliding ones
    or with a bucket: over such a cycle it can have taken no more, and was asked for more. In cycles too short to
    measure, much refusing cuts the rate by a fifth. Afterwards the rate grows, slowly at first, until the next refusal.

    A rate that is cut again and again while the same small share is refused is not what the server objects to (it is
    busy with others, say): then refusals are no reason to slow down for a while.
    """

    def __init__(self, now: float) -> None:
        self.rate: float | None = None
        self._bucket: Bucket | None = None
        self._cycle = _Cycle(now)
        self._opened = self._last = now
        self._closed = False
        self._probe: float | None = None
        self._next = self._floor = self._interval = self._closed_at = 0.0
        self._refusal_seconds = 0.05
        self._bad = math.inf
        self._grown_until = self._step_began = now
        self._steps = 0
        self._halving = self._held = False
        self._anchor: tuple[float, float, float] | None = None
        self._trial, self._next_trial, self._target = False, now, 0.0
        self._deaf_until, self._deaf_row, self._deaf_seconds = -math.inf, 0, _DEAF_FIRST
        self._seconds: dict[int, int] = {}
        self._long_closing = -math.inf

    def wait(self, now: float) -> float:
        """Seconds until a request may be sent."""
        if self._closed:
            if self._probe is None:
                return max(0.0, self._next - now)
            # Refusals come at once, replies take their time: no refusal after a while means that it was taken.
            patience = self._probe + 0.05 + 3.0 * self._refusal_seconds - now
            if patience > 0:
                return patience
            self._open(now)
        wait = 0.0 if self._bucket is None else self._bucket.wait(1.0, now)
        self._held |= wait > 0
        return wait

    def take(self, now: float) -> None:
        """A request is sent now."""
        gap, self._last = now - self._last, now
        if not self._closed and gap > _IDLE + 2.0 / (self.rate or math.inf):
            self._cycle.began += gap  # there was nothing to send, or something else held us back
        self._cycle.sent += 1
        self._seconds[int(now)] = self._seconds.get(int(now), 0) + 1
        if self._closed:
            self._probe = now
        elif self._bucket is not None:
            self._grow(now)
            self._bucket.take(1.0, now)

    def taken(self, now: float, sent: float) -> None:
        """The server took the request that was sent then."""
        self._deaf_row = 0
        if self._closed and self._probe is not None and sent >= self._probe:
            self._open(now)

    def refused(self, now: float, sent: float, wait: float | None) -> None:
        """The server refused the request that was sent then, and wants to be left alone for `wait` seconds."""
        self._cycle.sent -= 1
        self._cycle.refused += 1
        self._seconds[int(sent)] = self._seconds.get(int(sent), 0) - 1
        self._refusal_seconds = max(0.8 * self._refusal_seconds, now - sent)
        if now < self._deaf_until:
            self._deaf_row += 1
            if self._deaf_row >= _ROW:
                self._deaf_until = -math.inf
            return
        if self._closed:
            if self._probe is not None and sent >= self._probe:
                self._cycle.refused_probes += 1
                self._probe, self._floor = None, max(self._floor, sent)
                self._interval = min(_LONGEST_PROBE, 2.0 * self._interval)
                self._next = max(self._next, now + self._interval)
        elif sent >= self._opened:
            self._closed, self._probe = True, None
            self._cycle.closings += 1
            self._closed_at = now
            self._bad = self.rate or math.inf
            self._interval = min(_LONGEST_PROBE, max(_FIRST_PROBE, 1 / (self.rate or math.inf)))
            self._next, self._floor = now + self._interval, sent
        if wait is not None and self._closed and self._probe is None:
            self._next = self._floor = max(self._floor, now + wait)

    def _open(self, now: float) -> None:
        """The server takes calls again since the last probe was sent."""
        assert self._probe is not None
        opened, self._probe, self._closed = self._probe, None, False
        self._opened = opened
        # It began to take calls again somewhere between the last probe it refused and the one it took.
        seconds = max(1e-3, (max(self._cycle.began, self._floor) + opened) / 2 - self._cycle.began)
        accepted = max(1, self._cycle.sent - 1)
        self._halving = False
        if seconds >= _SPAN:
            self._learn(accepted / seconds, now)
            self._cycle = _Cycle(opened, sent=1)
        elif self.rate is None:
            self.rate = max(accepted / seconds, *self._seconds.values())
        elif self._cycle.refused > max(2.0, _MANY * (self._cycle.refused + self._cycle.sent)):
            self.rate, self._halving = max(0.8 * self.rate, self._least(now)), True
        self._grown_until = self._step_began = now
        self._steps = 0
        if self.rate is None:
            self._bucket = None
        else:
            self._bucket = Bucket(60.0 * self.rate, now, _BURST)
            self._bucket.take(max(1.0, self.rate * _BURST), now)  # nothing has been saved up

    def _learn(self, measured: float, now: float) -> None:
        if self._in_vain(measured):
            self._anchor, self._deaf_until, self._deaf_row = None, now + self._deaf_seconds, 0
            self._deaf_seconds = min(_DEAF_LONGEST, 2.0 * self._deaf_seconds)
            self.rate = None
            return
        if measured > 0.7 * self._bad:
            measured = max(measured, 0.85 * self._bad)  # the rate grew meanwhile: its mean is less than the limit
        rate = max(min(measured, _BELOW * self._bad), self._least(now))
        if self._trial:
            rate = max(rate, 0.95 * self._target)  # what was taken during the trial says nothing
        self._trial = self._anchor is not None and now >= self._next_trial
        if self._trial:
            self._next_trial, self._target = now + _TRIAL_EVERY, rate
            rate *= _TRIAL
        self.rate = rate

    def _in_vain(self, measured: float) -> bool:
        """Whether the rate has been cut, less was taken for it, and the share that is refused has not changed."""
        cycle, before = self._cycle, self._anchor
        share = cycle.refused / (cycle.refused + cycle.sent)
        if not _FEW <= share <= _MANY or cycle.refused_probes > cycle.closings / 2 or self._bad == math.inf:
            self._anchor = None
        elif before is None:
            self._anchor = (self._bad, measured, share)
        elif self._bad <= 0.85 * before[0]:
            self._anchor = (self._bad, measured, share)
            return measured <= 0.92 * before[1] and share >= before[2] / 2
        return False

    def _least(self, now: float) -> float:
        """By what was taken in the last minute: a limit that is given for a minute, as most are, cannot be less.

        A server that always takes calls again soon may have had a bucket, now empty, of as much again.
        """
        if self._opened - self._closed_at >= _BRIEF:
            self._long_closing = now
        share = _BELOW if now - self._long_closing <= 60.0 else _BELOW / 2
        self._seconds = {second: count for second, count in self._seconds.items() if second > now - 60.0}
        return share * sum(self._seconds.values()) / 60.0

    def _grow(self, now: float) -> None:
        """Grow by the time that has gone by with the rate as what held us back."""
        assert self.rate is not None
        assert self._bucket is not None
        held, self._held = self._held, False
        if not held:
            self._step_began += now - self._grown_until  # there was less to send than the rate lets pass
            self._grown_until = now
            return
        if now - self._opened >= _SPAN and (self._trial or self._halving):
            self.rate = self.rate / _TRIAL if self._trial else min(self._bad, (self.rate + self._bad) / 2)
            self._trial = self._halving = False
        growth = min(_GROWTH_MOST, _GROWTH * 2.0**self._steps)
        self.rate *= 1.0 + growth * (now - self._grown_until) / _STEP
        self._grown_until = now
        if now - self._step_began >= _STEP:
            self._step_began, self._steps = now, self._steps + 1
        self._bucket.flow(60.0 * self.rate, now)
