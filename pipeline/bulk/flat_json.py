"""JSON objects that hold the same texts under the same keys, read in one compiled pass; at anything else it stops."""

from collections.abc import Mapping

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from pipeline.bulk.words import high, load, special, store, unmarked

_SHORTEST = 8
"""Bytes that a member takes at least, quotation marks, colon and comma included."""

_ESCAPES = np.zeros(256, np.uint8)
for _letter, _character in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _ESCAPES[_letter] = _character

_Bytes = NDArray[np.uint8]


@njit(cache=True, nogil=True)
def _is_space(byte: np.uint8) -> bool:
    return bool(byte == 0x20 or byte == 0x0A or byte == 0x0D or byte == 0x09)


@njit(cache=True, nogil=True)
def _space(data: _Bytes, at: int, stop: int, lines: bool) -> int:
    while at < stop and (data[at] == 0x20 or data[at] == 0x09 or data[at] == 0x0D or (data[at] == 0x0A and not lines)):
        at += 1
    return at


@njit(cache=True, nogil=True)
def _hex(data: _Bytes, at: int) -> int:
    """The number of four hexadecimal digits, -1 when they are none."""
    value = 0
    for k in range(at, at + 4):
        byte = int(data[k])
        if 0x30 <= byte <= 0x39:
            digit = byte - 0x30
        elif 0x41 <= byte <= 0x46 or 0x61 <= byte <= 0x66:
            digit = (byte | 0x20) - 0x57
        else:
            return -1
        value = value * 16 + digit
    return value


@njit(cache=True, nogil=True)
def _encode(code: int, out: _Bytes, to: int) -> int:
    """Write a code point as UTF-8; returns the place after it."""
    if code < 0x80:
        out[to] = code
        return to + 1
    if code < 0x800:
        out[to], out[to + 1] = 0xC0 | code >> 6, 0x80 | code & 0x3F
        return to + 2
    if code < 0x10000:
        out[to], out[to + 1], out[to + 2] = 0xE0 | code >> 12, 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F
        return to + 3
    out[to], out[to + 1] = 0xF0 | code >> 18, 0x80 | code >> 12 & 0x3F
    out[to + 2], out[to + 3] = 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F
    return to + 4


@njit(cache=True, nogil=True)
def _width(data: _Bytes, at: int, stop: int) -> int:
    """Bytes of the character above ASCII that begins here; 0 when it is no UTF-8 (RFC 3629, table of section 4)."""
    lead = data[at]
    width = 2 if 0xC2 <= lead <= 0xDF else 3 if 0xE0 <= lead <= 0xEF else 4 if 0xF0 <= lead <= 0xF4 else 0
    if width == 0 or at + width > stop:
        return 0
    low = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
    high = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
    if not low <= data[at + 1] <= high:
        return 0
    for k in range(at + 2, at + width):
        if not 0x80 <= data[k] <= 0xBF:
            return 0
    return width


@njit(cache=True, nogil=True)
def _text(data: _Bytes, at: int, stop: int, out: _Bytes, to: int) -> tuple[int, int]:
    """Read a string whose first character is at `at`; the place after its closing mark, or -1, and that in `out`."""
    while at < stop:
        if at + 8 <= stop:
            word = load(data, at)
            store(out, to, word)
            plain = unmarked(special(word) | high(word))
            at, to = at + plain, to + plain
            if plain == 8:
                continue
        byte = data[at]
        if byte == 0x22:
            return at + 1, to
        if byte == 0x5C:
            if at + 1 >= stop:
                return -1, to
            if data[at + 1] != 0x75:
                out[to] = _ESCAPES[data[at + 1]]
                if out[to] == 0:
                    return -1, to
                at, to = at + 2, to + 1
                continue
            code = _hex(data, at + 2) if at + 6 <= stop else -1
            at += 6
            if 0xD800 <= code < 0xDC00 and at + 6 <= stop and data[at] == 0x5C and data[at + 1] == 0x75:
                low = _hex(data, at + 2)
                if 0xDC00 <= low < 0xE000:
                    code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00
                    at += 6
            if code < 0 or 0xD800 <= code < 0xE000:
                return -1, to
            to = _encode(code, out, to)
        elif 0x20 <= byte < 0x80:
            out[to] = byte
            at, to = at + 1, to + 1
        else:
            width = _width(data, at, stop)
            if width == 0:
                return -1, to
            for k in range(width):
                out[to + k] = data[at + k]
            at, to = at + width, to + width
    return -1, to


@njit(cache=True, nogil=True)
def _begins(text: _Bytes, ends: NDArray[np.int64], head: _Bytes) -> bool:
    if ends[1] - ends[0] < len(head):
        return False
    same = 0
    while same < len(head) and text[ends[0] + same] == head[same]:
        same += 1
    return same == len(head)


