"""The rows of an export: those under the licences that are wanted; what is left out is counted and listed."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from pipeline.licenses import selected
from pipeline.record import Record, records_of
from pipeline.stage import Stream


class Selection:
    """A stream without the rows whose licence is not wanted; walked as often as needed.

    Attributes:
        left_out: licence -> how many `rows` it cost, and their `ids`; "not known" for rows that name none.
    """

    def __init__(self, stream: Stream, only: Sequence[str] = ()) -> None:
        self._stream, self._only = stream, tuple(only)
        self.left_out: dict[str, dict[str, Any]] = {}
        if self._only:
            self._list_unwanted()

    def _list_unwanted(self) -> None:
        for block in self._stream.blocks():
            unwanted = block.filter(~self._wanted(block)).select("id", pl.col("license").fill_null("not known"))
            for name, id in unwanted.select("license", "id").iter_rows():
                entry = self.left_out.setdefault(name, {"rows": 0, "ids": []})
                entry["rows"] += 1
                entry["ids"].append(id)
        self.left_out = dict(sorted(self.left_out.items()))

    def _wanted(self, block: pl.DataFrame) -> pl.Series:
        verdicts = {name: selected(name, self._only) for name in block["license"].unique().to_list()}
        return pl.Series([verdicts[name] for name in block["license"]], dtype=pl.Boolean)

    def blocks(self) -> Iterator[pl.DataFrame]:
        """The rows as frames of SCHEMA."""
        for block in self._stream.blocks():
            yield block.filter(self._wanted(block)) if self._only else block

    def records(self) -> Iterator[Record]:
        """The rows one by one."""
        return (record for block in self.blocks() for record in records_of(block))
