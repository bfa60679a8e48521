"""Strict JSON decoding: what cannot be stored or would be silently changed is refused, with a reason."""

import json
import re
from collections import Counter
from typing import Any, NoReturn

from pipeline.formats.shape import Bad

MAX_DEPTH = 100
"""Deepest nesting of a row. Fixed, since Python's own limit depends on how deep the caller already stands."""

MAX_DIGITS = 1_000
"""Longest whole number in digits, well below what Python refuses to convert."""

_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_SPACE = re.compile(r"[ \t\r\n]*")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise Bad("duplicate-key", f"the key '{twice}' occurs twice")
    return value


def _constant(name: str) -> NoReturn:
    raise Bad("not-finite", f"{name} is not a JSON number")


def _float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise Bad("not-finite", f"{digits[:20]} is beyond the largest number that can be stored")
    return value


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise Bad("huge-number", f"a number of {len(digits)} digits")
    return int(digits)


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int)
_LENIENT = json.JSONDecoder(parse_float=str, parse_int=str)
"""Only finds where a value ends that the strict decoder refused."""


def decode(text: str, start: int = 0, first_line: int = 1) -> tuple[Any, int]:
    """The JSON value that begins at text[start] (no space before it) and the offset after it.

    Errors count lines from `first_line`, the one with which the text begins.

    Raises:
        Bad: reasons `malformed-json`, `duplicate-key`, `not-finite`, `huge-number`, `too-deep`, `lone-surrogate`.
    """
    try:
        value, end = _STRICT.raw_decode(text, start)
    except json.JSONDecodeError as error:
        line = error.lineno + first_line - 1
        raise Bad("malformed-json", f"{error.msg}, at line {line}, column {error.colno}") from None
    except RecursionError:
        raise Bad("too-deep", f"nested deeper than {MAX_DEPTH}", end=_closed(text, start)) from None
    except Bad as bad:
        bad.end = _end(text, start)
        raise
    if text.count("{", start, end) + text.count("[", start, end) > MAX_DEPTH and _is_deep(value):
        raise Bad("too-deep", f"nested deeper than {MAX_DEPTH}", end=end)
    if _ESCAPED_SURROGATE.search(text, start, end) and not _storable(value):
        raise Bad("lone-surrogate", "half a surrogate pair (\\ud800 to \\udfff) is not a character", end=end)
    return value, end


def _end(text: str, start: int) -> int | None:
    try:
        return _LENIENT.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


def _closed(text: str, start: int) -> int:
    """Where the brackets are balanced again, told without recursion; the text's end when they never are."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return len(text)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list))
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _storable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def decode_line(line: str) -> Any:
    """The one JSON value of a line; raises Bad."""
    value, end = decode(line)
    if (end := skip_space(line, end)) != len(line):
        raise Bad("malformed-json", f"more after the end of the value, at column {end + 1}")
    return value


def skip_space(text: str, start: int) -> int:
    """Offset of the first character at or after `start` that is not JSON white space."""
    return _SPACE.match(text, start).end()  # type: ignore[union-attr]
