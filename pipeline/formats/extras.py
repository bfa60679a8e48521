"""Columns that a format does not know: kept in a record's tags and extra, and put back when it is written."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.formats.json_text import dumps
from pipeline.formats.shape import Bad, Fields, Format
from pipeline.record import Record

TAG_COLUMNS = ("category", "topic", "task_type", "difficulty")
"""Text columns of these names are tags in every format."""

TURNS = "[]"
"""Key under which `extra` keeps the unknown keys of single turns, by place (`messages.3`)."""


def leftover(row: Mapping[str, Any], known: frozenset[str], turns: Mapping[str, Any] | None = None) -> Fields:
    """The tags and extra of a row whose columns `known` have been read; nothing for a row without more."""
    if not turns and row.keys() <= known:
        return {}
    if TURNS in row:
        raise Bad("reserved-column", f"the column name '{TURNS}' is kept for our own use", TURNS)
    rest = {key: value for key, value in row.items() if key not in known}
    tags = {key: rest.pop(key) for key in TAG_COLUMNS if isinstance(rest.get(key), str)}
    if turns:
        rest[TURNS] = turns
    return {"tags": tags, "extra": dumps(rest) if rest else None}


def own_license(extra: str | None) -> str | None:
    """The licence that a row of a format without such a column names in a column `license` (or `licence`)."""
    if extra is None or '"licen' not in extra:
        return None
    row = json.loads(extra)
    found = row.get("license") or row.get("licence")
    return found if isinstance(found, str) and found.strip() else None


def whole_row(format: Format, record: Record) -> tuple[dict[str, Any], list[str]]:
    """A record as a row of the format together with the columns it came with, and what could not be put back."""
    if format.provenance:
        return format.write(record), []
    own = format.write(record)
    extra = json.loads(record.extra) if record.extra else {}
    turns = extra.pop(TURNS, {})
    others = {key: record.tags[key] for key in TAG_COLUMNS if key in record.tags} | extra
    lost = ["extra"] if others.keys() & own.keys() else []
    placed = [_restore(own, format, *item) for item in turns.items()] if isinstance(turns, dict) else [False]
    if not all(placed):
        lost.append("turn-keys")
    lost += [slug for slug in provenance_losses(record) if slug not in format.keeps]
    return own | {key: value for key, value in others.items() if key not in own}, lost


def _restore(row: dict[str, Any], format: Format, place: str, keys: Any) -> bool:
    """Put the unknown keys of one turn back in place; whether there was a place for them."""
    name, _, index = place.partition(".")
    if format.find is not None:
        turn = format.find(row, name, index)
    else:
        turn = item_at(row.get((format.turns or "") if name == "messages" else name), index)
    if not isinstance(turn, dict) or not isinstance(keys, dict) or turn.keys() & keys.keys():
        return False
    turn.update(keys)
    return True


def item_at(column: Any, index: str) -> Any:
    """The item of a list at a place, or the one object that stands in place of a list; None when there is none."""
    items = column if isinstance(column, list) else [column]
    return items[int(index)] if index.isdecimal() and int(index) < len(items) else None


def item_keys(column: str, items: Iterable[Any], known: frozenset[str]) -> dict[str, dict[str, Any]]:
    """What the objects of a list hold beside the keys we know, by place: `conversation.3`."""
    rest = ((i, {k: v for k, v in item.items() if k not in known}) for i, item in enumerate(items))
    return {f"{column}.{i}": others for i, others in rest if others}


def provenance_losses(record: Record) -> list[str]:
    """What a record has beside its content and the columns it came with, as slugs."""
    lost = ["tags"] if record.tags.keys() - TAG_COLUMNS else []
    if record.scores:
        lost.append("scores")
    if record.parents or record.calls or record.model or record.prompt:
        lost.append("provenance")
    return lost + [name for name in ("language", "license") if getattr(record, name) is not None]
