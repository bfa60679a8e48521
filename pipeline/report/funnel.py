"""The funnel: for each entry of a run what came in, was made, fixed, dropped by which reason, and kept."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.stage import Tables


@dataclass(frozen=True)
class Step:
    """One entry's books and costs, from its manifest."""

    name: str
    rows_in: int
    derived: int
    kept: int
    dropped: int
    fixed: Mapping[str, int]
    reasons: Mapping[str, int]
    hits: Mapping[str, int]
    notes: Mapping[str, int]
    usage: Mapping[str, Any]
    seconds: float
    tables: Tables = field(default_factory=dict)


def steps(facts: Mapping[str, Any]) -> list[Step]:
    """The finished entries of a run, in order; `facts` as `pipeline.run.read_run` gives them."""
    found = []
    for entry in facts["entries"]:
        manifest = entry.get("manifest")
        if manifest is None:
            break
        found.append(
            Step(
                name=entry["name"],
                rows_in=manifest["in"],
                **{key: manifest[key] for key in ("derived", "kept", "dropped", "fixed", "reasons", "hits", "notes")},
                usage=manifest.get("usage") or {},
                seconds=manifest["seconds"],
                tables=manifest.get("tables") or {},
            )
        )
    return found


def rows(found: Sequence[Step]) -> Iterable[tuple[str, str, str, str, str]]:
    """Table rows: entry, in, made, kept, and what happened, one line a reason, most frequent first."""
    for step in found:
        happened = [f"fixed {count:,} {slug}" for slug, count in _ranked(step.fixed)]
        happened += [f"dropped {count:,} {slug}" for slug, count in _ranked(step.reasons)]
        happened += [f"({count:,} {slug})" for slug, count in _ranked(step.notes)]
        first = (step.name, f"{step.rows_in:,}", f"{step.derived:,}" if step.derived else "", f"{step.kept:,}")
        yield (*first, happened[0] if happened else "")
        for line in happened[1:]:
            yield ("", "", "", "", line)


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    # A note may also be a table of its own, which the dataset card shows.
    return sorted(((k, v) for k, v in counts.items() if isinstance(v, int) and v), key=lambda item: (-item[1], item[0]))


HEADER = ("entry", "in", "made", "kept", "what happened")


def as_text(found: Sequence[Step]) -> str:
    """The funnel as aligned plain text."""
    table = [HEADER, *rows(found)]
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    lines = []
    for name, *numbers, happened in table:
        cells = [name.ljust(widths[0]), *(n.rjust(w) for n, w in zip(numbers, widths[1:], strict=True)), happened]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def as_markdown(found: Sequence[Step], shown: Callable[[str], str] = str) -> str:
    """The funnel as a markdown table, the events of an entry in one cell; `shown` escapes what recipes name."""
    lines = [f"| {' | '.join(HEADER)} |", "|---|---:|---:|---:|---|"]
    for step in found:
        happened = "; ".join(shown(row[4]) for row in rows([step]) if row[4])
        made = f"{step.derived:,}" if step.derived else ""
        lines.append(f"| {shown(step.name)} | {step.rows_in:,} | {made} | {step.kept:,} | {happened} |")
    return "\n".join(lines).replace("|  |", "| |")


def totals(found: Sequence[Step]) -> dict[str, Any]:
    """Calls and tokens of the whole run, by adding up the entries'; `cost` is None as soon as one is unknown."""
    keys = ("calls", "new", "reused", "in_flight_found_at_open", "prompt_tokens", "completion_tokens")
    total: dict[str, Any] = {key: sum(step.usage.get(key, 0) for step in found) for key in keys}
    costs = [step.usage.get("cost") for step in found if step.usage.get("calls")]
    total["cost"] = None if None in costs else sum(c for c in costs if c is not None)
    total["seconds"] = round(sum(step.seconds for step in found), 1)
    return total
