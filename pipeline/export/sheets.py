"""The row files of an export: what a trainer would skip is left out and counted, the rest checked and written."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.export.check import RowCheck
from pipeline.export.glue import objection
from pipeline.export.survey import Survey
from pipeline.export.table import Table
from pipeline.formats import FORMATS
from pipeline.formats.shape import Format
from pipeline.formats.writing import Container, JsonRows
from pipeline.record import Record

JSON_FILES: dict[str, tuple[str, Container]] = {
    "alpaca": ("alpaca.json", "array"),
    "sharegpt": ("sharegpt.json", "array"),
    "messages": ("messages.jsonl", "lines"),
}
"""Export format -> its file, and how rows stand in it."""

PARQUET = "data/train-*.parquet"
EXPORTS = (*JSON_FILES, "parquet")


@dataclass(kw_only=True)
class FileReport:
    """What became of the records in one file.

    Attributes:
        rows: rows written.
        left_out: reason -> how many `rows`, and their `ids`.
        lost: what of a record's content the file cannot carry -> rows written without it.
        columns: the columns that its rows have.
    """

    rows: int = 0
    left_out: dict[str, dict[str, Any]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)


class Sheet:
    """One JSON file of the export, in one format; call `close` at the end."""

    def __init__(self, format: Format, rows: JsonRows, survey: Survey) -> None:
        self._format, self._rows, self._kind = format, rows, survey.kind
        self._check = RowCheck(format.schema)
        self._lost: Counter[str] = Counter()
        self._columns: dict[str, None] = {}
        self._left_out: dict[str, list[str]] = {}

    def add(self, record: Record) -> None:
        """Write the record, or note why not."""
        reason = self._format.refuses(record) or objection(self._format.name, record, self._kind)
        if reason is not None:
            self._left_out.setdefault(reason, []).append(record.id)
            return
        row = self._format.write(record)
        self._check.check(row)
        if row.keys() != self._columns.keys():
            self._columns |= dict.fromkeys(row)
        # That the input is joined to the instruction is what chat files are for, and no loss to tell of here.
        self._lost.update(slug for slug in self._format.losses(record) if slug != "separate-input")
        self._rows.add(row)

    def close(self) -> FileReport:
        """End the file and report on it."""
        self._rows.close()
        return FileReport(
            rows=self._rows.rows,
            left_out={reason: {"rows": len(ids), "ids": ids} for reason, ids in sorted(self._left_out.items())},
            lost=dict(sorted(self._lost.items())),
            columns=list(self._columns),
        )


def write_files(
    records: Iterator[Record], folder: Path, formats: Sequence[str], survey: Survey
) -> tuple[dict[str, FileReport], Table | None]:
    """Write the records to one file for each format; the reports by file name, and the parquet table's facts."""
    table = None
    if "parquet" in formats:
        (folder / "data").mkdir()
        table = Table(folder / "data", survey)
    reports: dict[str, FileReport] = {}
    with ExitStack() as stack:
        sheets: dict[str, Sheet] = {}
        for name in (name for name in JSON_FILES if name in formats):
            file_name, container = JSON_FILES[name]
            file = stack.enter_context((folder / file_name).open("w", encoding="utf-8", newline="\n"))
            sheets[file_name] = Sheet(FORMATS[name], JsonRows(file, container), survey)
        for record in records:
            for sheet in sheets.values():
                sheet.add(record)
            if table is not None:
                table.add(record)
        reports = {name: sheet.close() for name, sheet in sheets.items()}
    if table is not None:
        table.close()
        lost = dict(sorted(table.lost.items()))
        reports[PARQUET] = FileReport(rows=table.rows, lost=lost, columns=list(table.schema.names))
    return reports, table
