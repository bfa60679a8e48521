"""A minimal JSON value that a JSON Schema accepts, for replies asked for in a schema."""

import json
import random
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator, SchemaError
from jsonschema.exceptions import best_match

from pipeline.llm.fake.question import Objection

_DEPTH = 32


def shaped(text: str, response_format: Mapping[str, Any], dice: random.Random) -> str:
    """The reply's text as `response_format` wants it: itself when it already complies, else a minimal instance.

    Raises:
        Objection: the format is none that OpenAI knows, its schema is none, or no instance was found.
    """
    kind = response_format.get("type")
    if kind == "text":
        return text
    if kind == "json_object":
        schema: Any = {"type": "object", "properties": {"text": {"const": text}}, "required": ["text"]}
        return text if _is_object(text) else _dumped(_value(schema, schema, dice, 0))
    wrapped = response_format.get("json_schema")
    if kind != "json_schema" or not isinstance(wrapped, Mapping) or not isinstance(wrapped.get("schema"), Mapping):
        raise Objection(
            400, "Invalid 'response_format': type text, json_object or json_schema", param="response_format"
        )
    schema = wrapped["schema"]
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise Objection(400, f"Invalid schema for response_format: {error.message}", param="response_format") from error
    checker = Draft202012Validator(schema)
    try:
        if checker.is_valid(json.loads(text)):
            return text
    except ValueError:
        pass
    value = _value(schema, schema, dice, 0)
    if problem := best_match(checker.iter_errors(value)):
        raise Objection(
            400, f"the fake provider found no instance of this schema: {problem.message}", param="response_format"
        )
    return _dumped(value)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _value(schema: Any, root: Any, dice: random.Random, depth: int) -> Any:
    """A value of the schema; required properties only, the shortest lists, numbers drawn within their bounds."""
    if not isinstance(schema, Mapping) or depth > _DEPTH:
        return None
    if "$ref" in schema:
        return _value(_resolved(str(schema["$ref"]), root), root, dice, depth + 1)
    for key in ("const", "enum"):
        if key in schema:
            return schema[key] if key == "const" else dice.choice(schema[key])
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            first = {k: v for k, v in schema.items() if k != key} | _merged(
                schema[key] if key == "allOf" else schema[key][:1]
            )
            return _value(first, root, dice, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: _value(properties.get(name, {}), root, dice, depth + 1) for name in schema.get("required", ())}
    if kind == "array":
        heads = [_value(item, root, dice, depth + 1) for item in schema.get("prefixItems", ())]
        missing = max(0, int(schema.get("minItems", 0)) - len(heads))
        return heads + [_value(schema.get("items", {}), root, dice, depth + 1) for _ in range(missing)]
    if kind in ("number", "integer"):
        return _number(schema, kind == "integer", dice)
    return {"boolean": dice.random() < 0.5, "null": None}.get(kind, _string(schema, dice))


def _merged(parts: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        merged |= part if isinstance(part, Mapping) else {}
    return merged


def _resolved(ref: str, root: Any) -> Any:
    found = root
    for part in ref.removeprefix("#").strip("/").split("/"):
        if part:
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found


def _number(schema: Mapping[str, Any], whole: bool, dice: random.Random) -> float:
    step = schema.get("multipleOf", 1 if whole else 0.5)
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else None)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
    low = low if low is not None else (0 if high is None or high >= 0 else high - 10 * step)
    high = high if high is not None else low + 10 * step
    first, last = -(-low // step), high // step
    value = step * dice.randint(int(first), max(int(first), int(last)))
    return int(value) if whole else float(value)


def _string(schema: Mapping[str, Any], dice: random.Random) -> str:
    known = {
        "date": "2024-05-01",
        "date-time": "2024-05-01T00:00:00Z",
        "email": "a@example.com",
        "uri": "https://example.com/",
    }
    word = known.get(schema.get("format", ""), dice.choice(("river", "garden", "letter", "window", "market")))
    word = word.ljust(int(schema.get("minLength", 0)), "x")
    return word[: int(schema["maxLength"])] if "maxLength" in schema else word
