"""Stretches of Alpaca rows that are as plain as rows can be, many at a time; the careful readers take what is between.

Plain are rows of `instruction`, `input` and `output`, in one order in the whole file, each a text, that no other format
could claim. Everything else (another key, null, a damaged row) is read by `pipeline.formats.files` and `elements`,
from where the stretch ends to
where the next one begins, so that a file gives the same rows and the same errors either way.
"""

import json
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.bulk.flat_json import Layout
from pipeline.formats.elements import Row, Unreadable, elements
from pipeline.formats.files import PARQUET_BATCH, PARQUET_BREAKS, IsRow, line_row, parquet_row, rows

COLUMNS = ("instruction", "input", "output")

PACKED = {"instruction": ("Human:", "<user>:", " <user>:"), "input": ("User:", "System:")}
"""How texts begin in rows of these columns that may be another format's: of the formats with `marks`."""

_HEAD = 65_536
_SPAN = 1 << 21
"""Bytes that are read in one go: some thousand rows, soon enough for whoever writes them not to wait long."""
_BATCHES = 2
"""Batches of a parquet file that are handed on together."""
_WORTH_IT, _MOST_PATIENCE = 32, 1_024
"""After stretches shorter than this, ever more rows are read carefully before the next one is tried."""

_FIRST = re.compile(rb"[ \t\r\n]*(\[?)[ \t\r\n]*(?=\{)")
_SECOND_LINE = re.compile(r"[ \t\r]*\n\s*\S")
_END = re.compile(rb"[ \t\r\n,]*\][ \t\r\n]*")


class Plain(NamedTuple):
    """Plain rows that follow each other: a frame of COLUMNS, without nulls."""

    rows: pl.DataFrame


def stretches(path: Path, is_row: IsRow) -> Iterator[Row | Unreadable | Plain]:
    """The rows of a file in order, as `pipeline.formats.files.rows` gives them where they are not plain.

    Raises:
        DataError: the file as a whole cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if head.startswith(b"PAR1"):
            return _parquet(path, is_row)
        layout = _layout(head)
        if layout is not None:
            return _lines(path, layout) if layout.lines else _array(path.read_bytes(), layout)
    except OSError:
        pass  # The careful reader says what is wrong.
    return rows(path, is_row)


def _layout(head: bytes) -> Layout | None:
    """How a file's rows look, when its first one is plain."""
    start = _FIRST.match(head)
    if start is None or b"\0" in head:
        return None
    text = head[start.end() :].decode("utf-8", "replace")
    try:
        pairs, end = json.JSONDecoder(object_pairs_hook=list).raw_decode(text)
    except (ValueError, RecursionError):
        return None
    keys = tuple(key for key, _ in pairs)
    if sorted(keys) != sorted(COLUMNS) or not all(isinstance(value, str) for _, value in pairs):
        return None
    if "\ufffd" in text[:end]:  # Perhaps no UTF-8: then what follows decides what kind of file it is.
        return None
    lines = not start[1]
    if lines and ("\n" in text[:end] or not _SECOND_LINE.match(text, end)):
        return None
    return Layout(keys, lines, PACKED)


class _Patience:
    """Whether it is time to try for a stretch: not after every row of a file that has hardly any."""

    def __init__(self) -> None:
        self._wait = self._left = 0

    def over(self) -> bool:
        """Whether the next row may be the first of a stretch."""
        self._left -= 1
        return self._left < 0

    def learn(self, rows: int) -> None:
        """A stretch had so many rows."""
        self._wait = 0 if rows >= _WORTH_IT else min(2 * self._wait + 1, _MOST_PATIENCE)
        self._left = self._wait


def _plain(data: bytes, layout: Layout, at: int) -> Generator[Plain, None, tuple[int, int, int]]:
    """The stretch that begins at data[at]; returns how many rows it has, the place after it, and its line breaks."""
    count = lines = 0
    while at < len(data):
        found, after, passed = layout.scan(data, at, min(at + _SPAN, len(data)))
        if found[COLUMNS[0]].is_empty():
            break
        count, at, lines = count + len(found[COLUMNS[0]]), after, lines + passed
        yield Plain(pl.DataFrame({name: found[name] for name in COLUMNS}))
    return count, at, lines


