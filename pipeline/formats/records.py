"""Our own records, as the parquet files of a run hold them or as JSON rows.

Nothing of a record is lost but its id, which is told anew from what is read, as for every record from outside.
"""

from collections.abc import Mapping
from typing import Any, cast

from pipeline.formats.json_text import dumps, loads, tools_text
from pipeline.formats.shape import Fields, Format, text_or_none, wrong_type
from pipeline.formats.turns import read_choice, read_label, read_turns
from pipeline.record import MESSAGE_FIELDS, Record, to_row
from pipeline.record import SCHEMA as COLUMNS

_TEXTS = ("input", "language", "source", "method", "model", "prompt", "license")
_SIGNATURE = frozenset(("id", "messages", "parents", "calls", "tags", "scores"))

_NULLABLE_TEXT = {"type": ["string", "null"]}
_MESSAGE: dict[str, Any] = {
    "type": "object",
    "properties": dict.fromkeys(MESSAGE_FIELDS, _NULLABLE_TEXT) | {"weight": {"type": ["number", "null"]}},
    "required": ["role", "content"],
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "seedmill record",
    "type": "object",
    "properties": {
        **dict.fromkeys((*_TEXTS, "tools", "extra"), _NULLABLE_TEXT),
        "id": {"type": "string"},
        "messages": {"type": "array", "items": _MESSAGE},
        "chosen": {"type": ["array", "null"], "items": _MESSAGE},
        "rejected": {"type": ["array", "null"], "items": _MESSAGE},
        "label": {"type": ["boolean", "null"]},
        "tags": {"type": "array"},
        "scores": {"type": "array"},
        "parents": {"type": "array", "items": {"type": "string"}},
        "calls": {"type": "array", "items": {"type": "string"}},
    },
    "required": sorted(COLUMNS),
}


def recognise(row: Mapping[str, Any]) -> bool:
    """The columns that every record has and no other format has together."""
    return row.keys() >= _SIGNATURE


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record, provenance included."""
    label, _ = read_label(row)
    texts = {name: text_or_none(row, name) for name in _TEXTS}
    fields: dict[str, Any] = {
        **texts,
        "messages": read_turns(row, "messages"),
        "tools": tools_text(row.get("tools")),
        "chosen": read_choice(row, "chosen"),
        "rejected": read_choice(row, "rejected"),
        "label": label,
        "tags": _map(row, "tags", str),
        "scores": {key: float(value) for key, value in _map(row, "scores", int | float).items()},
        "parents": _texts(row, "parents"),
        "calls": _texts(row, "calls"),
        "extra": _extra(row),
    }
    return [cast(Fields, fields)]


def _extra(row: Mapping[str, Any]) -> str | None:
    """The record's unknown columns, and those beside it in this file (a drop's reason and detail)."""
    known = loads(row["extra"], "extra") if isinstance(row.get("extra"), str) else {}
    if not isinstance(known, dict):
        raise wrong_type("extra", "JSON text of an object", known)
    others = {key: value for key, value in row.items() if key not in COLUMNS}
    return dumps(known | others) if known or others else None


def _texts(row: Mapping[str, Any], column: str) -> tuple[str, ...]:
    value = row.get(column) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong_type(column, "a list of texts", value)
    return tuple(value)


def _map(row: Mapping[str, Any], column: str, kind: Any) -> dict[str, Any]:
    value = row.get(column) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise wrong_type(column, "a list of keys and values", value)
    for item in value:
        if not isinstance(item.get("key"), str) or not isinstance(item.get("value"), kind):
            raise wrong_type(column, "a list of keys and values", value)
    return {item["key"]: item["value"] for item in value}


def write(record: Record) -> dict[str, Any]:
    """All columns of the record."""
    return to_row(record)


def refuses(record: Record) -> str | None:
    """Nothing."""
    return None


def losses(record: Record) -> list[str]:
    """Nothing."""
    return []


FORMAT = Format(
    name="records",
    about="our own records, as a run's parquet files hold them",
    recognise=recognise,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
    provenance=True,
)
