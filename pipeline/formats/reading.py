"""A file's rows as what they say of records, whatever the file's container and format."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import DataError, UsageError
from pipeline.formats import FORMATS, candidates, recognised, settled
from pipeline.formats.elements import Row, Unreadable, shown
from pipeline.formats.files import rows
from pipeline.formats.oasst_messages import grown
from pipeline.formats.plain import Plain, stretches
from pipeline.formats.shape import Bad, Fields, Format, wrong_type

PATIENCE = 1_000
"""Objects of no known format at the start of a file after which it is given up as a whole."""


class Example(NamedTuple):
    """One readable row: where it stands and the records it holds."""

    line: int
    raw: str
    format: Format
    records: list[Fields]


def format_named(name: str) -> Format:
    """The format of that name; UsageError that lists the names otherwise."""
    if name not in FORMATS:
        close = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise UsageError(f"there is no format '{name}'", hint + "seedmill formats lists them all")
    return FORMATS[name]


def examples(path: Path, format: Format | None = None) -> Iterator[Example | Unreadable]:
    """The rows of a file, each read by `format`, or by the format its keys speak for.

    Raises:
        DataError: the file cannot be read as a whole, holds no row, or none of a known format.
    """
    found = rows(path, lambda value: _is_row(value, format))
    return (item for item in _examples(path, format, found) if not isinstance(item, Plain))


def blocks(path: Path, format: Format | None = None) -> Iterator[Example | Unreadable | Plain]:
    """The same as `examples`, but rows of plain Alpaca come many at a time, as columns."""
    if format is not None and format.name != "alpaca":
        yield from examples(path, format)
    else:
        yield from _examples(path, format, stretches(path, lambda value: _is_row(value, format)))


def _examples(
    path: Path, format: Format | None, found: Iterator[Row | Unreadable | Plain]
) -> Iterator[Example | Unreadable | Plain]:
    by_keys: dict[tuple[str, ...], tuple[Format, ...]] = {}
    seen = unknown = known = 0
    first_unknown = ""
    for row in grown(found) if format is None or format.name == "oasst" else found:
        seen += 1
        if isinstance(row, Plain):
            known = 1
            yield row
            continue
        if isinstance(row, Unreadable):
            yield row
            continue
        if not isinstance(row.value, dict):
            yield _unreadable(row, wrong_type("a row", "an object", row.value))
            continue
        told = format or _by_keys(row.value, by_keys)
        if told is not None:
            known = 1
            yield _read(row, told)
            continue
        unknown += 1
        first_unknown = first_unknown or _keys(row.value)
        if unknown == PATIENCE and not known:
            break
        yield _unreadable(row, Bad("unknown-shape", f"no known format has the keys {_keys(row.value)}"))
    if not seen:
        raise DataError(f"{path}: holds no rows", "check that it was written to its end")
    if unknown and not known:
        hint = "seedmill formats lists those that are read; if it is one of them, say so by 'format:' or --format"
        raise DataError(f"{path}: its rows are of no known format; the first has the keys {first_unknown}", hint)


def _is_row(value: Mapping[str, Any], format: Format | None) -> bool:
    """Whether the one object of a file is a row; in a named format it may lack what would speak for the format."""
    if format is not None and not any(isinstance(item, list) for item in value.values()):
        return True
    return (format is not None and format.recognise(value)) or recognised(value) is not None


def _by_keys(value: dict[str, Any], known: dict[tuple[str, ...], tuple[Format, ...]]) -> Format | None:
    keys = tuple(value)
    if keys not in known:
        known[keys] = candidates(value)
    return settled(known[keys], value)


def _keys(value: dict[str, Any]) -> str:
    return ", ".join(f"'{key[:40]}'" for key in list(value)[:12])


def _read(row: Row, format: Format) -> Example | Unreadable:
    try:
        return Example(row.line, row.raw, format, format.read(row.value))
    except Bad as bad:
        return _unreadable(row, bad)


def _unreadable(row: Row, bad: Bad) -> Unreadable:
    return Unreadable(row.line, bad.reason, bad.error, shown(row.raw), bad.field)
