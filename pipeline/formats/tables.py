"""CSV and TSV: a header with the columns' names, and a line a row; told by the file's name.

A cell is text. What a format needs as something else is written as JSON and read as such in the columns of that
meaning (messages, conversations ...); anything else comes back as text, and an empty cell as a column that is not
there, but for the columns that hold a question or an answer.
"""

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from pipeline.errors import DataError
from pipeline.formats.compression import SUFFIXES
from pipeline.formats.decode import decode_line
from pipeline.formats.elements import RAW_CHARACTERS, Row, Unreadable, shown
from pipeline.formats.json_text import dumps, dumps_spaced
from pipeline.formats.shape import Bad

DELIMITERS = {".csv": ",", ".tsv": "\t"}
MOST_LINES = 2_000
"""Lines of one row; a quote that is not closed would else take all that follow."""
MOST_DAMAGE = 100
"""Rows with a quote that is not closed, after which the rest of the file is given up."""

_STRUCTURED = frozenset(
    (
        *("messages", "conversations", "conversation", "history", "items", "data", "instances", "chat"),
        *(
            "inputs",
            "outputs",
            "preferred_output",
            "non_preferred_output",
            "parents",
            "calls",
            "tags",
            "scores",
        ),
    )
)
_TURNS = frozenset(("prompt", "completion", "chosen", "rejected", "input"))
_MESSAGE_COLUMN = re.compile(r"message_\d+")
_TURN_COLUMN = re.compile(r"(human|gpt)_\d+")
_VERDICTS = frozenset(("label", "kto_tag", "is_classification"))
_TEXTS = frozenset(
    (
        *("instruction", "input", "output", "context", "response", "target", "prompt", "completion", "text", "topic"),
        *("user_input", "completion_a", "completion_b", "response1", "response2", "code", "meta_instruction", "system"),
    )
)


def delimiter_of(path: Path) -> str | None:
    """What separates the cells of a file of this name, or None when the name does not say that it is a table."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in SUFFIXES else path.suffix.lower()
    return DELIMITERS.get(last)


def write_table(file: IO[str], rows: Iterable[Mapping[str, Any]], delimiter: str) -> int:
    """Write the rows under a header of all their columns, and return how many there were; needs them all in memory.

    Raises:
        DataError: a text holds a NUL character, at which readers of tables stop.
    """
    kept = list(rows)
    columns = list(dict.fromkeys(key for row in kept for key in row))
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(columns)
    for number, row in enumerate(kept, 1):
        cells = [cell(row.get(column)) for column in columns]
        if any("\0" in text for text in cells):
            raise DataError(f"row {number} holds a NUL character, which a table cannot", "write .jsonl instead")
        writer.writerow(cells)
    return len(kept)


def cell(value: Any) -> str:
    """A value as a cell's text."""
    if isinstance(value, str):
        return value
    return "" if value is None else dumps_spaced(value)


def value_of(column: str, text: str) -> Any:
    """What a cell's text stands for in a column of this name; None for a column that is not there. Raises Bad."""
    if not text and column not in _TEXTS and not _TURN_COLUMN.fullmatch(column):
        return None
    if column in _VERDICTS and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.startswith(("[", "{")):
        if column in _STRUCTURED or _MESSAGE_COLUMN.fullmatch(column):
            return _parsed(column, text)
        if column in _TURNS:
            return _turns(text)
    return text


def _parsed(column: str, text: str) -> Any:
    try:
        return decode_line(text.strip())
    except Bad as bad:
        raise Bad("bad-json-text", f"{column} is not JSON: {bad.error}", column) from None


def _turns(text: str) -> Any:
    """Messages when the text is JSON of messages (or of a tree of them), else the text itself."""
    try:
        value = decode_line(text.strip())
    except Bad:
        return text
    first = value[0] if isinstance(value, list) and value else value
    turns = isinstance(first, dict) and (first.keys() & {"role", "from"} or "messages" in first)
    return value if turns or value == [] else text


