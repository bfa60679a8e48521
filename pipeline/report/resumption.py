"""What a run found of earlier ones, in words: replies that were reused, and calls that nobody knows the end of."""

from collections.abc import Sequence
from typing import Any

from pipeline.report.funnel import Step

_LIST_THEM = "'seedmill ledger ls --lost' lists them"


def facts(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """For each entry that asked a model: `entry`, `reused`, `in_flight_found_at_open` and `new`."""
    keys = ("reused", "in_flight_found_at_open", "new")
    return [{"entry": s.name} | {key: s.usage.get(key, 0) for key in keys} for s in steps if s.usage.get("calls")]


def at_end(steps: Sequence[Step]) -> list[str]:
    """The whole sentence, and one for each entry when there are several; nothing for a run that began from nothing."""
    found = facts(steps)
    total = {key: sum(item[key] for item in found) for key in ("reused", "in_flight_found_at_open", "new")}
    if not (total["reused"] or total["in_flight_found_at_open"]):
        return []
    lines = [_sentence(total, how=f" (maybe paid; {_LIST_THEM})")]
    return lines if len(found) < 2 else [*lines, *(f"  {item['entry']}: {_sentence(item)}" for item in found)]


def _sentence(item: dict[str, Any], how: str = "") -> str:
    parts = [f"{item['reused']:,} {'reply' if item['reused'] == 1 else 'replies'} reused"]
    if lost := item["in_flight_found_at_open"]:
        parts.append(f"{lost:,} {'was' if lost == 1 else 'were'} in flight when the last process died{how}")
    return ", ".join([*parts, f"{item['new']:,} new"])