def _array(data: bytes, layout: Layout) -> Iterator[Row | Unreadable | Plain]:
    start = _FIRST.match(data).end()  # type: ignore[union-attr]
    _, at, _ = yield from _plain(data, layout, start)
    if len(data) - at < _HEAD and _END.fullmatch(data, at):
        return
    begin_line = data.rfind(b"\n", 0, at) + 1
    text = str(memoryview(data)[begin_line:], "utf-8", "surrogateescape")
    bytes_at, text_at = at, _characters(data, begin_line, at)
    patience = _Patience()

    def ahead(position: int) -> Generator[Plain, None, int]:
        nonlocal bytes_at, text_at
        if not patience.over():
            return position
        begin = bytes_at + len(text[text_at:position].encode("utf-8", "surrogateescape"))
        count, bytes_at, _ = yield from _plain(data, layout, begin)
        text_at = position + _characters(data, begin, bytes_at)
        patience.learn(count)
        return text_at

    first_key = layout.keys[0] if at > start else None
    first_line = 1 + data.count(b"\n", 0, begin_line)
    yield from elements(text, text_at, "]", first_line=first_line, first_key=first_key, ahead=ahead)


def _characters(data: bytes, start: int, end: int) -> int:
    """How many characters data[start:end] has, which is valid UTF-8: all bytes but those that go on with one."""
    signed = np.frombuffer(data, np.int8)
    return sum(int((signed[at : min(at + _SPAN, end)] >= -64).sum()) for at in range(start, end, _SPAN))


def _lines(path: Path, layout: Layout) -> Iterator[Row | Unreadable | Plain]:
    number = 0
    patience = _Patience()
    with path.open("rb") as file:
        try:
            while data := file.read(_SPAN):
                data += file.readline()
                at = 0
                while at < len(data):
                    if patience.over():
                        count, at, passed = yield from _plain(data, layout, at)
                        patience.learn(count)
                        number += passed
                    if at < len(data):
                        end = data.find(b"\n", at) + 1 or len(data)
                        number += 1
                        found = line_row(number, data[at:end])
                        at = end
                        if found is not None:
                            yield found
        except OSError as error:
            yield Unreadable(number + 1, "damaged-file", str(error), "")


def _parquet(path: Path, is_row: IsRow) -> Iterator[Row | Unreadable | Plain]:
    try:
        file = pq.ParquetFile(path)
    except PARQUET_BREAKS:
        yield from rows(path, is_row)
        return
    number = 0
    plain: list[Any] = []
    with file:
        try:
            for batch, is_plain in _divided(file.iter_batches(batch_size=PARQUET_BATCH)):
                if is_plain:
                    plain.append(batch)
                    number += batch.num_rows
                if plain and (not is_plain or len(plain) == _BATCHES):
                    yield _together(plain)
                    plain = []
                for value in () if is_plain else batch.to_pylist():
                    number += 1
                    yield parquet_row(number, value)
        except PARQUET_BREAKS as error:
            broken = Unreadable(number + 1, "damaged-file", f"cannot be read from row {number + 1} on: {error}", "")
            yield from (_together(plain), broken) if plain else (broken,)
            return
    if plain:
        yield _together(plain)


def _together(batches: list[Any]) -> Plain:
    rows = pl.from_arrow(pa.Table.from_batches(batches).select(COLUMNS))
    assert isinstance(rows, pl.DataFrame)
    return Plain(rows)


def _is_plain(batch: Any) -> bool:
    if sorted(batch.schema.names) != sorted(COLUMNS) or not batch.num_rows:
        return False
    kinds = (pa.string(), pa.large_string(), pa.string_view())
    columns = [column for column in batch.columns if column.type in kinds and not column.null_count]
    try:
        for column in columns:
            column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return len(columns) == len(COLUMNS)


def _packed(batch: Any) -> list[int]:
    """The numbers of the rows that another format may claim."""
    found = pa.array(np.zeros(batch.num_rows, np.bool_))
    for name, heads in PACKED.items():
        column = batch.column(name)
        column = column.cast(pa.large_string()) if column.type == pa.string_view() else column
        for head in heads:
            found = pc.or_(found, pc.starts_with(column, head))
    numbers: list[int] = pc.indices_nonzero(found).to_pylist()
    return numbers


def _divided(batches: Iterator[Any]) -> Iterator[tuple[Any, bool]]:
    """The batches, cut before and after each row that another format may claim, and whether they are plain."""
    for batch in batches:
        if not _is_plain(batch):
            yield batch, False
            continue
        start = 0
        for packed in _packed(batch):
            if packed > start:
                yield batch.slice(start, packed - start), True
            yield batch.slice(packed, 1), False
            start = packed + 1
        if start < batch.num_rows:
            yield batch.slice(start), True