def comes_back(row: Mapping[str, Any]) -> bool:
    """Whether the row is read from a table as it was written."""
    # Tool definitions are read from JSON text as well as from a list.
    return all(value_of(column, cell(value)) == value for column, value in row.items() if column != "tools")


def table_rows(path: Path, lines: Iterable[bytes], delimiter: str) -> Iterator[Row | Unreadable]:
    """The rows of a table, by the line where each begins; what is damaged is passed over, line by line.

    Raises:
        DataError: the header cannot be used, or the file is not UTF-8 from its first line on.
    """
    csv.field_size_limit(sys.maxsize)
    feed = _Feed(lines)
    header = _header(path, feed, delimiter)
    damaged = 0
    for line, cells in _records(feed, csv.reader(feed, delimiter=header.delimiter, strict=True)):
        if not isinstance(cells, list):
            damaged += cells.error.startswith("a quote")
            yield cells
        elif len(cells) != len(header.columns):
            error = f"{len(cells)} cells where the header has {len(header.columns)}"
            yield Unreadable(line, "malformed-csv", error, shown(header.delimiter.join(cells)))
        else:
            yield _row(line, header.columns, cells)
        if damaged == MOST_DAMAGE:
            yield Unreadable(feed.line + 1, "malformed-csv", "too many quotes are not closed; the rest is given up", "")
            return


class _Feed:
    """Physical lines for a csv.reader, with those of the row under way kept so that it can be begun again."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._again: list[str] = []
        self.taken: list[str] = []
        self.line = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.taken) == MOST_LINES:
            raise StopIteration
        text = self._again.pop() if self._again else next(self._lines).decode("utf-8", "surrogateescape")
        self.taken.append(text)
        self.line += 1
        return text

    def begin(self) -> None:
        """A new row begins at the next line."""
        self.taken = []

    def retry(self) -> None:
        """The next row begins at the line after this one's first."""
        self.line -= len(self.taken) - 1
        self._again += reversed(self.taken[1:])
        self.taken = []


class _Header:
    def __init__(self, columns: list[str], delimiter: str) -> None:
        self.columns, self.delimiter = columns, delimiter


def _header(path: Path, feed: _Feed, delimiter: str) -> _Header:
    first = next(feed, "").removeprefix("\ufeff")
    if re.search("[\udc80-\udcff]", first):
        hint = "write it as UTF-8; Chinese tables are often GB18030: iconv -f GB18030 -t UTF-8"
        raise DataError(f"{path}: its first line is not UTF-8", hint)
    if delimiter == "," and "," not in first:
        delimiter = next((other for other in (";", "\t") if other in first), ",")
    try:
        columns = next(csv.reader([first], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise DataError(f"{path}: its first line is no header: {error}", "name the columns in it") from None
    twice = [name for name in columns if columns.count(name) > 1]
    if not columns or twice:
        problem = f"has the column '{twice[0]}' twice" if twice else "has no header"
        raise DataError(f"{path}: {problem}", "name each column once in the first line")
    feed.begin()
    return _Header(columns, delimiter)


def _records(feed: _Feed, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str] | Unreadable]]:
    while True:
        feed.begin()
        line = feed.line + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            open_quote = "unexpected end" in str(error)
            reason = "a quote is not closed" if open_quote else str(error)
            raw = shown("".join(feed.taken)[:RAW_CHARACTERS])
            feed.retry()
            yield line, Unreadable(line, "malformed-csv", reason, raw)
            continue
        if cells:
            yield line, cells


def _row(line: int, columns: list[str], cells: list[str]) -> Row | Unreadable:
    raw = dumps(cells)[:RAW_CHARACTERS]
    if any("\udc80" <= character <= "\udcff" for text in cells if not text.isascii() for character in text):
        return Unreadable(line, "bad-utf8", "bytes that are not UTF-8", shown(raw))
    try:
        values = {column: value_of(column, text) for column, text in zip(columns, cells, strict=True)}
    except Bad as bad:
        return Unreadable(line, bad.reason, bad.error, shown(raw), bad.field)
    return Row(line, {column: value for column, value in values.items() if value is not None}, raw)
