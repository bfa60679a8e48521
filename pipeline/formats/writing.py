"""Rows to a file: JSON, JSON Lines or a table, plain or compressed, or parquet; told by its name, written whole."""

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bulk.json_rows import Member, written
from pipeline.errors import DataError, UsageError
from pipeline.formats.compression import SUFFIXES, text_file
from pipeline.formats.json_text import dumps_spaced
from pipeline.formats.plain import COLUMNS, Plain
from pipeline.formats.tables import delimiter_of, write_table

Container = Literal["array", "lines", "table", "parquet"]

_CONTAINERS: dict[str, Container] = {
    ".json": "array",
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".csv": "table",
    ".tsv": "table",
    ".parquet": "parquet",
}


def container_of(path: Path) -> Container:
    """What a file of this name holds; UsageError for a name that says nothing we write."""
    suffixes = path.suffixes
    packed = len(suffixes) > 1 and suffixes[-1] in SUFFIXES
    container = _CONTAINERS.get((suffixes[-2] if packed else path.suffix).lower())
    if container is None or (container == "parquet" and packed):
        raise UsageError(f"{path}: its name does not tell what kind of file it shall be", f"end it in {_ENDINGS}")
    return container


_ONE_CHUNK = 1 << 30
"""Texts of fewer bytes fit into one column whose ends are 32-bit numbers."""

_ENDINGS = ".json, .jsonl, .csv or .tsv (each also with .gz or .zst after it), or .parquet"


class JsonRows:
    """Writes rows one a line, between brackets and with commas when it is an array; call `close` at the end.

    `envelope` is what stands in the object around an array's rows, which are then its `instances`.
    """

    def __init__(self, file: io.TextIOWrapper, container: Container, envelope: Mapping[str, str] | None = None) -> None:
        self._file, self._array = file, container == "array"
        self._around = self._array and envelope is not None
        self.rows = 0
        if self._around:
            file.write(dumps_spaced(envelope)[:-1] + ', "instances": ')
        if self._array:
            file.write("[")

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        before = "\n" if self._array and not self.rows else ",\n" if self._array else ""
        self._file.write(before + dumps_spaced(row) + ("" if self._array else "\n"))
        self.rows += 1

    def add_plain(self, rows: pl.DataFrame) -> None:
        """Append plain Alpaca rows; the same bytes as one after the other."""
        before = (",\n" if self._array else "") + '{"instruction": '
        heads = (before.encode(), b', "input": ', b', "output": ')
        members = [Member(rows[name], head) for name, head in zip(COLUMNS, heads, strict=True)]
        text, _ = written(members, b"}" if self._array else b"}\n")
        text = text[self._array and not self.rows :]
        if isinstance(getattr(self._file.buffer, "raw", None), io.FileIO):
            self._file.flush()
            self._file.buffer.write(bytes(text))
        else:  # A flush would show in what a compressor writes.
            self._file.write(str(text, "utf-8"))
        self.rows += rows.height

    def close(self) -> None:
        """Write what must follow the last row."""
        if self._array:
            self._file.write(("\n]" if self.rows else "]") + ("}\n" if self._around else "\n"))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any] | Plain], envelope: Mapping[str, str] | None = None) -> int:
    """Write the rows and return how many there were; an older file stays until the new one is whole.

    Parquet and tables need all rows in memory, and parquet one type a column.

    Args:
        envelope: what a JSON file has around the array of its rows, see `pipeline.formats.shape.Format`.

    Raises:
        UsageError: the file's name does not tell its kind, or it cannot be written there.
        DataError: the rows do not fit into one table.
    """
    container = container_of(path)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with _removed_on_error(temporary):
            if container == "parquet":
                count = _write_parquet(temporary, path, list(rows))
            elif container == "table":
                with text_file(temporary, path.name) as file:
                    count = write_table(file, _one_by_one(rows), delimiter_of(path) or ",")
            else:
                with text_file(temporary, path.name) as file:
                    sheet = JsonRows(file, container, envelope)
                    for row in rows:
                        if isinstance(row, Plain):
                            sheet.add_plain(row.rows)
                        else:
                            sheet.add(row)
                    sheet.close()
                count = sheet.rows
            temporary.replace(path)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written: {error.strerror or error}", "choose another place with -o"
        ) from error
    return count


@contextmanager
def _removed_on_error(temporary: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _one_by_one(rows: Iterable[Mapping[str, Any] | Plain]) -> Iterator[Mapping[str, Any]]:
    for item in rows:
        yield from item.rows.iter_rows(named=True) if isinstance(item, Plain) else (item,)


_PLAIN = pl.Schema(dict.fromkeys(COLUMNS, pl.String))


def _is_plain(item: Mapping[str, Any] | Plain) -> bool:
    """Whether it is a row like the plain ones, though it could have been another format's."""
    if isinstance(item, Plain):
        return True
    return item.keys() == set(COLUMNS) and all(isinstance(value, str) for value in item.values())


def _frames(given: list[Mapping[str, Any] | Plain]) -> Iterator[pl.DataFrame]:
    """The plain rows, and what is between them."""
    for single, items in groupby(given, lambda item: not isinstance(item, Plain)):
        if single:
            yield pl.DataFrame(list(items), _PLAIN)
        else:
            yield from (item.rows for item in items if isinstance(item, Plain))


def _write_parquet(temporary: Path, path: Path, given: list[Mapping[str, Any] | Plain]) -> int:
    if any(isinstance(item, Plain) for item in given) and all(map(_is_plain, given)):
        whole = pl.concat(_frames(given))
        if sum(int(whole[name].str.len_bytes().sum()) for name in COLUMNS) < _ONE_CHUNK:
            table = whole.to_arrow(compat_level=pl.CompatLevel.oldest())
            strings = pa.schema([(name, pa.string()) for name in COLUMNS])
            pq.write_table(table.cast(strings).combine_chunks(), temporary, compression="zstd")
            return whole.height
    rows = list(_one_by_one(given))
    try:
        names = list(dict.fromkeys(key for row in rows for key in row))
        table = pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
        pq.write_table(table, temporary, compression="zstd")
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(f"{path}: the rows do not fit into one table: {error}", "write .jsonl instead") from error
    return len(rows)
