"""Finds how many calls in flight are worth it, for servers that never refuse and only get slower."""

import math
from dataclasses import dataclass, field

_START = 8
_SHRINK, _CREEP = 0.7, 0.05

_FACTOR, _FINE = 1.5, 1.25
"""A probe compares the level with one that is so many times larger or smaller; the latter once neither has paid."""

_DRIFT = 1.3
"""When a level's own rate changes more than this in a probe, the server or its work has changed: begin again."""

_UP, _DOWN = 1.05, 0.97
"""A larger level must bring at least that much more, a smaller one may cost no more than that."""

_CLEAR = 1.5
"""Standard errors between a ratio and its threshold that settle the matter."""

_PAIRS = 6
_SPREAD = 0.7
"""Comparisons in a probe at most; how much one call's duration is taken to vary until several comparisons tell."""

_REST, _REST_MOST = 4, 128
"""A level rests for so many times its calls before the next probe, twice as long each time a probe changes nothing."""


@dataclass(slots=True)
class _Count:
    """Replies counted at one level: `skip` to calls sent before are let pass, the next one starts the clock."""

    left: int
    skip: int = 0
    began: float | None = None
    calls: int = 0
    work: float = 0.0
    beside: float = 0.0
    seconds: float = 0.0

    def add(self, now: float, work: float, beside: float) -> bool:
        """Count a reply; True when it was the last one."""
        if self.skip > 0:
            self.skip -= 1
        elif self.began is None:
            self.began = now
        else:
            self.calls, self.work, self.beside = self.calls + 1, self.work + work, self.beside + beside
            self.left, self.seconds = self.left - 1, now - self.began
        return self.left <= 0

    @property
    def load(self) -> float:
        """Calls in flight, on average."""
        return self.beside / self.calls

    @property
    def rates(self) -> tuple[float, float]:
        """Replies a second, and their work a second."""
        seconds = max(1e-9, self.seconds)
        return self.calls / seconds, self.work / seconds


@dataclass(slots=True)
class _Probe:
    """Measures A B A B ... A, so that a server whose work changes meanwhile is not mistaken for one that is full."""

    base: float
    other: float
    rates: list[tuple[float, float]] = field(default_factory=list)
    counted: int = 0

    @property
    def level(self) -> float:
        """What is measured now."""
        return self.other if len(self.rates) % 2 else self.base

    def add(self, rates: tuple[float, float], calls: int) -> None:
        """What was measured at `level`."""
        if len(self.rates) >= 2 and len(self.rates) % 2 == 0:
            changes = [max(new, old) / max(1e-9, min(new, old)) for new, old in zip(rates, self.rates[-2], strict=True)]
            if min(changes) > _DRIFT:
                self.rates.clear()
                self.counted = 0
        self.rates.append(rates)
        self.counted += calls

    def ratio(self) -> tuple[float, float, int]:
        """B over A, its standard error, and from how many comparisons: each B with the mean of the A before and after.

        Replies are counted, or their tokens, whichever varies less: some servers take their time by the call, others
        by the token.
        """
        found = []
        for kind in (0, 1):
            r = [rates[kind] for rates in self.rates]
            ratios = [2 * r[i] / (r[i - 1] + r[i + 1]) for i in range(1, len(r) - 1, 2)]
            mean = sum(ratios) / len(ratios)
            found.append((sum((x - mean) ** 2 for x in ratios), mean, len(ratios)))
        spread, mean, count = min(found)
        if count >= 3:
            return mean, math.sqrt(spread / (count - 1) / count), count
        return sum(one[1] for one in found) / 2, _SPREAD * math.sqrt(4.0 / self.counted), count

    def verdict(self, threshold: float) -> bool | None:
        """Whether B reaches the threshold, or None when that is not clear yet."""
        if len(self.rates) < 3 or len(self.rates) % 2 == 0:
            return None
        mean, error, count = self.ratio()
        if abs(mean - threshold) > _CLEAR * error:
            return mean >= threshold
        # In doubt, fewer: a larger level must have shown at least a fifth of what it could bring.
        doubtful = max(threshold, 1.0 + 0.2 * (self.other / self.base - 1.0))
        return mean >= doubtful if count >= _PAIRS else None


