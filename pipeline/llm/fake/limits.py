"""How fast the fake lets itself be asked: rate limits that refuse, and a capacity that only slows down."""

import asyncio
import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.llm.fake.script import RateLimit


class Bucket:
    """A budget of `limit` units that refills evenly over `seconds`."""

    def __init__(self, limit: int, seconds: float, burst: float, clock: Callable[[], float]) -> None:
        self.limit = limit
        self.size = max(1.0, limit * burst)
        self._rate = limit / seconds
        self._clock = clock
        self._level, self._then = self.size, clock()

    def level(self) -> float:
        """Units that may be taken now."""
        now = self._clock()
        self._level = min(self.size, self._level + (now - self._then) * self._rate)
        self._then = now
        return self._level

    def wait(self, units: float) -> float:
        """Seconds until `units` can be taken, 0 if now; more than the bucket holds counts as all of it."""
        return max(0.0, min(units, self.size) - self.level()) / self._rate

    def take(self, units: float) -> None:
        """Take them; the level may fall below zero by the excess over the bucket's size."""
        self._level = self.level() - units

    def reset(self) -> float:
        """Seconds until the bucket is full."""
        return (self.size - self.level()) / self._rate


@dataclass(frozen=True)
class Refusal:
    """A 429: which budget is spent, and for how long."""

    what: str
    limit: int
    seconds: float


class RateGate:
    """Admits calls within requests and tokens per window, and tells by headers as OpenAI does."""

    def __init__(self, terms: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self.terms = terms
        limits = (("requests", terms.requests), ("tokens", terms.tokens))
        self._buckets = {
            n: Bucket(limit, terms.seconds, terms.burst, clock) for n, limit in limits if limit is not None
        }

    def admit(self, tokens: int) -> Refusal | None:
        """Take one request and its tokens from the budgets, or say which of them is spent; a refusal takes nothing."""
        needs = {"requests": 1, "tokens": tokens}
        waits = [(bucket.wait(needs[name]), name, bucket.limit) for name, bucket in self._buckets.items()]
        longest = max(waits, default=(0.0, "", 0))
        if longest[0] > 0:
            return Refusal(longest[1], longest[2], longest[0])
        for name, bucket in self._buckets.items():
            bucket.take(needs[name])
        return None

    def headers(self) -> dict[str, str]:
        """x-ratelimit-* of every budget."""
        headers: dict[str, str] = {}
        if self.terms.headers:
            for name, bucket in self._buckets.items():
                headers[f"x-ratelimit-limit-{name}"] = str(bucket.limit)
                headers[f"x-ratelimit-remaining-{name}"] = str(max(0, int(bucket.level())))
                headers[f"x-ratelimit-reset-{name}"] = span(bucket.reset())
        return headers

    def refusal_headers(self, refusal: Refusal) -> dict[str, str]:
        """Those of a 429."""
        headers = self.headers()
        if self.terms.retry_after:
            headers["retry-after"] = str(max(1, math.ceil(refusal.seconds)))
            headers["retry-after-ms"] = str(max(1, math.ceil(refusal.seconds * 1000)))
        return headers


def span(seconds: float) -> str:
    """A duration as OpenAI's headers write it: 120ms, 7.5s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{int(seconds // 60)}m{int(seconds % 60)}s"


class Service:
    """Processor sharing: up to `capacity` replies are made at full speed, more of them share that speed evenly.

    A reply is done when the virtual clock, which runs at min(1, capacity / replies under way), has advanced by its
    work; so the throughput stops growing at `capacity` and nobody is told.
    """

    def __init__(self, capacity: int | None) -> None:
        self._capacity = capacity
        self._virtual = self._then = 0.0
        self._number = 0
        self._under_way: list[tuple[float, int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def serve(self, seconds: float) -> None:
        """Return when work of so many seconds at full speed is done."""
        if seconds <= 0:
            return
        if self._capacity is None:
            await asyncio.sleep(seconds)
            return
        loop = asyncio.get_running_loop()
        self._advance(loop.time())
        done: asyncio.Future[None] = loop.create_future()
        self._number += 1
        heapq.heappush(self._under_way, (self._virtual + seconds, self._number, done))
        self._schedule(loop)
        try:
            await done
        except asyncio.CancelledError:
            self._advance(loop.time())
            self._under_way = [item for item in self._under_way if item[2] is not done]
            heapq.heapify(self._under_way)
            self._schedule(loop)
            raise

    def _speed(self) -> float:
        assert self._capacity is not None
        return min(1.0, self._capacity / max(1, len(self._under_way)))

    def _advance(self, now: float) -> None:
        self._virtual += (now - self._then) * self._speed() if self._under_way else 0.0
        self._then = now

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._under_way:
            wait = (self._under_way[0][0] - self._virtual) / self._speed()
            self._timer = loop.call_later(max(0.0, wait), self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._advance(loop.time())
        while self._under_way and self._under_way[0][0] <= self._virtual + 1e-9:
            done = heapq.heappop(self._under_way)[2]
            if not done.done():
                done.set_result(None)
        self._schedule(loop)
