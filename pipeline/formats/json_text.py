"""JSON held as text inside a record: tool definitions, tool calls and unknown columns, in one canonical writing."""

import json
from typing import Any

from pipeline.formats.decode import decode_line
from pipeline.formats.shape import Bad

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_SPACED = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def dumps(value: Any) -> str:
    """A value as compact JSON in the order of its keys."""
    return _ENCODER.encode(value)


def dumps_spaced(value: Any) -> str:
    """A value as one line of JSON with a space after commas and colons, for files that people look into."""
    return _SPACED.encode(value)


def tools_text(value: Any, field: str = "tools") -> str | None:
    """Tool definitions as canonical JSON text; accepts a list, an object or JSON text of one; None and "" are none."""
    if value is None or value == "":
        return None
    parsed = loads(value, field) if isinstance(value, str) else value
    if not isinstance(parsed, list | dict):
        raise Bad("malformed-tools", f"{field} must be a list of tool definitions", field)
    return dumps(parsed)


def tool_calls_text(value: Any, field: str) -> str | None:
    """Tool calls as canonical JSON text: a list of OpenAI calls whose `arguments` are JSON text.

    Accepts OpenAI's list (also as JSON text) and the bare `{"name": ..., "arguments": ...}`, one or a list of them,
    that ShareGPT files hold in a function_call turn.
    """
    parsed = loads(value, field) if isinstance(value, str) else value
    if parsed is None or parsed == []:
        return None
    calls = parsed if isinstance(parsed, list) else [parsed]
    return dumps([_call(call, f"{field}[{i}]") for i, call in enumerate(calls)])


def _call(call: Any, field: str) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise Bad("malformed-tools", f"{field} must be an object", field)
    whole = call if "function" in call else {"type": "function", "function": call}
    function = whole["function"]
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Bad("malformed-tools", f"{field} names no function", field)
    arguments = function.get("arguments", {})
    written = arguments if isinstance(arguments, str) else dumps(arguments)
    return {**whole, "function": {**function, "arguments": written}}


def bare_calls(tool_calls: str) -> Any:
    """Tool calls as a ShareGPT function_call turn holds them: `{"name", "arguments"}`, a list for more than one."""
    bare = [{"name": c["function"]["name"], "arguments": c["function"]["arguments"]} for c in json.loads(tool_calls)]
    for call in bare:
        # Arguments become an object where that loses nothing, since trainers' templates expect one.
        call["arguments"] = _parsed_if_canonical(call["arguments"])
    return bare[0] if len(bare) == 1 else bare


def _parsed_if_canonical(arguments: str) -> Any:
    try:
        parsed = decode_line(arguments)
    except Bad:
        return arguments
    return parsed if not isinstance(parsed, str) and dumps(parsed) == arguments else arguments


def loads(value: str, field: str) -> Any:
    """JSON text found inside a row; raises Bad."""
    try:
        return decode_line(value.strip())
    except Bad as bad:
        raise Bad("bad-json-text", f"{field} is not JSON: {bad.error}", field) from None
