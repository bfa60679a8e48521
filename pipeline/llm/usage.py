"""What calls were made and what they used, per entry of a recipe."""

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.llm.reading import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counts of calls; add two to have both.

    Attributes:
        calls: replies that were wanted when they came, reused ones included.
        reused: of these, taken from the ledger or from an equal call already under way.
        sent: attempts over the wire, retries included.
        retries: of these, second and later attempts.
        retries_429: of these, after the server said that we ask too much.
        unavailable: calls given up at their deadline; a re-run asks them again.
        after_target: replies that nobody wanted any more when they came; stored all the same.
        in_flight: calls under way now.
        prompt_tokens: of all replies that were wanted.
        completion_tokens: of all replies that were wanted.
        new_prompt_tokens: of the calls really made.
        new_completion_tokens: of the calls really made.
        cost: US dollars for the calls really made; None as soon as one's price is unknown.
        maybe_paid: attempts without a reply that may be on the bill all the same (timeouts, broken connections).
        seconds: from the first call to the last reply.
        in_flight_found_at_open: calls that were under way, and maybe paid, when the last process died.
    """

    calls: int = 0
    reused: int = 0
    sent: int = 0
    retries: int = 0
    retries_429: int = 0
    unavailable: int = 0
    after_target: int = 0
    in_flight: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    new_prompt_tokens: int = 0
    new_completion_tokens: int = 0
    cost: float | None = 0.0
    maybe_paid: int = 0
    seconds: float = 0.0
    in_flight_found_at_open: int = 0

    @property
    def new(self) -> int:
        """Replies that were wanted and not reused."""
        return self.calls - self.reused

    def __add__(self, other: "Usage") -> "Usage":
        values = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name not in _APART}
        known = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Usage(**values, cost=known, seconds=max(self.seconds, other.seconds))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, with `new`."""
        return asdict(self) | {"new": self.new}


_APART = ("cost", "seconds")


class Meter:
    """Adds usage up by entry; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, dict[str, Any]] = {}
        self._began: dict[str, float] = {}

    def add(self, entry: str, **changes: float | None) -> None:
        """Add to an entry's counts, by the names of Usage's fields; a cost of None stays None."""
        now = time.monotonic()
        with self._lock:
            began = self._began.setdefault(entry, now)
            counts = self._of.setdefault(entry, {})
            for name, change in changes.items():
                before = counts.get(name, 0)
                counts[name] = None if before is None or change is None else before + change
            counts["seconds"] = now - began

    def usage(self, entry: str | None = None) -> Usage:
        """Of one entry, or of all."""
        with self._lock:
            if entry is not None:
                return Usage(**self._of.get(entry, {}))
            return sum((Usage(**counts) for counts in self._of.values()), Usage())


def count_reused(meter: Meter, entry: str, reading: Reading) -> None:
    """Count a reply that the ledger held."""
    meter.add(
        entry, calls=1, reused=1, prompt_tokens=reading.prompt_tokens, completion_tokens=reading.completion_tokens
    )


def cost_of(reading: Reading, price: Mapping[str, float] | None) -> float | None:
    """US dollars for a reply at prices per million tokens.

    None when that is not known: no price, a prompt longer than the price is published for, or an answer that does not
    say what it used.
    """
    if price is None:
        return None
    rates = (price["input"], price.get("cached_input", price["input"]), price["output"])
    if not any(rates):
        return 0.0
    if not reading.prompt_tokens and reading.outcome in ("ok", "length"):
        return None
    if reading.prompt_tokens > price.get("up_to", reading.prompt_tokens):
        return None
    cached = min(reading.cached_tokens, reading.prompt_tokens)
    tokens = (reading.prompt_tokens - cached, cached, reading.completion_tokens)
    return sum(count * rate for count, rate in zip(tokens, rates, strict=True)) / 1e6
