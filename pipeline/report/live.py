"""A run's live state in words: how far an entry is, how its calls go, and what everything waits for."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.llm.purse import dollars

QUIET_AFTER = 20.0
"""Seconds without a reply, with calls in flight, after which that is said."""


def progress(entry: Mapping[str, Any], eta: float | None = None) -> str:
    """How far an entry is, or what became of it."""
    if entry["state"] == "waiting":
        return "waiting"
    if entry["state"] == "running":
        if not entry["total"]:
            return f"{entry['done']:,}"
        left = "?" if eta is None else span(eta)
        return f"{entry['done']:,} of {entry['total']:,}, ETA {left}"
    made = f" + {entry['derived']:,} made" if entry.get("derived") else ""
    books = f"{entry['in']:,} in{made}, {entry['kept']:,} kept, {entry['dropped']:,} dropped"
    return f"{books} (unchanged)" if entry["state"] == "skipped" else books


def eta_of(snapshot: Mapping[str, Any]) -> float | None:
    """Seconds that the running entry still needs; None while nobody can tell."""
    eta: float | None = (snapshot.get("pace") or {}).get("eta_seconds")
    return eta


def calls(snapshot: Mapping[str, Any]) -> list[str]:
    """The state of the model calls, one part each; empty before the first."""
    usage, pace = snapshot.get("usage") or {}, snapshot.get("pace") or {}
    if not (usage.get("calls") or usage.get("sent")):
        return []
    parts = [f"{usage.get('new', 0):,} new"]
    if usage.get("reused"):
        parts.append(f"{usage['reused']:,} reused")
    parts.append(f"{usage.get('in_flight', 0):,} in flight")
    parts.append(f"{rate(pace.get('requests_per_second', 0.0))} req/s")
    parts.append(f"{rate(pace.get('tokens_per_second', 0.0))} tok/s")
    if usage.get("retries_429"):
        parts.append(f"{usage['retries_429']:,} x 429")
    if usage.get("retries"):
        parts.append(f"{usage['retries']:,} {'retry' if usage['retries'] == 1 else 'retries'}")
    if usage.get("unavailable"):
        parts.append(f"{usage['unavailable']:,} given up")
    return [*parts, money(usage)]


def money(usage: Mapping[str, Any]) -> str:
    """What the run has spent, earlier parts of it included, and how much it may; "unknown" is never a number."""
    books = usage.get("money") or {}
    spent, unresolved, budget = books.get("spent"), books.get("unresolved"), books.get("budget")
    known = dollars(spent if spent is not None else usage.get("cost") or 0.0)
    if usage.get("cost", 0.0) is None and budget is None:
        known = f"{known} + unknown" if spent else "cost unknown"
    limit = f" of {dollars(budget)}" if budget is not None else ""
    return f"{known}{limit}{f' + {dollars(unresolved)} unresolved' if unresolved else ''}"


def waiting(snapshot: Mapping[str, Any]) -> str | None:
    """What is down, what everything waits for, or how long nothing has come; None while all goes on."""
    if outages := (snapshot.get("usage") or {}).get("outages"):
        return "; ".join(map(str, outages))
    standing = snapshot.get("waiting_for")
    if standing:
        seconds = standing.get("seconds")
        return f"waiting{'' if seconds is None else f' {span(seconds)}'}: {standing['why']}"
    quiet = (snapshot.get("pace") or {}).get("quiet_seconds", 0.0)
    return f"no reply for {span(quiet)}; still waiting" if quiet >= QUIET_AFTER else None


def span(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{round(minutes / 1440)} days"


def rate(number: float) -> str:
    """Something a second, with about two digits that count."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}" if number >= 1 or number == 0 else f"{number:.2f}"


def folded(parts: Sequence[str], width: int) -> list[str]:
    """The parts in as few lines of that width as they need, none of them cut in two."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines
