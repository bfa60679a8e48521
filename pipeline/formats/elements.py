"""Rows out of JSON text: the elements of an array one by one, with their lines, past whatever is damaged."""

import json
import re
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeVar

from pipeline.formats.decode import decode, skip_space
from pipeline.formats.shape import Bad

T = TypeVar("T")

RAW_CHARACTERS = 2_000
"""How much of an unreadable row is kept as evidence."""

_GAP = re.compile(r"[ \t\r\n,\ufeff]*")
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_FIRST_KEY = re.compile(r'\{[ \t\r\n]*("(?:[^"\\\n]|\\.)*")[ \t\r\n]*:')
_FOREIGN_BYTES = re.compile("[\udc80-\udcff]")
_SLICE = 1 << 20


class Row(NamedTuple):
    """One parsed value of a file, and the line (or the row of a parquet file) where it begins, from 1."""

    line: int
    value: Any
    raw: str


class Unreadable(NamedTuple):
    """A piece of a file that is no row: where it begins, why, and its first characters."""

    line: int
    reason: str
    error: str
    raw: str
    field: str | None = None


def elements(
    text: str,
    start: int,
    closing: str | None,
    *,
    alone: bool = True,
    first_line: int = 1,
    first_key: str | None = None,
    ahead: Callable[[int], Generator[T, None, int]] | None = None,
) -> Iterator[Row | Unreadable | T]:
    """The values that follow each other from text[start], with commas or white space between them.

    A damaged value costs itself and what follows up to the next `{"key":` with the first key of the rows so far; the
    whole stretch is one Unreadable.

    Args:
        text: the file from the beginning of a line on, to its end; bytes that are not UTF-8 stand in it as surrogates
            (`surrogateescape`).
        start: offset after the opening bracket, or of the first value.
        closing: the bracket that must end the series; None when the series ends with the text.
        alone: whether nothing may follow the closing bracket.
        first_line: the number of that line.
        first_key: the first key of the rows so far, when text[start] is not the first row.
        ahead: called with the offset after each readable value; may give what it makes of the values that follow, and
            returns the offset after them.
    """
    position, line, counted = start, first_line, 0
    next_row = None if first_key is None else _row_with(json.dumps(first_key))
    foreign = _has_foreign_bytes(text)
    while True:
        position = _GAP.match(text, position).end()  # type: ignore[union-attr]
        line, counted = line + text.count("\n", counted, position), position
        if position == len(text):
            if closing is not None:
                yield Unreadable(line, "malformed-json", f"the file breaks off: '{closing}' is missing", "")
            return
        if closing is not None and text[position] == closing:
            if alone:
                yield from _after(text, position + 1, line)
            return
        if next_row is None and (match := _FIRST_KEY.match(text, position)):
            next_row = _row_with(match[1])
        try:
            value, end = decode(text, position, first_line)
            if foreign and _FOREIGN_BYTES.search(text, position, end):
                raise Bad("bad-utf8", "bytes that are not UTF-8", end=end)
            yield Row(line, value, text[position : min(end, position + RAW_CHARACTERS)])
            if ahead is not None:
                end = yield from ahead(end)
        except Bad as bad:
            end = bad.end or _next(text, position + 1, next_row)
            reason = "bad-utf8" if foreign and _FOREIGN_BYTES.search(text, position, end) else bad.reason
            yield Unreadable(line, reason, bad.error, shown(text[position:end].rstrip(" \t\r\n,")))
            if end == len(text):
                return
        position = end


def _has_foreign_bytes(text: str) -> bool:
    """Whether some of the text was no UTF-8; encoding it finds out eight times sooner than searching it."""
    try:
        for at in range(0, 0 if text.isascii() else len(text), _SLICE):
            text[at : at + _SLICE].encode()
    except UnicodeEncodeError:
        return True
    return False


def _row_with(quoted_key: str) -> re.Pattern[str]:
    return re.compile(r"\{\s*" + re.escape(quoted_key) + r"\s*:")


def _next(text: str, start: int, next_row: re.Pattern[str] | None) -> int:
    match = next_row.search(text, start) if next_row else None
    return match.start() if match else len(text)


def _after(text: str, start: int, line: int) -> Iterator[Unreadable]:
    begin = skip_space(text, start)
    if begin < len(text):
        line += text.count("\n", start, begin)
        yield Unreadable(line, "malformed-json", "more after the end of the array", shown(text[begin:]))


def shown(raw: str) -> str:
    """The first characters of a raw piece, fit to be stored: bytes that are not UTF-8 are written as escapes."""
    return raw[:RAW_CHARACTERS].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def lists_of_objects(text: str, start: int) -> list[int]:
    """Offsets after the opening bracket of each member of the object at text[start] that is a list of objects.

    Looks at the object's own members only, and stops where it is damaged.
    """
    found: list[int] = []
    position = start + 1
    while True:
        position = _GAP.match(text, position).end()  # type: ignore[union-attr]
        if not text.startswith('"', position):
            return found
        try:
            _, position = decode(text, position)
            colon = _COLON.match(text, position)
            if colon is None:
                return found
            position = colon.end()
            if text.startswith("[", position) and text.startswith("{", skip_space(text, position + 1)):
                found.append(position + 1)
            _, position = decode(text, position)
        except Bad as bad:
            if bad.end is None:
                return found
            position = bad.end
