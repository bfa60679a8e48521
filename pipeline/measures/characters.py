"""Code points: what kind of character each is, its lower case, and how to read them from UTF-8."""

import functools
import unicodedata
from typing import NamedTuple

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

LETTER, MARK, NUMBER, SPACE, SINGLE, BREAK = 1, 2, 4, 8, 16, 32
"""Bits of a kind. SINGLE characters are words of their own; BREAK characters end a line."""

_LOOKED_UP = 0x20000
"""Code points below have their kind in a table; the two planes above are Han, what follows them is no text."""

_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""Where Python's str.splitlines cuts."""

_SINGLES = (
    *((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF)),
    *((0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x0E00, 0x0E7F), (0x0E80, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF)),
)
"""Han, kana, and the scripts of Thai, Lao, Burmese and Khmer, which do not separate words."""


def kind(code: int) -> int:
    """The kind of a code point, as a sum of bits."""
    character = chr(code)
    category = unicodedata.category(character)
    bits = {"L": LETTER, "M": MARK, "N": NUMBER}.get(category[0], 0)
    if character.isspace():
        bits |= SPACE
    if character in _BREAKS:
        bits |= BREAK
    if bits & (LETTER | MARK) and any(low <= code <= high for low, high in _SINGLES):
        bits |= SINGLE
    return bits


class Letters(NamedTuple):
    """What code points are.

    Attributes:
        kinds: the kind of each that is looked up.
        lower: the lower case of each.
    """

    kinds: NDArray[np.uint8]
    lower: NDArray[np.uint32]


@functools.cache
def letters() -> Letters:
    """The tables, made once."""
    return Letters(_kinds(), _lowered())


def _kinds() -> NDArray[np.uint8]:
    return np.fromiter((kind(code) for code in range(_LOOKED_UP)), np.uint8, _LOOKED_UP)


def _lowered() -> NDArray[np.uint32]:
    return np.fromiter((_lower(code) for code in range(_LOOKED_UP)), np.uint32, _LOOKED_UP)


def _lower(code: int) -> int:
    """The lower case, or the code point itself where that is more than one character."""
    small = chr(code).lower()
    return ord(small) if len(small) == 1 else code


def utf8(texts: pl.Series) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The texts' bytes one behind the other, and where each begins and the last one ends."""
    arrow = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, ends, data = arrow.buffers()
    offsets = np.frombuffer(ends, np.int64)[arrow.offset : arrow.offset + len(arrow) + 1]
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), offsets


@njit(cache=True, nogil=True)
def decode(text: NDArray[np.uint8], at: int, end: int, codes: NDArray[np.uint32]) -> int:
    """Write the code points of valid UTF-8 to `codes`; returns how many there are."""
    count = 0
    while at < end:
        byte = np.uint32(text[at])
        if byte < 0x80:
            codes[count] = byte
            at += 1
        elif byte < 0xE0:
            codes[count] = (byte & 0x1F) << 6 | (np.uint32(text[at + 1]) & 0x3F)
            at += 2
        elif byte < 0xF0:
            codes[count] = (
                (byte & 0x0F) << 12 | (np.uint32(text[at + 1]) & 0x3F) << 6 | (np.uint32(text[at + 2]) & 0x3F)
            )
            at += 3
        else:
            codes[count] = (
                (byte & 0x07) << 18
                | (np.uint32(text[at + 1]) & 0x3F) << 12
                | (np.uint32(text[at + 2]) & 0x3F) << 6
                | (np.uint32(text[at + 3]) & 0x3F)
            )
            at += 4
        count += 1
    return count


@njit(cache=True, nogil=True)
def kind_of(code: int, table: NDArray[np.uint8]) -> int:
    """The kind of a code point; above the table all are Han or no text at all."""
    if code < len(table):
        return int(table[code])
    return LETTER | SINGLE if code < 0x323B0 else 0
