"""Personal data that must not be published by oversight: what the rule `contact` finds in a release's rows."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from filters.personal import KINDS, first
from pipeline.errors import DataError
from pipeline.release import NOTHING_SENT

LOOKED_FOR = {name: kind for name, kind in KINDS.items() if name != "secret-key"}
"""Kinds of personal data; keys are for `pipeline.leaks`, which looks more closely."""

_TURNS = ("messages", "chosen", "rejected")
_TEXTS = ("input", "tools", "extra")
_ROWS_IN = (".json", ".jsonl")
_NOT_ROWS = ("report.json", "dataset_info.json", "manifest.json")
_BATCH_ROWS = 4_000


@dataclass
class Found:
    """How many rows hold one kind, and where the first is; what it is stays unsaid."""

    rows: int
    place: str


def personal_data(files: Mapping[str, Path]) -> DataError | None:
    """Look for personal data in the rows of a release.

    Args:
        files: path in the release -> file. The parquet files hold every row; the others are read when there are none.

    Returns:
        What to raise instead of publishing: counts by kind, the first place of each, and how to get rid of them; None
        when there is nothing.

    Raises:
        DataError: a file named .parquet is none.
    """
    found: dict[str, Found] = {}
    for place, texts in _texts(files):
        for start, kind, rows in _held(texts):
            entry = found.setdefault(kind, Found(0, f"{place} row {start}"))
            entry.rows += rows
    if not found:
        return None
    told = ", ".join(f"{kind} in {entry.rows:,} rows (first in {entry.place})" for kind, entry in found.items())
    masks = ", ".join(f"mask-{kind}" for kind in found)
    return DataError(
        f"{NOTHING_SENT}rows hold what looks like personal data: {told}",
        f"mask it (fixes: [{masks}] of a fix entry) or drop those rows (filter rule 'contact') and export again; "
        "or publish with --allow-personal when you have looked and may",
    )


def _held(texts: "Texts") -> Iterator[tuple[int, str, int]]:
    """For each kind in these texts: number of the first row that has one, the kind, and how many rows have one."""
    for name, kind in LOOKED_FOR.items():
        gated = texts.rows.filter(pl.col("text").str.contains(kind.gate))
        hits = [row for row, text in gated.iter_rows() if first(text, kind) is not None]
        if hits:
            yield texts.start + hits[0], name, len(hits)


@dataclass(frozen=True)
class Texts:
    """Texts of some rows: a frame of `row` (from 0) and `text`, and the number of the first row, from 1."""

    start: int
    rows: pl.DataFrame


def _texts(files: Mapping[str, Path]) -> Iterator[tuple[str, Texts]]:
    tables = {name: path for name, path in files.items() if path.suffix == ".parquet"}
    if tables:
        for name, path in tables.items():
            yield from ((name, texts) for texts in _of_table(path))
        return
    named = [(name, path) for name, path in files.items() if path.suffix in _ROWS_IN and name not in _NOT_ROWS]
    yield from ((name, _of_rows(path)) for name, path in named[:1])  # every format holds the same rows


def _of_table(path: Path) -> Iterator[Texts]:
    start = 1
    try:
        for batch in pq.ParquetFile(path).iter_batches(_BATCH_ROWS):
            frame = pl.DataFrame(pa.Table.from_batches([batch]))
            yield Texts(start, frame.select(pl.int_range(pl.len()).alias("row"), text=_joined(frame)))
            start += frame.height
    except pa.ArrowException as error:
        raise DataError(
            f"{path} cannot be read as parquet: {error}", "delete the export folder and export again"
        ) from None


def _joined(frame: pl.DataFrame) -> pl.Expr:
    turns = [
        pl.col(name).list.eval(pl.element().struct["content"]).list.join("\n", ignore_nulls=True)
        for name in _TURNS
        if isinstance(frame.schema.get(name), pl.List)
    ]
    others = [
        pl.col(name) for name, kind in frame.schema.items() if kind == pl.String and (name in _TEXTS or not turns)
    ]
    return pl.concat_str([*turns, *others] or [pl.lit("")], separator="\n", ignore_nulls=True)


def _of_rows(path: Path) -> Texts:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        rows = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.split("\n") if line]
    except ValueError:
        rows = [text]  # no rows then, but still text that would be published
    said = ["\n".join(_strings(row)) for row in (rows if isinstance(rows, list) else [rows])]
    return Texts(1, pl.DataFrame({"row": range(len(said)), "text": said}, schema={"row": pl.Int64, "text": pl.String}))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from chain.from_iterable(_strings(item) for key, item in value.items() if key != "id")
    elif isinstance(value, list):
        yield from chain.from_iterable(map(_strings, value))
