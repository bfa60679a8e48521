"""The command `diff`."""

import argparse
from collections.abc import Iterator

from pipeline.diff.comparison import Comparison, Figure, compare
from pipeline.diff.version import Row, load
from pipeline.report.rows import json_text, printable, table


def diff(arguments: argparse.Namespace) -> int:
    """`seedmill diff A B`."""
    found = compare(load(arguments.a, arguments.outputs), load(arguments.b, arguments.outputs))
    print(json_text(found.as_json(arguments.n)) if arguments.json else "\n".join(_lines(found, arguments.n)))
    return 0


def _lines(found: Comparison, shown: int) -> Iterator[str]:
    a, b = (printable(name).replace("\n", " ") for name in found.names)
    yield f"A  {a}"
    yield f"B  {b}"
    counts = {"the same": found.same, "changed": len(found.changed), "removed": len(found.removed)}
    counts["added"] = len(found.added)
    yield "rows: " + ", ".join(f"{count:,} {what}" for what, count in counts.items())
    yield ""
    yield table(("", "A", "B", "change"), [_cells(figure) for figure in found.figures], left=1)
    samples = {"changed": [b for _, b in found.changed], "removed": found.removed, "added": found.added}
    for what, rows in samples.items():
        yield from _sample(what, rows, shown)


def _sample(what: str, rows: list[Row], shown: int) -> Iterator[str]:
    if rows and shown:
        more = f" (first {shown} of {len(rows):,})" if len(rows) > shown else ""
        yield f"\n{what}{more}"
        yield from (f"  {row.id + '  ' if row.id else ''}{printable(row.shown)}" for row in rows[:shown])


def _cells(figure: Figure) -> tuple[str, str, str, str]:
    what, a, b, kind = figure
    change = "" if a is None or b is None or a == b else _shown(b - a, kind, sign="+")
    return what, _shown(a, kind), _shown(b, kind), change


def _shown(value: float | None, kind: str, sign: str = "") -> str:
    if value is None:
        return "-"
    if kind == "count":
        return f"{value:{sign},.0f}"
    return f"{100 * value:{sign}.2f}%" if kind == "share" else f"{value:{sign}.3f}"