class Throughput:
    """The number of calls in flight: up while that pays, down while it costs nothing.

    It doubles in the time of one call from a small beginning, until throughput (replies and their tokens a second) no
    longer follows. Then it probes now and then: a level half as large again must bring a little more, or one by a third
    smaller may cost next to nothing. A 429 cuts it to 70 % and ends the doubling: from then on it grows by a call or by
    a twentieth in the time of a call.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.level = float(min(_START, most))
        self._ramping, self._creeping = True, False
        self._generations: list[tuple[float, float]] = []
        self._count = _Count(0)
        self._probe: _Probe | None = None
        self._rest, self._rests = 0.0, _REST
        self._up_next, self._failed = True, 0
        self._tokens = 0.0
        self._open_generation()

    @property
    def limit(self) -> float:
        """Calls that may be in flight now."""
        return self.level if self._probe is None else min(float(self.most), max(1.0, self._probe.level))

    def allow(self, most: int) -> None:
        """Have at most so many in flight from now on; a larger number is grown into."""
        if most == self.most:
            return
        if most > self.most:
            self._ramping, self._creeping = True, False
        self.most, self.level, self._probe = most, min(self.level, float(most)), None
        self._generations.clear()
        self._open_generation()

    def cut(self) -> None:
        """The server refused because too many were in flight."""
        self.level = max(1.0, self.limit * _SHRINK)
        self._ramping, self._creeping, self._probe = False, True, None
        self._rest = 20.0 * self.level

    def resume(self) -> None:
        """The server is back after an outage: begin small again."""
        self.level = max(1.0, min(float(_START), self.limit / 2))
        self._ramping, self._creeping, self._probe = True, False, None
        self._generations.clear()
        self._open_generation()

    def answered(self, now: float, tokens: float, beside: int, *, pressed: bool) -> None:
        """A reply of so many tokens came.

        Args:
            now: when.
            tokens: its size.
            beside: calls in flight, itself included.
            pressed: there were more calls to send than places.
        """
        self._tokens = tokens if self._tokens == 0.0 else 0.98 * self._tokens + 0.02 * tokens
        work = tokens / self._tokens if self._tokens > 0 else 1.0
        if not pressed:
            # What there was to do held us back, not the server: nothing can be learned from that.
            self._probe = None
            self._open_generation()
        elif self._ramping:
            self._ramp(now, work, beside)
        elif self._creeping:
            self._creep()
        elif self._probe is None:
            self._wait_for_probe()
        else:
            self._measure(now, work, beside)

    def _open_generation(self) -> None:
        self._count = _Count(max(16, round(self.level)))

    def _ramp(self, now: float, work: float, beside: int) -> None:
        self.level = min(float(self.most), self.level + 1.0)
        count = self._count
        if not count.add(now, work, beside):
            return
        load, rate = count.load, sum(count.rates)
        full = self.level >= self.most and bool(self._generations) and self._generations[-1][0] >= 0.9 * load
        self._generations.append((load, rate))
        self._open_generation()
        if self._saturated(load, rate):
            self._settle()
        elif full:
            self._ramping, self._rest, self._up_next = False, self.level, False

    def _saturated(self, load: float, rate: float) -> bool:
        """Whether four times the calls have not brought twice the replies."""
        before = [(x, y) for x, y in self._generations if x <= load / 3.5]
        if not before:
            return False
        small, slow = before[-1]
        return rate / slow < 0.5 * load / small

    def _settle(self) -> None:
        """Go where the best rate would be reached if every call took as long as it does alone."""
        best = max(rate for _, rate in self._generations)
        quickest = min(load / rate for load, rate in self._generations)
        self.level = min(float(self.most), max(1.0, 1.3 * best * quickest))
        self._ramping, self._rest = False, self.level
        self._generations.clear()

    def _creep(self) -> None:
        self.level = min(float(self.most), self.level + max(1.0 / self.level, _CREEP))
        self._rest -= 1
        if self._rest <= 0:
            self._creeping, self._rest = False, self._rests * self.level

    def _wait_for_probe(self) -> None:
        self._rest -= 1
        if self._rest > 0:
            return
        up = self.level < self.most and (self._up_next or self.level <= 1)
        factor = _FACTOR if self._failed < 2 else _FINE
        other = min(float(self.most), max(self.level + 1, self.level * factor)) if up else self.level / factor
        if self.level <= 1 and not up:
            self._rest = float(_REST_MOST)
            return
        self._probe = _Probe(self.level, max(1.0, other))
        self._open_arm(self.level)

    def _open_arm(self, level: float) -> None:
        self._count = _Count(max(24, round(3 * level)), skip=round(max(self.level, level)))

    def _measure(self, now: float, work: float, beside: int) -> None:
        probe, count = self._probe, self._count
        assert probe is not None
        if not count.add(now, work, beside):
            return
        probe.add(count.rates, count.calls)
        up = probe.other > probe.base
        pays = probe.verdict(_UP if up else _DOWN)
        if pays is None:
            self._open_arm(probe.level)
        else:
            self._conclude(probe, up=up, pays=pays)

    def _conclude(self, probe: _Probe, *, up: bool, pays: bool) -> None:
        self._probe = None
        if pays:
            self.level, self._rests, self._up_next = probe.other, _REST, up
            self._failed = 0
            if up and probe.ratio()[0] > 1 + 0.7 * (probe.other / probe.base - 1):
                self._ramping = True
                self._generations.clear()
                self._open_generation()
            self._rest = self.level
        else:
            self._up_next, self._failed = not up, self._failed + 1
            self._rests = min(_REST_MOST, self._rests * 2)
            self._rest = self._rests * self.level
