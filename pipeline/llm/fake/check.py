"""Checks a script against its JSON Schema; what is wrong comes out as a sentence that names the valid spellings."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError

from pipeline.errors import UsageError

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


@cache
def schema() -> dict[str, Any]:
    """The schema of a script; its `$defs` also hold what each kind of fault and reply takes."""
    text = (resources.files(__package__) / "script.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@cache
def _validator(part: str) -> Draft202012Validator:
    """The validator of the whole script, or of one kind such as `reply_kinds/tasks`."""
    whole = schema()
    if part == "script":
        return Draft202012Validator(whole)
    table, kind = part.split("/")
    own = whole["$defs"][table][kind]
    shared = whole["$defs"]["reply_params" if table == "reply_kinds" else "fault_params"]
    properties = {name: _shares(value) for name, value in {"kind": {}, **shared, **own["properties"]}.items()}
    return Draft202012Validator(
        {
            "type": "object",
            "additionalProperties": False,
            "required": own.get("required", []),
            "properties": properties,
            "$defs": whole["$defs"],
        }
    )


def _shares(value: dict[str, Any]) -> dict[str, Any]:
    """`{"$shares": [names]}` stands for a mapping of these names to shares."""
    if "$shares" not in value:
        return value
    share = {"$ref": "#/$defs/share"}
    return {"type": "object", "additionalProperties": False, "properties": dict.fromkeys(value["$shares"], share)}


def check(script: Any, source: str) -> None:
    """Raise UsageError, naming `source` and the place in it, unless `script` obeys the schema."""
    if not isinstance(script, Mapping):
        raise UsageError(
            f"{source}: a script is a mapping of settings, not {_shown(script)}", _valid(schema()["properties"])
        )
    _complain(_validator("script").iter_errors(script), source, "")
    kinds = schema()["$defs"]["reply_kinds"]
    for i, rule in enumerate(script.get("rules", ())):
        kind = rule["reply"]["kind"]
        if not isinstance(kind, str) or kind not in kinds:
            raise UsageError(f"{source}: unknown kind {_shown(kind)} in rules[{i}].reply", _meant(str(kind), kinds))
        _complain(_validator(f"reply_kinds/{kind}").iter_errors(rule["reply"]), source, f"rules[{i}].reply")
    for i, fault in enumerate(script.get("faults", ())):
        _complain(_validator(f"fault_kinds/{fault['kind']}").iter_errors(fault), source, f"faults[{i}]")


def _complain(errors: Iterable[ValidationError], source: str, at: str) -> None:
    for error in sorted(errors, key=lambda e: [str(part) for part in e.absolute_path]):
        message, hint = _sentence(error, _place(at, error.absolute_path))
        raise UsageError(f"{source}: {message}", hint)


def _place(at: str, path: Iterable[Any]) -> str:
    for part in path:
        at += f"[{part}]" if isinstance(part, int) else f".{part}" if at else str(part)
    return at


def _sentence(error: ValidationError, place: str) -> tuple[str, str | None]:
    """What is wrong, and a hint."""
    where = f" in {place}" if place else ""
    value: Any = error.validator_value
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        known = cast(Mapping[str, Any], error.schema)["properties"]
        unknown = next(key for key in instance if key not in known)
        return f"unknown key {_shown(unknown)}{where}", _meant(str(unknown), known)
    if error.validator == "required":
        missing = next(key for key in value if key not in instance)
        return f"{place} lacks the key '{missing}'", None
    if error.validator == "type":
        hint = "YAML reads yes, no, on, off and numbers as such: put text in quotes" if value == "string" else None
        return f"{place} must be {_TYPES[value]}, not {_shown(instance)}", hint
    if error.validator == "enum":
        return f"{place} cannot be {_shown(instance)}", _meant(str(instance), value)
    bounds = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than"}
    if error.validator in bounds:
        return f"{place} must be {bounds[error.validator]} {value}, not {_shown(instance)}", None
    return f"{place}: {error.message}", None


def _meant(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{near[0]}'? {_valid(known)}" if near else _valid(known)


def _valid(known: Iterable[str]) -> str:
    return f"valid: {', '.join(known)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str):
        text = f"'{value}'"
    return text if len(text) <= 60 else f"{text[:57]}..."


def pattern(text: str, source: str, place: str) -> re.Pattern[str]:
    """The regular expression, in which `.` also matches line breaks and `^`, `$` every line's ends."""
    try:
        return re.compile(text, re.DOTALL | re.MULTILINE)
    except re.error as error:
        raise UsageError(
            f"{source}: {place} is no regular expression: {error}", "in YAML put it in single quotes"
        ) from error
