"""What a dataset format is, what reading a row gives, and why a row can be unreadable."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from pipeline.record import Message, Record


class Fields(TypedDict, total=False):
    """What a row says of a record; id and provenance that the row does not name are the reader's to add."""

    messages: tuple[Message, ...]
    input: str | None
    tools: str | None
    chosen: tuple[Message, ...] | None
    rejected: tuple[Message, ...] | None
    label: bool | None
    language: str | None
    tags: Mapping[str, str]
    scores: Mapping[str, float]
    source: str | None
    method: str | None
    parents: tuple[str, ...]
    model: str | None
    prompt: str | None
    license: str | None
    calls: tuple[str, ...]
    extra: str | None


class Bad(Exception):
    """One row that cannot be read; it becomes a drop.

    Attributes:
        reason: slug that is counted.
        error: what is wrong, as a sentence.
        field: the column at fault, such as `messages[2].role`; None when it is the whole row.
        end: where the bad value ends in the text it was decoded from; None when only a guess could tell.
    """

    def __init__(self, reason: str, error: str, field: str | None = None, end: int | None = None) -> None:
        super().__init__(reason, error)
        error = error.encode("utf-8", "backslashreplace").decode()  # It may quote what cannot be stored.
        self.reason, self.error, self.field, self.end = reason, error, field, end


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One dataset format, as functions of one row or record.

    Attributes:
        about: what it is, in some words, for the list of formats.
        recognise: whether a row looks like this format, judged by its keys alone.
        read: a parsed row's records (most formats: exactly one); raises Bad.
        write: a record as a row of the format's own columns.
        refuses: why the format cannot hold a record at all, as a slug, or None.
        losses: what of a record's content `write` leaves behind or flattens, as slugs.
        schema: JSON Schema of what `write` gives. Only keywords whose verdict depends on the types in a row and on the
            values of its role columns, see `pipeline.export.check`.
        marks: whether a row whose keys fit carries the format's marks in its values; None when the keys are enough.
        turns: the column whose items are, one to one, the record's messages; None when there is none.
        find: the object in a written row that holds what `extra` keeps of one turn, by the two parts of its place, for
            a format whose turns stand elsewhere than in a list of a column.
        envelope: what stands in the object around the rows' list `instances` in a JSON file; None for a bare array.
        keeps: slugs of provenance that `write` keeps (see `pipeline.formats.extras`).
        provenance: whether `write` keeps scores, tags and provenance too.
    """

    name: str
    about: str
    recognise: Callable[[Mapping[str, Any]], bool]
    read: Callable[[dict[str, Any]], list[Fields]]
    write: Callable[[Record], dict[str, Any]]
    refuses: Callable[[Record], str | None]
    losses: Callable[[Record], list[str]]
    schema: Mapping[str, Any]
    marks: Callable[[Mapping[str, Any]], bool] | None = None
    turns: str | None = None
    find: Callable[[Mapping[str, Any], str, str], Any] | None = None
    envelope: Mapping[str, str] | None = None
    keeps: tuple[str, ...] = ()
    provenance: bool = False


_KINDS = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}


def wrong_type(field: str, wanted: str, value: object) -> Bad:
    """The error for a value that is not what the format asks for."""
    found = "null" if value is None else _KINDS.get(type(value), f"a {type(value).__name__}")
    return Bad("wrong-type", f"{field} must be {wanted}, not {found}", field)


def text(row: Mapping[str, Any], key: str, place: str = "") -> str:
    """The text in a column that must be there; `place` is put before its name in errors."""
    if key not in row:
        raise Bad("missing-field", f"{place}{key} is missing", place + key)
    value = row[key]
    if not isinstance(value, str):
        raise wrong_type(place + key, "text", value)
    return value


def text_or_none(row: Mapping[str, Any], key: str, place: str = "") -> str | None:
    """The text in a column that may be missing or null."""
    return None if row.get(key) is None else text(row, key, place)
