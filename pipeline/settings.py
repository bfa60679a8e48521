"""A stage's settings: the JSON Schema of its fields, and values as those fields hold them."""

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, Union, get_args, get_origin

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}


def settings_schema(stage: type) -> dict[str, Any]:
    """JSON Schema of the settings that a stage class accepts, from its field annotations.

    A field's metadata may add schema keywords under `schema` (such as minimum), and under `key` a name in recipes that
    Python would not allow.
    """
    hints = typing.get_type_hints(stage)
    settings = [f for f in fields(stage) if f.init]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {_key(f): {**_schema(hints[f.name]), **f.metadata.get("schema", {})} for f in settings},
        "required": [_key(f) for f in settings if _is_required(f)],
    }


def _key(field: Field[Any]) -> str:
    key: str = field.metadata.get("key", field.name)
    return key


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _schema(hint: Any) -> dict[str, Any]:
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if hint is type(None):
        return {"type": "null"}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        kinds = [_schema(a) for a in arguments]
        if all(set(k) == {"type"} and isinstance(k["type"], str) for k in kinds):
            return {"type": [k["type"] for k in kinds]}
        return {"anyOf": kinds}
    if origin is tuple or origin is list:
        return {"type": "array", "items": _schema(arguments[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1])}
    return {}


def coerced(stage: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that passed the schema, as the fields' types: lists become tuples, whole numbers floats."""
    hints = typing.get_type_hints(stage)
    names = {_key(f): f.name for f in fields(stage) if f.init}
    return {names[key]: _coerce(hints[names[key]], value) for key, value in values.items()}


def _coerce(hint: Any, value: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if value is None:
        return None
    if origin in (Union, types.UnionType):
        options = [a for a in arguments if a is not type(None)]
        return _coerce(options[0], value) if len(options) == 1 else value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is tuple:
        return tuple(_coerce(arguments[0], item) for item in value)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _coerce(arguments[1], item) for key, item in value.items()}
    return value
