"""Columns of text as JSON rows, as Python's json writes them (`ensure_ascii=False`); ids, which are hashes of such."""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from pipeline.bulk.blake2 import digests
from pipeline.bulk.words import load, special, store, unmarked
from pipeline.measures.characters import utf8

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_SHORT = np.zeros(256, np.uint8)
for _character, _letter in zip(b'"\\\b\f\n\r\t', b'"\\bfnrt', strict=True):
    _SHORT[_character] = _letter

_LONGEST_ESCAPE = 6
_ID_BYTES = 10
_WORTH_COMPILING = 2_000
"""Rows from which on the compiled hash pays: its first use on a machine takes seconds."""

_Bytes = NDArray[np.uint8]
_Ends = NDArray[np.int64]


class Member(NamedTuple):
    """A column in a row: what stands before and after its text, and instead of all that when it is empty."""

    column: pl.Series
    before: bytes
    after: bytes = b""
    instead: bytes | None = None


@njit(cache=True, nogil=True)
def _escaped(text: _Bytes, at: int, end: int, out: _Bytes, to: int) -> int:
    """Write a text between quotation marks; returns the place after it."""
    out[to] = 0x22
    to += 1
    while at < end:
        if at + 8 <= end:
            word = load(text, at)
            store(out, to, word)
            plain = unmarked(special(word))
            at, to = at + plain, to + plain
            if plain == 8:
                continue
        byte = text[at]
        at += 1
        if byte >= 0x20 and byte != 0x22 and byte != 0x5C:
            out[to] = byte
            to += 1
            continue
        out[to] = 0x5C
        if _SHORT[byte]:
            out[to + 1] = _SHORT[byte]
            to += 2
        else:
            out[to + 1], out[to + 2], out[to + 3] = 0x75, 0x30, 0x30
            out[to + 4], out[to + 5] = _HEX[byte >> 4], _HEX[byte & 15]
            to += 6
    out[to] = 0x22
    return to + 1


@njit(cache=True, nogil=True)
def _put(pieces: _Bytes, piece_ends: _Ends, number: int, out: _Bytes, to: int) -> int:
    for k in range(piece_ends[number], piece_ends[number + 1]):
        out[to] = pieces[k]
        to += 1
    return to


@njit(cache=True, nogil=True)
def _write(
    texts: tuple[_Bytes, _Bytes, _Bytes],
    ends: tuple[_Ends, _Ends, _Ends],
    always: NDArray[np.bool_],
    pieces: _Bytes,
    piece_ends: _Ends,
    out: _Bytes,
    rows: _Ends,
) -> None:
    to = 0
    for i in range(len(rows) - 1):
        for k in range(3):
            begin, end = ends[k][i], ends[k][i + 1]
            if begin < end or always[k]:
                to = _put(pieces, piece_ends, 3 * k, out, to)
                to = _escaped(texts[k], begin, end, out, to)
                to = _put(pieces, piece_ends, 3 * k + 1, out, to)
            else:
                to = _put(pieces, piece_ends, 3 * k + 2, out, to)
        to = _put(pieces, piece_ends, 9, out, to)
        rows[i + 1] = to


def written(members: Sequence[Member], last: bytes) -> tuple[memoryview, NDArray[np.int64]]:
    """Rows of three texts as JSON strings, one after the other, and where each begins and the last one ends.

    Args:
        members: three columns of equal length, without nulls.
        last: what stands at the end of every row.
    """
    texts, ends = zip(*(utf8(member.column) for member in members), strict=True)
    pieces = [piece for m in members for piece in (m.before, m.after, m.instead or b"")] + [last]
    rows = np.zeros(len(members[0].column) + 1, np.int64)
    most = sum(map(len, pieces)) + 2 * len(members)
    room = sum(int(e[-1] - e[0]) for e in ends) * _LONGEST_ESCAPE  # Most of it is never touched.
    out = np.empty(room + (len(rows) - 1) * most + 8, np.uint8)
    always = np.array([member.instead is None for member in members])
    piece_ends = np.cumsum([0, *map(len, pieces)])
    _write(texts, ends, always, np.frombuffer(b"".join(pieces), np.uint8), piece_ends, out, rows)
    return out[: rows[-1]].data, rows


_REST = b",null,null,null,null,null]"
"""What a message has beside role and content."""


def source_ids(instruction: pl.Series, input: pl.Series, output: pl.Series) -> tuple[pl.Series, list[bytes]]:
    """`pipeline.record.source_id` of records that ask one question, with an answer where `output` is not empty.

    Returns:
        The ids, and the same as bytes.
    """
    members = (
        Member(instruction, b'["source",[["user",', _REST),
        Member(output, b',["assistant",', _REST, b""),
        Member(input, b"],", b"", b"],null"),
    )
    text, rows = written(members, b",null,0]")
    joined = _joined_digests(text, rows)
    letters = joined.hex().encode()
    ends = pa.py_buffer(np.arange(0, len(letters) + 1, 2 * _ID_BYTES))
    ids = pl.from_arrow(pa.LargeStringArray.from_buffers(len(rows) - 1, ends, pa.py_buffer(letters)))
    assert isinstance(ids, pl.Series)
    return ids, [joined[at : at + _ID_BYTES] for at in range(0, len(joined), _ID_BYTES)]


def _joined_digests(text: memoryview, rows: NDArray[np.int64]) -> bytes:
    if len(rows) > _WORTH_COMPILING:
        return digests(np.frombuffer(text, np.uint8), rows, _ID_BYTES).tobytes()
    return b"".join(blake2b(text[a:b], digest_size=_ID_BYTES).digest() for a, b in pairwise(rows.tolist()))
