"""What a server tells of its limits in the headers of an answer."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

What = Literal["requests", "tokens"]

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EPOCH, _EPOCH_MS = 1e9, 1e12
"""Larger numbers of seconds or milliseconds are points in time, not spans."""

_ITEM = re.compile(r'\s*("[^"]*"|[\w.*/+-]+)?((?:\s*;\s*[\w-]+=(?:"[^"]*"|[^;,\s]+))*)\s*(?:,|$)')
_PARAMETER = re.compile(r'([\w-]+)=("[^"]*"|[^;,\s]+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One budget as a server describes it.

    Attributes:
        limit: units that a window allows, or None when it is not said.
        window: seconds.
        remaining: units that are left.
        reset: seconds until the budget is whole again, or until the window ends: servers mean either.
    """

    what: What
    limit: float | None = None
    window: float = 60.0
    remaining: float | None = None
    reset: float | None = None

    @property
    def per_minute(self) -> float | None:
        """The limit as a rate."""
        return None if self.limit is None else self.limit * 60.0 / self.window

    def pause(self) -> tuple[float, float] | None:
        """(units a second, for so many seconds) when less is left than the limit alone would let pass, else None.

        In a bucket that fills evenly, `reset` is how long what was taken takes to come back, and the limit as a rate is
        all there is to keep. Where it is the end of a window, what is left must last until then.
        """
        if self.limit is None or self.remaining is None or not self.reset:
            return None
        rate = self.limit / self.window
        used = self.limit - self.remaining
        if abs(self.reset * rate - used) <= 1.5 + 0.02 * used:
            return None if self.remaining >= 1 else (0.0, 1.0 / rate)
        span = min(self.reset, self.window)
        return (self.remaining / span, span) if self.remaining < rate * span else None


def read_told(headers: Mapping[str, str], names: Mapping[str, Mapping[str, Any]]) -> tuple[Told, ...]:
    """The budgets that an answer's headers describe.

    Args:
        headers: names in lower case.
        names: by `requests` and `tokens`, the headers of `limit`, `remaining` and `reset`, and the seconds of `window`;
            see `servers.yaml`. The IETF's RateLimit fields are understood from any server.
    """
    found = [_named(what, headers, own) for what, own in names.items()]
    return tuple(told for told in [*found, *_standard(headers)] if told is not None)


def _named(what: Any, headers: Mapping[str, str], names: Mapping[str, Any]) -> Told | None:
    limit = _count(headers.get(names.get("limit", "")))
    remaining = _count(headers.get(names.get("remaining", "")), least=0.0)
    if limit is None and remaining is None:
        return None
    reset = seconds_of(headers.get(names.get("reset", "")))
    return Told(what=what, limit=limit, window=float(names.get("window", 60)), remaining=remaining, reset=reset)


def _standard(headers: Mapping[str, str]) -> list[Told]:
    """draft-ietf-httpapi-ratelimit-headers: fields of -08 and later, else the three fields of the versions before."""
    policies = {name: given for name, given in _items(headers.get("ratelimit-policy", "")) if "w" in given}
    state = dict(_items(headers.get("ratelimit", "")))
    told = []
    for name, policy in policies.items():
        limit, window = _count(policy.get("q", name)), _count(policy["w"])
        now = state.get(name, {})
        if limit is not None and window is not None and policy.get("qu", "requests") in ("requests", "tokens"):
            what: What = "tokens" if policy.get("qu") == "tokens" else "requests"
            left, reset = _count(now.get("r"), least=0.0), seconds_of(now.get("t"))
            if not now and len(policies) == 1:
                left = _count(headers.get("ratelimit-remaining"), least=0.0)
                reset = seconds_of(headers.get("ratelimit-reset"))
            told.append(Told(what=what, limit=limit, window=window, remaining=left, reset=reset))
    # Of several windows the one that allows least over time is the one to keep.
    return sorted(told, key=lambda one: one.per_minute or 0.0)[:1]


def _items(field: str) -> list[tuple[str, dict[str, str]]]:
    """A list of items with parameters, as structured fields write it: name and parameters, without quotes."""
    return [
        ((match[1] or "").strip('"'), {k: v.strip('"') for k, v in _PARAMETER.findall(match[2])})
        for match in _ITEM.finditer(field)
        if match[0].strip()
    ]


def _count(text: str | None, least: float = 1e-9) -> float | None:
    """A number that means something: some servers send 0 or -1 for a limit they do not apply."""
    try:
        number = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return number if least <= number < 1e15 else None


def seconds_of(text: str | None) -> float | None:
    """A span of time: `6m0s`, `20ms`, `1.5`, or a point in time as seconds or milliseconds since 1970."""
    if text is None:
        return None
    text = text.strip()
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))
    number = _count(text, least=0.0)
    if number is None or number < _EPOCH:
        return number
    return max(0.0, number / (1000.0 if number >= _EPOCH_MS else 1.0) - time.time())
