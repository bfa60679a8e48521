"""How many requests or tokens a minute the user and the server allow."""

import math

from pipeline.llm.bucket import Bucket, Window
from pipeline.llm.told import Told


class Allowance:
    """Requests or tokens a minute: the least of what the user gives and what the server tells."""

    def __init__(self, given: float | None, now: float, *, strict: bool) -> None:
        self._given, self._strict = given, strict
        self._bucket: Bucket | None = None
        self._window: Window | None = None
        self._short_until, self._heard = -math.inf, -math.inf
        self._told: float | None = None
        self.per_minute: float | None = None
        self._keep(now)

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` may be taken."""
        if self._bucket is None:
            return 0.0
        if self._short_until > -math.inf and now >= self._short_until:
            self._short_until = -math.inf
            self._bucket.flow(self.per_minute or 0.0, now)
        return max(self._bucket.wait(cost, now), self._window.wait(now) if self._window is not None else 0.0)

    def take(self, cost: float, now: float) -> None:
        """Take `cost`; a negative cost gives back."""
        if self._bucket is not None:
            self._bucket.take(cost, now)
        if self._window is not None:
            self._window.take(now)

    def give(self, per_minute: float | None, now: float) -> None:
        """The user allows another rate from now on, or any."""
        if per_minute != self._given:
            self._given = per_minute
            self._keep(now)

    def hear(self, told: Told, sent: float, now: float) -> None:
        """What the answer to a call that was sent then tells; older news than what is known is no news."""
        if sent < self._heard:
            return
        self._heard = sent
        if told.per_minute is not None and told.per_minute != self._told:
            self._told = told.per_minute
            self._keep(now)
        short = told.pause()
        if short is not None and self._bucket is not None and self.per_minute is not None:
            rate, until = short[0], sent + short[1]
            if until > now:
                self._short_until = until
                # Never quite nothing: should it be a misunderstanding, a call now and then clears it up.
                self._bucket.flow(min(self.per_minute, 60.0 * max(rate, 1.0 / short[1])), now)

    def _keep(self, now: float) -> None:
        self.per_minute = min((rate for rate in (self._given, self._told) if rate is not None), default=None)
        if self.per_minute is None:
            self._bucket = self._window = None
        elif self._bucket is None:
            self._bucket = Bucket(self.per_minute, now)
            self._window = Window(self.per_minute) if self._strict else None
        else:
            self._bucket.flow(self.per_minute, now)
            if self._window is not None:
                self._window.set(self.per_minute)
