"""Shingles: each text as the hashed set of its runs of n tokens, computed in bulk."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from pipeline.similar.tokens import SEPARATOR, SINGLE, WORD, kind

_LOOKED_UP = 0x20000
"""Code points below this have their kind in a table; the two planes above are Han, what follows them is no text."""

_TOKEN_BASIS = 0xCBF29CE484222325
_TOKEN_PRIME = 0x100000001B3
_RUN_PRIME = 0x9E3779B185EBCA87
"""FNV-1a over the bytes of a token; an odd multiplier (xxHash's) for the rolling hash over the tokens of a run."""


@dataclass(frozen=True, slots=True)
class Shingles:
    """The shingles of some texts, one text after the other.

    Attributes:
        values: 64-bit hashes; in text order and with repeats, or sorted and distinct once they went through `sets`.
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
        """The sets of shingles of these texts, each sorted."""
        counts = self.counts[rows]
        starts = np.concatenate(([0], np.cumsum(counts)))
        values = np.empty(starts[-1], np.uint64)
        sizes = np.empty(len(rows), np.int64)
        _sets(self.values, self.starts, rows, values, sizes)
        starts = np.concatenate(([0], np.cumsum(sizes)))
        return Shingles(values[: starts[-1]].copy(), starts)

    @staticmethod
    def joined(parts: Sequence["Shingles"]) -> "Shingles":
        """The shingles of all texts of all parts, in order."""
        counts = [part.counts for part in parts]
        return Shingles(
            np.concatenate([part.values for part in parts]),
            np.concatenate(([0], np.cumsum(np.concatenate(counts)))),
        )


def shingles(texts: pl.Series, size: int) -> Shingles:
    """The runs of `size` tokens of each text; a shorter text is one shingle, a text without tokens has none.

    The tokens are those of `pipeline.similar.tokens.characters`: words, and single characters in scripts that do not
    separate words. So five tokens are five words of English and five characters of Chinese.

    Args:
        texts: strings without nulls.
        size: tokens in a shingle, at least 1.
    """
    arrow = folded(texts).to_arrow(compat_level=pl.CompatLevel.oldest())
    _, ends, data = arrow.buffers()
    offsets = np.frombuffer(ends, np.int64)[arrow.offset : arrow.offset + len(arrow) + 1]
    text = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    # Two tokens never stand in fewer than three bytes.
    values = np.empty(int(offsets[-1] - offsets[0] + len(texts) + 1) // 2 + 1, np.uint64)
    starts = np.zeros(len(texts) + 1, np.int64)
    _shingle(text, offsets, _kinds(), size, values, starts)
    return Shingles(values[: starts[-1]].copy(), starts)


def folded(texts: pl.Series) -> pl.Series:
    """`pipeline.similar.tokens.fold` of each text."""
    plain = texts.str.len_bytes() == texts.str.len_chars()
    if not plain.all():
        other = texts.filter(~plain).str.normalize("NFKC")
        order = np.argsort(np.concatenate([plain.arg_true().to_numpy(), (~plain).arg_true().to_numpy()]))
        texts = pl.concat([texts.filter(plain), other]).gather(order)
    return texts.str.to_lowercase()


@functools.cache
def _kinds() -> NDArray[np.uint8]:
    return np.fromiter(map(kind, range(_LOOKED_UP)), np.uint8, _LOOKED_UP)


@njit(cache=True, nogil=True)
def _mixed(x: np.uint64) -> np.uint64:
    """The finalizer of MurmurHash3: every bit of the result depends on every bit of x."""
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> np.uint64(33))


@njit(cache=True, nogil=True)
def _code_point(text: NDArray[np.uint8], at: int) -> tuple[np.int64, int]:
    """The code point that starts at a byte of valid UTF-8, and its length in bytes."""
    lead = np.int64(text[at])
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | np.int64(text[at + 1]) & 0x3F, 2
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | (np.int64(text[at + 1]) & 0x3F) << 6 | np.int64(text[at + 2]) & 0x3F, 3
    high = (lead & 0x07) << 18 | (np.int64(text[at + 1]) & 0x3F) << 12
    return high | (np.int64(text[at + 2]) & 0x3F) << 6 | np.int64(text[at + 3]) & 0x3F, 4


@njit(cache=True, nogil=True)
def _kind_of(code: np.int64, kinds: NDArray[np.uint8]) -> int:
    if code < _LOOKED_UP:
        return int(kinds[code])
    return SINGLE if code < 0x40000 else SEPARATOR


@njit(cache=True, nogil=True)
def _shingle(
    text: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    kinds: NDArray[np.uint8],
    size: int,
    values: NDArray[np.uint64],
    starts: NDArray[np.int64],
) -> None:
    """Fill `values` and `starts`; text i is the bytes offsets[i] to offsets[i + 1]."""
    window = np.zeros(size, np.uint64)
    oldest_weight = np.uint64(1)
    for _ in range(size):
        oldest_weight *= np.uint64(_RUN_PRIME)
    written = 0
    for i in range(len(offsets) - 1):
        at, end = offsets[i], offsets[i + 1]
        window[:] = 0
        run = np.uint64(0)
        tokens = 0
        while at < end:
            code, width = _code_point(text, at)
            what = _kind_of(code, kinds)
            if what == SEPARATOR:
                at += width
                continue
            token = np.uint64(_TOKEN_BASIS)
            while True:
                for k in range(at, at + width):
                    token = (token ^ np.uint64(text[k])) * np.uint64(_TOKEN_PRIME)
                at += width
                if what == SINGLE or at >= end:
                    break
                code, width = _code_point(text, at)
                if _kind_of(code, kinds) != WORD:
                    break
            token = _mixed(token)
            run = run * np.uint64(_RUN_PRIME) + token - window[tokens % size] * oldest_weight
            window[tokens % size] = token
            tokens += 1
            if tokens >= size:
                values[written] = _mixed(run)
                written += 1
        if 0 < tokens < size:
            values[written] = _mixed(run + np.uint64(tokens))
            written += 1
        starts[i + 1] = written


@njit(cache=True, nogil=True)
def _sets(
    values: NDArray[np.uint64],
    starts: NDArray[np.int64],
    rows: NDArray[np.int64],
    out: NDArray[np.uint64],
    sizes: NDArray[np.int64],
) -> None:
    """Write the sorted distinct values of each row to `out`, one set behind the other, and their sizes."""
    written = 0
    for r, row in enumerate(rows):
        ordered = np.sort(values[starts[row] : starts[row + 1]])
        before = written
        for k, value in enumerate(ordered):
            if k == 0 or value != ordered[k - 1]:
                out[written] = value
                written += 1
        sizes[r] = written - before
