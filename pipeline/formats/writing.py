"""Rows to a file: a JSON array or JSON Lines, plain or gzipped, or parquet; told by the file's name, written whole."""

import gzip
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bulk.json_rows import Member, written
from pipeline.errors import DataError, UsageError
from pipeline.formats.json_text import dumps_spaced
from pipeline.formats.plain import COLUMNS, Plain

Container = Literal["array", "lines", "parquet"]

_CONTAINERS: dict[str, Container] = {".json": "array", ".jsonl": "lines", ".ndjson": "lines", ".parquet": "parquet"}


def container_of(path: Path) -> Container:
    """What a file of this name holds; UsageError for a name that says nothing we write."""
    suffixes = path.suffixes
    last = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else path.suffix
    container = _CONTAINERS.get(last.lower())
    if container is None or (container == "parquet" and path.suffix == ".gz"):
        raise UsageError(f"{path}: its name does not tell what kind of file it shall be", f"end it in {_ENDINGS}")
    return container


_ONE_CHUNK = 1 << 30
"""Texts of fewer bytes fit into one column whose ends are 32-bit numbers."""

_ENDINGS = ".json, .jsonl, .json.gz, .jsonl.gz or .parquet"


class JsonRows:
    """Writes rows one a line, between brackets and with commas when it is an array; call `close` at the end."""

    def __init__(self, file: TextIO, container: Container) -> None:
        self._file, self._array = file, container == "array"
        self.rows = 0
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
        if isinstance(self._file.buffer, io.BufferedWriter):
            self._file.flush()
            self._file.buffer.write(text)
        else:  # A flush would show in what a compressor writes.
            self._file.write(str(text, "utf-8"))
        self.rows += rows.height

    def close(self) -> None:
        """Write what must follow the last row."""
        if self._array:
            self._file.write("\n]\n" if self.rows else "]\n")


@contextmanager
def _text_file(path: Path, name: str) -> Iterator[TextIO]:
    """A UTF-8 file to write to, gzipped when `name` says so; the same text gives the same bytes."""
    with path.open("wb") as raw:
        if not name.endswith(".gz"):
            with io.TextIOWrapper(raw, encoding="utf-8", newline="\n") as file:
                yield file
            return
        with (
            gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
            io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file,
        ):
            yield file


def write_rows(path: Path, rows: Iterable[Mapping[str, Any] | Plain]) -> int:
    """Write the rows and return how many there were; an older file stays until the new one is whole.

    Parquet needs all rows in memory, and one type a column.

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
            else:
                with _text_file(temporary, path.name) as file:
                    sheet = JsonRows(file, container)
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


def _write_parquet(temporary: Path, path: Path, given: list[Mapping[str, Any] | Plain]) -> int:
    if given and all(isinstance(item, Plain) for item in given):
        whole = pl.concat([item.rows for item in given if isinstance(item, Plain)])
        if sum(int(whole[name].str.len_bytes().sum()) for name in COLUMNS) < _ONE_CHUNK:
            table = whole.to_arrow(compat_level=pl.CompatLevel.oldest())
            strings = pa.schema([(name, pa.string()) for name in COLUMNS])
            pq.write_table(table.cast(strings).combine_chunks(), temporary, compression="zstd")
            return whole.height
    rows = [row for item in given for row in (item.rows.iter_rows(named=True) if isinstance(item, Plain) else (item,))]
    try:
        names = list(dict.fromkeys(key for row in rows for key in row))
        table = pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
        pq.write_table(table, temporary, compression="zstd")
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(f"{path}: the rows do not fit into one table: {error}", "write .jsonl instead") from error
    return len(rows)
