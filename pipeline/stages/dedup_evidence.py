"""Outcomes of deduplication: every drop names the record that stands for it, wherever that one is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pipeline.record import detail_text
from pipeline.similar.index import Known, Shelf
from pipeline.stage import Outcome
from pipeline.stages.dedup_find import Found

Fault = tuple[str, Mapping[str, Any]]
"""A reason and its detail."""

_NO_FAULTS: Mapping[int, Fault] = {}


@dataclass(frozen=True, slots=True)
class Names:
    """What evidence calls the rows that `Found` numbers.

    Attributes:
        known: the remembered records.
        shelf_of: for each of them, which shelf it is on.
        shelves: the shelves; those of files come first.
        files: how many shelves are files of `against`; the others are batches of the index.
        ids: of the stream's records.
    """

    known: Known
    shelf_of: "np.ndarray[Any, np.dtype[np.int64]]"
    shelves: Sequence[Shelf]
    files: int
    ids: pl.Series

    def id(self, row: int) -> str:
        """A row's record id."""
        if row >= len(self.known):
            id: str = self.ids[row - len(self.known)]
            return id
        return bytes(self.known.ids[row]).decode()

    def place(self, row: int) -> dict[str, Any]:
        """Where a row that is not of the stream stands."""
        if row >= len(self.known):
            return {}
        shelf = int(self.shelf_of[row])
        if shelf < self.files:
            return {"file": self.shelves[shelf].label, "line": int(self.known.lines[row])}
        return {"batch": self.shelves[shelf].label}


def outcome(
    block: pl.DataFrame,
    begin: int,
    found: Found,
    names: Names,
    near: str = "near-duplicate",
    faults: Mapping[int, Fault] = _NO_FAULTS,
) -> Outcome:
    """The outcome of the block that starts at row `begin` of the stream.

    Args:
        block: its records.
        begin: where it starts.
        found: who repeats whom.
        names: what evidence calls the rows.
        near: reason of what is similar.
        faults: rows that could not be compared, and why; they are dropped whatever was found.
    """
    first = found.remembered + begin
    kept = found.kept[begin : begin + len(block)].copy()
    kept[[row - begin for row in faults if begin <= row < begin + len(block)]] = False
    rows = first + np.flatnonzero(~kept)
    told = [
        faults.get(row - found.remembered)
        or ("exact-duplicate" if found.is_exact[row] else near, _detail(row, found, names))
        for row in rows.tolist()
    ]
    reasons, details = [reason for reason, _ in told], [detail_text(detail) for _, detail in told]
    return Outcome(
        kept=block.filter(kept),
        drops=block.filter(~kept).with_columns(
            reason=pl.Series(reasons, dtype=pl.String), detail=pl.Series(details, dtype=pl.String)
        ),
    )


def _detail(row: int, found: Found, names: Names) -> dict[str, Any]:
    all_found = found.duplicates
    partner, neighbour = int(all_found.partner[row]), int(all_found.neighbour[row])
    detail = {"partner": names.id(partner), "similarity": float(all_found.similarity[row]), **names.place(partner)}
    if neighbour != partner:
        score = float(all_found.neighbour_similarity[row])
        detail |= {"neighbour": names.id(neighbour), "neighbour_similarity": score}
    return detail
