"""The rows of a file: JSON in its ways, tables and pages, plain or compressed, or parquet; told by content.

Only a table (CSV, TSV) is told by its name, since any text could be one.
"""

import glob
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DataError
from pipeline.formats.addresses import fetched, is_address
from pipeline.formats.compression import open_bytes
from pipeline.formats.decode import decode, decode_line, skip_space
from pipeline.formats.elements import RAW_CHARACTERS, Row, Unreadable, elements, lists_of_objects, shown
from pipeline.formats.json_text import dumps
from pipeline.formats.pages import page_rows
from pipeline.formats.shape import Bad
from pipeline.formats.tables import delimiter_of, table_rows

IsRow = Callable[[Mapping[str, Any]], bool]
"""Whether an object is a row of some format, rather than something around rows."""

_HEAD = 65_536
PARQUET_BATCH = 2_000
_BREAKS = (EOFError, OSError, zlib.error)
"""What reading a damaged compressed file raises, sooner or later."""
PARQUET_BREAKS = (pa.ArrowException, OSError, UnicodeDecodeError)

_OTHER_KINDS = (
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"\xfd7zXZ", "xz-compressed", "unpack it first; gzip and zstd are read as they are"),
    (b"BZh", "bzip2-compressed", "unpack it first; gzip and zstd are read as they are"),
    (b"ARROW1", "an Arrow file", "write it as parquet"),
    (b"\xff\xfe", "UTF-16 or UTF-32 text", "write it as UTF-8, for example with: iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "write it as UTF-8, for example with: iconv -f UTF-16 -t UTF-8"),
)
_MISSING_HINT = "check the path; it is looked up from where you run the command"
_READABLE = "readable are JSON Lines, a JSON array, an object around one, gzip or zstd of these, parquet, .csv and .tsv"


def expand(patterns: Iterable[str]) -> list[Path]:
    """Files for paths, globs and addresses, in the order given, a glob's hits by name.

    Raises:
        DataError: one of them names no file.
    """
    found: list[Path] = []
    for pattern in patterns:
        if is_address(pattern):
            found.extend(fetched(pattern))
            continue
        hits = matching(pattern)
        if not hits:
            raise DataError(f"{pattern}: no such file", _MISSING_HINT)
        found.extend(Path(hit) for hit in hits)
    return found


def matching(pattern: str) -> list[str]:
    """What is at that path, or else the files that the glob finds, by name."""
    if Path(pattern).exists():
        return [pattern]
    return sorted(hit for hit in glob.glob(pattern, recursive=True) if Path(hit).is_file())


def rows(path: Path, is_row: IsRow) -> Iterator[Row | Unreadable]:
    """The rows of a file in order, and what of it is no row.

    JSON Lines and parquet are streamed; a JSON array's text is held in memory.

    Raises:
        DataError: the file as a whole cannot be read: missing, a directory, binary, empty, not JSON.
    """
    head = _head(path)
    if head.startswith(b"PAR1"):
        return _parquet(path)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, kind, hint in _OTHER_KINDS:
        if head.startswith(magic):
            raise DataError(f"{path}: is {kind}", hint)
    if b"\0" in head:
        raise DataError(f"{path}: is a binary file", _READABLE)
    if text.startswith(b"["):
        return _array(path)
    if text.startswith(b"{"):
        return _lines(path) if _is_lines(path) else _object(path, is_row)
    if text.startswith(b"<"):
        return _page(path)
    if (delimiter := delimiter_of(path)) is not None:
        return _table(path, delimiter)
    if text and not any(line.lstrip().startswith(b"{") for line in text.splitlines()[1:]):
        start = shown(text[:40].decode("utf-8", "surrogateescape").splitlines()[0])
        raise DataError(f"{path}: is not JSON; it begins with '{start}'", _READABLE)
    return _lines(path)


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise DataError(f"{path}: is a directory", f"name the files in it, for example '{path}/*.jsonl'")
    if not path.exists():
        raise DataError(f"{path}: no such file", _MISSING_HINT)
    if not path.is_file():
        raise DataError(f"{path}: is not a regular file", "write its content to a file first")
    try:
        with open_bytes(path) as handle:
            head = handle.read1(_HEAD)  # Not read: what a damaged gzip file gives before its damage is enough.
    except PermissionError:
        raise DataError(f"{path}: may not be read", "check its permissions") from None
    except _BREAKS as error:
        raise DataError(f"{path}: cannot be read: {error}", "it may be damaged; fetch it again") from None
    if not head:
        raise DataError(f"{path}: is empty", "check that it was written to its end")
    return head


def _is_lines(path: Path) -> bool:
    """Whether a file that begins with `{` is JSON Lines rather than one object (or several) over many lines."""
    with open_bytes(path) as handle:
        try:
            lines = (line.strip() for line in handle)
            first = next(line for line in lines if line.removeprefix(b"\xef\xbb\xbf"))
            second = next((line for line in lines if line), b"")
        except _BREAKS:
            return True
    try:
        decode_line(_text(first))
    except (Bad, UnicodeDecodeError):
        # A broken first line of JSON Lines is followed by another object; an object over many lines goes on inside.
        return second.startswith(b"{") and not first.endswith((b"[", b",", b":", b"{"))
    return bool(second)