@njit(cache=True, nogil=True)
def _scan(
    data: _Bytes,
    at: int,
    stop: int,
    lines: bool,
    keys: _Bytes,
    key_ends: NDArray[np.int64],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
    heads: _Bytes,
    head_ends: NDArray[np.int64],
    head_keys: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Read rows until one is not as expected; how many there were, the place after the last, line breaks up to it."""
    count, rows, passed, breaks = len(key_ends) - 1, 0, 0, 0
    ends[:, 0] = 0
    after = at
    while True:
        at = after
        # Between rows: line breaks in JSON Lines, commas in an array; what is between them otherwise is not ours.
        breaks = 0
        while at < stop and (_is_space(data[at]) or (data[at] == 0x2C and not lines)):
            breaks += data[at] == 0x0A
            at += 1
        if at >= stop or data[at] != 0x7B:
            return rows, after, passed
        at += 1
        for k in range(count):
            at = _space(data, at, stop, lines)
            if at >= stop or data[at] != 0x22:
                return rows, after, passed
            at += 1
            for j in range(key_ends[k], key_ends[k + 1]):
                if at >= stop or data[at] != keys[j]:
                    return rows, after, passed
                at += 1
            if at >= stop or data[at] != 0x22:
                return rows, after, passed
            at = _space(data, at + 1, stop, lines)
            if at >= stop or data[at] != 0x3A:
                return rows, after, passed
            at = _space(data, at + 1, stop, lines)
            if at >= stop or data[at] != 0x22:
                return rows, after, passed
            at, to = _text(data, at + 1, stop, out[k], ends[k, rows])
            if at < 0:
                return rows, after, passed
            ends[k, rows + 1] = to
            at = _space(data, at, stop, lines)
            if at >= stop or data[at] != (0x7D if k == count - 1 else 0x2C):
                return rows, after, passed
            at += 1
        for h in range(len(head_keys)):
            if _begins(out[head_keys[h]], ends[head_keys[h], rows : rows + 2], heads[head_ends[h] : head_ends[h + 1]]):
                return rows, after, passed
        if lines:
            at = _space(data, at, stop, True)
            if at < stop and data[at] != 0x0A:
                return rows, after, passed
            passed += breaks + (at < stop)
            at = min(at + 1, stop)
        rows += 1
        after = at


class Layout:
    """How rows look: their keys in order, whether they stand one a line or between brackets, and with what the texts
    under some keys do not begin."""

    def __init__(self, keys: tuple[str, ...], lines: bool, never: Mapping[str, tuple[str, ...]]) -> None:
        self.keys, self.lines = keys, lines
        heads = [(keys.index(key), head.encode()) for key, some in never.items() for head in some]
        self._heads = np.frombuffer(b"".join(head for _, head in heads), np.uint8)
        self._head_ends = np.cumsum([0, *(len(head) for _, head in heads)])
        self._head_keys = np.array([key for key, _ in heads], np.int64)
        self._names = np.frombuffer("".join(keys).encode(), np.uint8)
        self._name_ends = np.cumsum([0, *(len(key.encode()) for key in keys)])
        self._out = np.empty((len(keys), 0), np.uint8)

    def scan(self, data: bytes, start: int, stop: int) -> tuple[dict[str, pl.Series], int, int]:
        """The rows from data[start] on that are plain and end before `stop`.

        A row is plain when it has exactly these keys in this order, written without escapes, and a text under each
        that does not begin with what is excluded; all of it valid JSON in valid UTF-8.

        Returns:
            The texts under each key; the place after the last row's closing brace, or in JSON Lines after its line
            break; how many line breaks were passed in JSON Lines.
        """
        if self._out.shape[1] < stop - start + 8:
            self._out = np.empty((len(self.keys), stop - start + 8), np.uint8)
        ends = np.empty((len(self.keys), (stop - start) // (len(self.keys) * _SHORTEST) + 2), np.int64)
        view = np.frombuffer(data, np.uint8)
        keys, never = (self._names, self._name_ends), (self._heads, self._head_ends, self._head_keys)
        found, after, passed = _scan(view, start, stop, self.lines, *keys, self._out, ends, *never)
        columns = {key: _column(self._out[k], ends[k, : found + 1]) for k, key in enumerate(self.keys)}
        return columns, after, passed


def _column(out: _Bytes, ends: NDArray[np.int64]) -> pl.Series:
    used = out[: ends[-1]].copy()
    array = pa.LargeStringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends.copy()), pa.py_buffer(used))
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series
