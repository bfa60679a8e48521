"""The row files of an export: what a trainer would skip is left out and counted, the rest checked and written."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.export.check import RowCheck
from pipeline.export.glue import objection
from pipeline.export.settings import Settings
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


def file_of(name: str, split: str) -> str:
    """The file of a split: `alpaca.json` is that of train, `alpaca-validation.json` that of validation."""
    stem, _, suffix = name.partition(".")
    return name if split == "train" else f"{stem}-{split}.{suffix}"


@dataclass(kw_only=True)
class FileReport:
    """What became of the records in one file.

    Attributes:
        format, split: what of the records it holds, and how.
        rows: rows written.
        left_out: reason -> how many `rows`, and their `ids`.
        lost: what of a record's content the file cannot carry -> rows written without it.
        columns: the columns that its rows have.
    """

    format: str = ""
    split: str = "train"
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

    def close(self, split: str) -> FileReport:
        """End the file and report on it."""
        self._rows.close()
        return FileReport(
            format=self._format.name,
            split=split,
            rows=self._rows.rows,
            left_out={reason: {"rows": len(ids), "ids": ids} for reason, ids in sorted(self._left_out.items())},
            lost=dict(sorted(self._lost.items())),
            columns=list(self._columns),
        )


def write_files(
    records: Iterator[Record],
    folder: Path,
    settings: Settings,
    survey: Survey,
    splits: Sequence[str],
    split_of: Callable[[int], str],
) -> tuple[dict[str, FileReport], list[Table]]:
    """Write the records to one file for each format and split.

    Args:
        splits: those that have rows.
        split_of: the split of a row, by its number from 0.

    Returns:
        The reports by file name, and the parquet tables, one for each split.
    """
    with ExitStack() as stack:
        sheets = {
            (split, name): _open_sheet(stack, folder, name, split, survey)
            for name in JSON_FILES
            if name in settings.formats
            for split in splits
        }
        tables = _open_tables(folder, settings, survey, splits) if "parquet" in settings.formats else {}
        by_split = {split: [sheet for (of, _), sheet in sheets.items() if of == split] for split in splits}
        for row, record in enumerate(records):
            split = split_of(row)
            for sheet in by_split[split]:
                sheet.add(record)
            if tables:
                tables[split].add(record)
        reports = {file_of(JSON_FILES[name][0], split): sheet.close(split) for (split, name), sheet in sheets.items()}
    for split, found in tables.items():
        found.close()
        lost = dict(sorted(found.lost.items()))
        reports[f"data/{split}-*.parquet"] = FileReport(
            format="parquet", split=split, rows=found.rows, lost=lost, columns=list(found.schema.names)
        )
    return reports, list(tables.values())


def _open_sheet(stack: ExitStack, folder: Path, name: str, split: str, survey: Survey) -> Sheet:
    file_name, container = JSON_FILES[name]
    path = folder / file_of(file_name, split)
    file = stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))
    return Sheet(FORMATS[name], JsonRows(file, container), survey)


def _open_tables(folder: Path, settings: Settings, survey: Survey, splits: Sequence[str]) -> dict[str, Table]:
    (folder / "data").mkdir()
    return {split: Table(folder / "data", survey, split, settings.shard_mb * 1e6) for split in splits}
