"""Shingles: each text as the hashed set of its runs of n tokens, computed in bulk."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from pipeline.similar.hash_set import enter, table_size
from pipeline.similar.threads import spread
from pipeline.similar.tokens import SEPARATOR, SINGLE, WORD, kind
from pipeline.similar.utf8 import LOOKED_UP, code_point, find_foreign, folded, stays, utf8_of
from pipeline.similar.variants import Variants, single_table

_PART_ROWS = 4_096
"""Texts that are cut at a time: their bytes and shingles stay in the processor's cache."""

_TOKEN_BASIS = 0xCBF29CE484222325
_TOKEN_PRIME = 0x100000001B3
_RUN_PRIME = 0x9E3779B185EBCA87
"""FNV-1a over the bytes of a word or over a single code point; an odd multiplier (xxHash's) for the rolling hash over
the tokens of a run."""


@dataclass(frozen=True, slots=True)
class Shingles:
    """The shingles of some texts, one text after the other.

    Attributes:
        values: 64-bit hashes other than 0, in text order; distinct in each text once they went through `sets`.
        starts: those of text i are values[starts[i] : starts[i + 1]].
    """

    values: NDArray[np.uint64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many each text has; 0 for a text without any token."""
        return np.diff(self.starts)

    def sets(self, rows: NDArray[np.int64]) -> "Shingles":
        """The sets of shingles of these texts, each in the order of first occurrence."""
        values = np.empty(int(self.counts[rows].sum()), np.uint64)
        starts = np.zeros(len(rows) + 1, np.int64)
        _sets(self.values, self.starts, rows, values, starts)
        return Shingles(values[: starts[-1]].copy(), starts)

    def taken(self, rows: NDArray[np.int64]) -> "Shingles":
        """The shingles of these texts, in this order."""
        starts = np.concatenate(([0], np.cumsum(self.counts[rows])))
        values = np.empty(starts[-1], np.uint64)
        _take(self.values, self.starts, rows, values)
        return Shingles(values, starts)

    @staticmethod
    def joined(parts: Sequence["Shingles"]) -> "Shingles":
        """The shingles of all texts of all parts, in order."""
        counts = [part.counts for part in parts]
        return Shingles(
            np.concatenate([part.values for part in parts]) if parts else np.empty(0, np.uint64),
            np.concatenate(([0], np.cumsum(np.concatenate(counts)))) if parts else np.zeros(1, np.int64),
        )


def shingle_parts(texts: pl.Series | Sequence[str], size: int, variants: Variants = "apart") -> list[Shingles]:
    """`shingles` of many texts by parts of some thousand, on all processors."""

    def cut(begin: int) -> Shingles:
        return shingles(pl.Series(texts[begin : begin + _PART_ROWS], dtype=pl.String), size, variants)

    return spread(cut, range(0, len(texts), _PART_ROWS))


def shingles(texts: pl.Series, size: int, variants: Variants = "apart") -> Shingles:
    """The runs of `size` tokens of each text; a shorter text is one shingle, a text without tokens has none.

    The tokens are those of `pipeline.similar.tokens.characters`: words, and single characters in scripts that do not
    separate words. So five tokens are five words of English and five characters of Chinese.

    Args:
        texts: strings without nulls.
        size: tokens in a shingle, at least 1.
        variants: `same` takes traditional Chinese characters for their simplified forms.
    """
    text, offsets = utf8_of(texts)
    foreign = np.zeros(len(texts), np.bool_)  # what folding would change in more than the case of ASCII letters
    find_foreign(text, offsets, stays(), foreign)
    other, other_offsets = utf8_of(folded(texts.filter(pl.Series(foreign))))
    # Two tokens never stand in fewer than three bytes.
    most = int(offsets[-1] - offsets[0] + other_offsets[-1] - other_offsets[0] + len(texts) + 1) // 2 + 1
    values = np.empty(most, np.uint64)
    starts = np.zeros(len(texts) + 1, np.int64)
    tables = _Tables(_kinds(), _plain_letters(), single_table(variants))
    _shingle(text, offsets, other, other_offsets, foreign, tables, size, values, starts)
    return Shingles(values[: starts[-1]].copy(), starts)


class _Tables(NamedTuple):
    """What single code points are.

    Attributes:
        kinds: SEPARATOR, WORD or SINGLE of each code point below LOOKED_UP.
        plain: the lower case of each ASCII code, 0 for what separates words.
        singles: what the single code points below its length are compared as.
    """

    kinds: NDArray[np.uint8]
    plain: NDArray[np.uint8]
    singles: NDArray[np.uint32]


@functools.cache
def _kinds() -> NDArray[np.uint8]:
    return np.fromiter(map(kind, range(LOOKED_UP)), np.uint8, LOOKED_UP)


@functools.cache
def _plain_letters() -> NDArray[np.uint8]:
    """For each ASCII code its lower case, or 0 when it separates words."""
    return np.array([ord(chr(c).lower()) if kind(ord(chr(c).lower())) == WORD else 0 for c in range(128)], np.uint8)


@njit(cache=True, nogil=True)
def _mixed(x: np.uint64) -> np.uint64:
    """The finalizer of MurmurHash3: every bit of the result depends on every bit of x."""
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> np.uint64(33))


@njit(cache=True, nogil=True)
def _never_zero(x: np.uint64) -> np.uint64:
    return x if x != 0 else np.uint64(1)


@njit(cache=True, nogil=True)
def _kind_of(code: np.int64, kinds: NDArray[np.uint8]) -> int:
    if code < LOOKED_UP:
        return int(kinds[code])
    return SINGLE if code < 0x40000 else SEPARATOR


@njit(cache=True, nogil=True)
def _next_token(
    text: NDArray[np.uint8],
    at: np.int64,
    end: np.int64,
    tables: _Tables,
) -> tuple[np.uint64, np.int64]:
    """The hash of the token that begins at or after a byte and where the text goes on; `end + 1` when there is none."""
    token = np.uint64(_TOKEN_BASIS)
    in_word = False
    while at < end:
        byte = text[at]
        if byte < 0x80:
            letter = tables.plain[byte]
            if letter == 0:
                at += 1
                if in_word:
                    return token, at
                continue
            token = (token ^ np.uint64(letter)) * np.uint64(_TOKEN_PRIME)
            in_word = True
            at += 1
            continue
        code, width = code_point(text, at)
        what = _kind_of(code, tables.kinds)
        if what == WORD:
            for k in range(at, at + width):
                token = (token ^ np.uint64(text[k])) * np.uint64(_TOKEN_PRIME)
            in_word = True
        elif in_word:
            return token, at
        elif what == SINGLE:
            code = np.int64(tables.singles[code]) if code < len(tables.singles) else code
            return (token ^ np.uint64(code)) * np.uint64(_TOKEN_PRIME), at + width
        at += width
    return token, end if in_word else end + 1


@njit(cache=True, nogil=True)
def _shingle(
    plain: NDArray[np.uint8],
    plain_offsets: NDArray[np.int64],
    other: NDArray[np.uint8],
    other_offsets: NDArray[np.int64],
    foreign: NDArray[np.bool_],
    tables: _Tables,
    size: int,
    values: NDArray[np.uint64],
    starts: NDArray[np.int64],
) -> None:
    """Fill `values` and `starts`; the bytes of the foreign texts are taken from `other`, where only they are."""
    window = np.zeros(size, np.uint64)
    oldest_weight = np.uint64(1)
    for _ in range(size):
        oldest_weight *= np.uint64(_RUN_PRIME)
    written = 0
    others = 0
    for i in range(len(plain_offsets) - 1):
        text = other if foreign[i] else plain
        at, end = plain_offsets[i], plain_offsets[i + 1]
        if foreign[i]:
            at, end = other_offsets[others], other_offsets[others + 1]
            others += 1
        window[:] = 0
        run = np.uint64(0)
        tokens = 0
        place = 0
        while True:
            token, at = _next_token(text, at, end, tables)
            if at > end:
                break
            token = _mixed(token)
            run = run * np.uint64(_RUN_PRIME) + token - window[place] * oldest_weight
            window[place] = token
            place = 0 if place + 1 == size else place + 1
            tokens += 1
            if tokens >= size:
                values[written] = _never_zero(_mixed(run))
                written += 1
        if 0 < tokens < size:
            values[written] = _never_zero(_mixed(run + np.uint64(tokens)))
            written += 1
        starts[i + 1] = written


@njit(cache=True, nogil=True)
def _sets(
    values: NDArray[np.uint64],
    starts: NDArray[np.int64],
    rows: NDArray[np.int64],
    out: NDArray[np.uint64],
    out_starts: NDArray[np.int64],
) -> None:
    """Write the distinct values of each row to `out`, one set behind the other, and where they start."""
    written = np.int64(0)
    table = np.zeros(1 << 8, np.uint64)
    for r, row in enumerate(rows):
        count = starts[row + 1] - starts[row]
        if 2 * count > len(table):
            table = np.zeros(table_size(count), np.uint64)
        size = min(len(table), table_size(count))
        table[:size] = 0
        for k in range(starts[row], starts[row + 1]):
            if enter(table, size, values[k]):
                out[written] = values[k]
                written += 1
        out_starts[r + 1] = written


@njit(cache=True, nogil=True)
def _take(
    values: NDArray[np.uint64], starts: NDArray[np.int64], rows: NDArray[np.int64], out: NDArray[np.uint64]
) -> None:
    written = 0
    for row in rows:
        for k in range(starts[row], starts[row + 1]):
            out[written] = values[k]
            written += 1
