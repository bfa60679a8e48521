"""Dataset formats, one file each, in one table."""

from collections.abc import Mapping
from typing import Any

from pipeline.formats import alpaca, messages, records, seeds, sharegpt
from pipeline.formats.shape import Format

FORMATS: dict[str, Format] = {
    "records": records.FORMAT,
    "seeds": seeds.FORMAT,
    "sharegpt": sharegpt.FORMAT,
    "messages": messages.FORMAT,
    "alpaca": alpaca.FORMAT,
}
"""Every format by name; a row belongs to the first that recognises it."""


def recognised(row: Mapping[str, Any]) -> Format | None:
    """The format that a row's keys speak for, or None."""
    return next((format for format in FORMATS.values() if format.recognise(row)), None)
