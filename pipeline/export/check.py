"""Validation of every written row against its JSON Schema, at the price of one validation a distinct shape."""

from collections.abc import Mapping
from typing import Any

import jsonschema

VALUE_KEYS = frozenset(("role", "from"))
"""Columns whose very text a schema may restrict (`enum`)."""

SHAPE_KEYWORDS = frozenset(
    (
        *("$schema", "title", "type", "properties", "required", "items", "anyOf", "enum"),
        *("minItems", "maxItems"),
    )
)
"""Keywords whose verdict a row's shape decides: `enum` on VALUE_KEYS only, item counts up to COUNTED."""

COUNTED = 3
"""Lists of at least this many items count as equally long."""


def shape(value: Any, key: str | None = None) -> Any:
    """What a schema made of SHAPE_KEYWORDS can see of a JSON value: values of one shape are all valid or all not."""
    if isinstance(value, str):
        return value if key in VALUE_KEYS else str
    if isinstance(value, dict):
        return tuple([(k, shape(v, k)) for k, v in value.items()])
    if isinstance(value, list):
        return min(len(value), COUNTED), frozenset([shape(item) for item in value])
    return type(value)


class RowCheck:
    """Checks rows against one schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = jsonschema.Draft202012Validator(schema)
        self._valid: set[Any] = set()

    def check(self, row: Mapping[str, Any]) -> None:
        """Do nothing for a valid row.

        Raises:
            AssertionError: the row is not valid; what writes it has a bug.
        """
        seen = shape(row)
        if seen in self._valid:
            return
        error = jsonschema.exceptions.best_match(self._validator.iter_errors(row))
        assert error is None, f"an exported row breaks its schema at {error.json_path}: {error.message}"
        self._valid.add(seen)
