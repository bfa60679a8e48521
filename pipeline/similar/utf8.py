"""Columns of text as bytes for compiled loops, and which of them must be folded first."""

import functools
import unicodedata

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from pipeline.similar.tokens import fold

LOOKED_UP = 0x20000
"""Code points below this have what they are in tables; the two planes above are Han, what follows them is no text."""


def folded(texts: pl.Series) -> pl.Series:
    """`pipeline.similar.tokens.fold` of each text."""
    return texts.str.normalize("NFKC").str.to_lowercase()


def utf8_of(texts: pl.Series) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The texts' bytes one behind the other, and where each begins and the last one ends."""
    arrow = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, ends, data = arrow.buffers()
    offsets = np.frombuffer(ends, np.int64)[arrow.offset : arrow.offset + len(arrow) + 1]
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), offsets


@functools.cache
def stays() -> NDArray[np.bool_]:
    """For each code point below LOOKED_UP, whether folding leaves it as it is, whatever stands around it."""
    return np.fromiter((fold(chr(c)) == chr(c) and not _joins(c) for c in range(LOOKED_UP)), np.bool_, LOOKED_UP)


def _joins(code: int) -> bool:
    """Whether a code point may become one with the one before it, or change places: marks and Hangul's parts."""
    return unicodedata.category(chr(code))[0] == "M" or 0x1100 <= code <= 0x11FF


@njit(cache=True, nogil=True)
def code_point(text: NDArray[np.uint8], at: int) -> tuple[np.int64, int]:
    """The code point that starts at a byte of valid UTF-8 above ASCII, and its length in bytes."""
    lead = np.int64(text[at])
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | np.int64(text[at + 1]) & 0x3F, 2
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | (np.int64(text[at + 1]) & 0x3F) << 6 | np.int64(text[at + 2]) & 0x3F, 3
    high = (lead & 0x07) << 18 | (np.int64(text[at + 1]) & 0x3F) << 12
    return high | (np.int64(text[at + 2]) & 0x3F) << 6 | np.int64(text[at + 3]) & 0x3F, 4


@njit(cache=True, nogil=True)
def find_foreign(
    text: NDArray[np.uint8], offsets: NDArray[np.int64], stays: NDArray[np.bool_], foreign: NDArray[np.bool_]
) -> None:
    """Mark the texts that folding may change in more than the case of ASCII letters."""
    for i in range(len(offsets) - 1):
        seen = np.uint8(0)
        for k in range(offsets[i], offsets[i + 1]):
            seen |= text[k]
        at = offsets[i] if seen >= 0x80 else offsets[i + 1]
        while at < offsets[i + 1] and not foreign[i]:
            if text[at] < 0x80:
                at += 1
                continue
            code, width = code_point(text, at)
            foreign[i] = code >= LOOKED_UP or not stays[code]
            at += width
