"""Rows of a run as people read them: records and drops, shortened or whole."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.record import Record, from_row


def read_rows(folder: Path, *, drops: bool, limit: int, reason: str | None = None) -> Iterator[dict[str, Any]]:
    """Up to `limit` rows of a stage directory, spread evenly over it, in order.

    Yields:
        `record`, and for drops `reason` and `detail`.
    """
    frame = pl.scan_parquet(folder / f"{'drops' if drops else 'kept'}-*.parquet")
    if reason is not None:
        frame = frame.filter(pl.col("reason") == reason)
    total = frame.select(pl.len()).collect().item()
    step = max(1, total // limit) if limit else 1
    for row in frame.gather_every(step).head(limit).collect().iter_rows(named=True):
        item: dict[str, Any] = {"record": from_row(row)}
        if drops:
            item |= {"reason": row["reason"], "detail": json.loads(row["detail"])}
        yield item


def as_text(record: Record, *, width: int | None = 400) -> str:
    """A record as labelled paragraphs; each text cut to `width` characters when given."""
    lines = [f"id {record.id}" + (f"   language {record.language}" if record.language else "")]
    if record.scores:
        lines.append("scores " + ", ".join(f"{name} {value:g}" for name, value in sorted(record.scores.items())))
    if record.tags:
        lines.append("tags " + ", ".join(f"{name}={value}" for name, value in sorted(record.tags.items())))
    for message in record.messages:
        lines.append(f"{message.role}: {_cut(printable(message.content), width)}")
        if message.role == "user" and record.input and message is record.messages[_first_user(record)]:
            lines.append(f"input: {_cut(printable(record.input), width)}")
    return "\n".join(lines)


def detail_text(detail: Mapping[str, Any], *, width: int | None = 300) -> str:
    """A drop's evidence, one line a key."""
    return "\n".join(
        f"  {key}: {_cut(printable(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)), width)}"
        for key, v in detail.items()
    )


def _first_user(record: Record) -> int:
    return next(i for i, m in enumerate(record.messages) if m.role == "user")


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else f"{text[:width]} ... ({len(text):,} characters)"


def printable(text: str) -> str:
    """Without the control characters by which a hostile text could steer the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def json_text(value: Any) -> str:
    """JSON for programs, and for people: what could steer the terminal is escaped inside its strings."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    return "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    """Aligned columns; the first `left` of them to the left, the others to the right."""
    cells = [header, *([printable(cell).replace("\n", "\\n").replace("\t", "\\t") for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