def _text(line: bytes) -> str:
    return line.decode("utf-8").strip("\ufeff \t\r\n")


def _lines(path: Path) -> Iterator[Row | Unreadable]:
    number = 0
    with open_bytes(path) as handle:
        try:
            for number, line in enumerate(handle, 1):
                found = line_row(number, line)
                if found is not None:
                    yield found
        except _BREAKS as error:
            yield Unreadable(number + 1, "damaged-file", str(error), "")


def line_row(number: int, line: bytes) -> Row | Unreadable | None:
    """What a line of JSON Lines holds; None when it is blank."""
    try:
        text = _text(line)
        return Row(number, decode_line(text), text[:RAW_CHARACTERS]) if text else None
    except Bad as bad:
        return Unreadable(number, bad.reason, bad.error, shown(text))
    except UnicodeDecodeError as error:
        raw = line.strip().decode("utf-8", "surrogateescape")
        return Unreadable(number, "bad-utf8", f"not UTF-8 at byte {error.start + 1} of the line", shown(raw))


def _whole(path: Path) -> tuple[str, str | None]:
    """The file's text, its foreign bytes as surrogates, and how its gzip is damaged, if it is."""
    pieces: list[bytes] = []
    damage = None
    with open_bytes(path) as handle:
        try:
            while piece := handle.read1(1 << 20):
                pieces.append(piece)
        except _BREAKS as error:
            damage = str(error)
    return b"".join(pieces).decode("utf-8", "surrogateescape"), damage


def _start(text: str) -> int:
    return skip_space(text, 1 if text.startswith("\ufeff") else 0)


def _array(path: Path) -> Iterator[Row | Unreadable]:
    text, damage = _whole(path)
    yield from elements(text, _start(text) + 1, "]")
    if damage is not None:
        yield Unreadable(text.count("\n") + 1, "damaged-file", damage, "")


def _object(path: Path, is_row: IsRow) -> Iterator[Row | Unreadable]:
    """One object: a row, or something around exactly one list of rows; or several objects over many lines."""
    text, damage = _whole(path)
    start = _start(text)
    try:
        value, end = decode(text, start)
    except Bad as bad:
        yield from _damaged_object(text, start, bad)
    else:
        lists = lists_of_objects(text, start)
        if skip_space(text, end) < len(text) or is_row(value):
            yield from elements(text, start, None)
        elif len(lists) == 1:
            yield from elements(text, lists[0], "]", alone=False)
        else:
            found = f"{len(lists)} lists of objects" if lists else "no list of objects"
            keys = shown(", ".join(f"'{key}'" for key in list(value)[:8]))
            hint = "write the rows as a JSON array or one a line, or keep one list of rows in the object"
            raise DataError(f"{path}: is one object (keys {keys}) with {found} in it, not a dataset", hint)
    if damage is not None:
        yield Unreadable(text.count("\n") + 1, "damaged-file", damage, "")


def _damaged_object(text: str, start: int, bad: Bad) -> Iterator[Row | Unreadable]:
    lists = lists_of_objects(text, start)
    whole = True
    for item in elements(text, lists[0], "]", alone=False) if len(lists) == 1 else elements(text, start, None):
        whole = whole and isinstance(item, Row)
        yield item
    if whole:
        yield Unreadable(text.count("\n", 0, start) + 1, bad.reason, bad.error, shown(text[start:]))


def _table(path: Path, delimiter: str) -> Iterator[Row | Unreadable]:
    number = 0
    with open_bytes(path) as handle:
        try:
            for item in table_rows(path, handle, delimiter):
                number = item.line
                yield item
        except _BREAKS as error:
            yield Unreadable(number + 1, "damaged-file", str(error), "")


def _page(path: Path) -> Iterator[Row | Unreadable]:
    text, damage = _whole(path)
    yield from page_rows(path, text)
    if damage is not None:
        yield Unreadable(text.count("\n") + 1, "damaged-file", damage, "")


def _parquet(path: Path) -> Iterator[Row | Unreadable]:
    number = 0
    try:
        file = pq.ParquetFile(path)
    except PARQUET_BREAKS as error:
        raise DataError(f"{path}: is not whole parquet: {error}", "it may be cut off; fetch it again") from None
    with file:
        try:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH):
                for value in batch.to_pylist():
                    number += 1
                    yield parquet_row(number, value)
        except PARQUET_BREAKS as error:
            yield Unreadable(number + 1, "damaged-file", f"cannot be read from row {number + 1} on: {error}", "")


def parquet_row(number: int, value: Any) -> Row | Unreadable:
    """What a row of a parquet file holds."""
    try:
        row = {key: _plain(item) for key, item in value.items()}
        return Row(number, row, dumps(row)[:RAW_CHARACTERS])
    except TypeError as error:
        return Unreadable(number, "wrong-type", str(error), shown(str(value)))


def _plain(value: Any) -> Any:
    """A parquet value as JSON has it. Keys that are null are left out: a table cannot leave them out itself."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None  # pandas writes a missing number as NaN
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, bytes):
        raise TypeError("a column holds bytes, not text")
    return str(value)  # dates, times and decimals
