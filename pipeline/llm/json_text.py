"""The one JSON value in a model's text, read strictly."""

import json
import math
import re
from typing import Any, NoReturn

_FENCE = re.compile(
    r"^[ \t]*```[ \t]*(?:json)?[ \t]*\n(.*?)\n?[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE | re.IGNORECASE
)


class NotJson(Exception):
    """A text without exactly one JSON value.

    Attributes:
        why: `empty`, `no JSON`, `several values`, `invalid JSON`, `duplicate key`, `no JSON number` or `half a
            character`.
        evidence: what and where, or an empty string.
    """

    def __init__(self, why: str, evidence: str = "") -> None:
        super().__init__(f"{why}: {evidence}" if evidence else why)
        self.why, self.evidence = why, evidence


def read_json(text: str) -> Any:
    """The value, found by the first of these rules that applies.

    1. The text is JSON from end to end, white space aside.
    2. It has exactly one code fence of its own lines (three backticks, `json` behind them or not): the fence's inside,
       which must be JSON from end to end; what stands around it is not read.
    3. The object that begins at the first `{`, when there is no other `{` behind its end.

    Stricter than Python: NaN, Infinity and numbers too large for a float, keys that occur twice, and halves of
    characters (lone surrogates) are errors.

    Raises:
        NotJson: none of them gives a value.
    """
    bare = text.strip().removeprefix("\ufeff")
    if not bare:
        raise NotJson("empty")
    try:
        return _whole(bare)
    except NotJson as error:
        if bare[0] in "{[" and error.why != "invalid JSON":
            raise
    fences = _FENCE.findall(bare)
    if len(fences) > 1:
        raise NotJson("several values", f"{len(fences)} code fences")
    return _whole(fences[0].strip()) if fences else _object_within(bare)


def _whole(text: str) -> Any:
    value, end = _decoded(text, 0)
    if text[end:].strip():
        raise NotJson("invalid JSON", f"text after its end, at character {end + 1}")
    return value


def _object_within(text: str) -> Any:
    start = text.find("{")
    if start < 0:
        raise NotJson("no JSON")
    value, end = _decoded(text, start)
    if "{" in text[end:]:
        raise NotJson("several values")
    return value


def _decoded(text: str, start: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, start)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise NotJson("invalid JSON", f"{error.msg}, line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise NotJson("invalid JSON", "nested too deeply") from error
    except UnicodeEncodeError as error:
        raise NotJson("half a character") from error
    except ValueError as error:  # an integer of thousands of digits
        raise NotJson("no JSON number", "too many digits") from error
    return value, end


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise NotJson("duplicate key", key[:80])
        found[key] = value
    return found


def _no_number(text: str) -> NoReturn:
    raise NotJson("no JSON number", text)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise NotJson("no JSON number", text[:80])
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_no_number, parse_float=_float)
