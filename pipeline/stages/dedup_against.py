"""Other datasets whose records count as seen: read once, remembered by hashes on disk."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from pipeline.formats.columns import frame_of
from pipeline.formats.elements import Unreadable, shown
from pipeline.formats.files import expand
from pipeline.formats.reading import examples
from pipeline.record import Record, source_id
from pipeline.similar.index import Known, Shelf, write_segments
from pipeline.similar.shingles import Shingles
from pipeline.stages.dedup_sketch import Aspect, Sketch, sketch

_BLOCK_ROWS = 5_000
_SEGMENT_ROWS = 500_000


def shelves_of(files: Sequence[str], aspect: Aspect, folder: Path) -> tuple[list[Shelf], dict[str, int]]:
    """A shelf under `folder` for each file, and how many of their rows were read and could not be."""
    counts = {"against_rows": 0, "against_unreadable": 0}
    shelves = []
    for number, path in enumerate(expand(files)):
        place = folder / f"{number:03d}"
        sizes = write_segments(place, _known(path, aspect, counts), aspect.bands, _SEGMENT_ROWS)
        segments = tuple((place / f"{k:03d}", size) for k, size in enumerate(sizes))
        shelves.append(Shelf(shown(path.name), segments))
    return shelves, {name: count for name, count in counts.items() if count}


def _known(path: Path, aspect: Aspect, counts: dict[str, int]) -> Iterator[Known]:
    records: list[Record] = []
    lines: list[int] = []
    for item in examples(path):
        if isinstance(item, Unreadable):
            counts["against_unreadable"] += 1
            continue
        for fields in item.records:
            id = source_id(fields["messages"], fields.get("input"), fields.get("tools"))
            records.append(Record(id=id, **cast(Any, fields)))
            lines.append(item.line)
        counts["against_rows"] += len(item.records)
        if len(records) >= _BLOCK_ROWS:
            yield known_of(sketch(frame_of(records), aspect), np.array(lines))
            records, lines = [], []
    if records:
        yield known_of(sketch(frame_of(records), aspect), np.array(lines))


def known_of(found: Sketch, lines: "np.ndarray[Any, np.dtype[np.int64]]") -> Known:
    """What a shelf holds of sketched records."""
    every = np.arange(len(found.ids))
    nothing = Shingles(np.empty(0, np.uint64), np.zeros(len(every) + 1, np.int64))
    return Known(
        ids=bytes_of(found.ids),
        lines=lines,
        digests=found.digests,
        sets=nothing if found.shingles is None else found.shingles.sets(every),
        aside=nothing if found.aside is None else found.aside.sets(every),
    )


def bytes_of(ids: pl.Series) -> "np.ndarray[Any, np.dtype[np.bytes_]]":
    """Ids as an array without objects."""
    return np.array([id.encode() for id in ids], np.bytes_)
