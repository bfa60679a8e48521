"""The words of a text as hashes, and the lists that words are looked up in."""

import functools
from collections.abc import Sequence

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from pipeline.measures.characters import LETTER, MARK, SINGLE, SPACE, Letters, decode, kind_of, letters, utf8

_BASIS = 0xCBF29CE484222325
_PRIME = 0x100000001B3
"""FNV-1a."""

STOP_WORDS_EN = (
    "a about after all also am an and any are as at be because been before being both but by can could did do does "
    "each few for from further had has have having he her here hers him his how i if in into is it its itself just "
    "may me might more most must my no nor not now of off on once only or other our out over own same shall she "
    "should so some such than that the their them then there these they this those through to too under until up "
    "upon us very was we were what when where which while who whom why will with would you your"
)
STOP_WORDS_ZH = (
    "的了是在和有我不这人他们中来上个大到说为以要就出也你对可会那得着与或而被把从其之等于让它她但如因所并将给很都"
)
"""Function words, our own choice; the Chinese ones are single characters, since characters are words here."""

GOPHER_WORDS = "the be to of and that have with"
"""The eight words of which Gopher asks for two (Rae et al. 2021, A1.1)."""


@functools.cache
def stop_hashes() -> NDArray[np.uint64]:
    """The sorted hashes of the stop words of both languages."""
    return _hashes([*STOP_WORDS_EN.split(), *STOP_WORDS_ZH])


@functools.cache
def gopher_hashes() -> NDArray[np.uint64]:
    """The sorted hashes of Gopher's eight words."""
    return _hashes(GOPHER_WORDS.split())


def _hashes(words: Sequence[str]) -> NDArray[np.uint64]:
    text, offsets = utf8(pl.Series(words))
    found = np.empty(len(words), np.uint64)
    _hash_each(text, offsets, letters(), found)
    return np.unique(found)


@njit(cache=True, nogil=True)
def _hash_each(
    text: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    table: Letters,
    found: NDArray[np.uint64],
) -> None:
    codes = np.empty(64, np.uint32)
    hashes, lengths, tokens = np.empty(64, np.uint64), np.empty(64, np.int64), np.zeros(2, np.int64)
    for i in range(len(offsets) - 1):
        count = decode(text, offsets[i], offsets[i + 1], codes)
        cut(codes, count, table, hashes, lengths, tokens)
        found[i] = hashes[0]


@njit(cache=True, nogil=True)
def cut(
    codes: NDArray[np.uint32],
    count: int,
    table: Letters,
    hashes: NDArray[np.uint64],
    lengths: NDArray[np.int64],
    tokens: NDArray[np.int64],
) -> int:
    """Cut a text into words: white-space separated, stripped of what is no letter at both ends, in lower case.

    Fills `hashes` and `lengths` (characters of each word) and `tokens`: how many pieces white space separates, and how
    many of them hold a letter. Single characters are words and pieces. Returns the number of words.
    """
    words, at = 0, 0
    tokens[:] = 0
    while at < count:
        what = kind_of(codes[at], table.kinds)
        if what & SPACE:
            at += 1
            continue
        end, first, last = at, -1, -1
        while end < count:
            what = kind_of(codes[end], table.kinds)
            if what & SPACE or (what & SINGLE and end > at):
                break
            if what & (LETTER | MARK):
                first, last = end if first < 0 else first, end
            end += 1
            if what & SINGLE:
                break
        tokens[0] += 1
        if first >= 0:
            tokens[1] += 1
            word = np.uint64(_BASIS)
            for k in range(first, last + 1):
                code = table.lower[codes[k]] if codes[k] < len(table.lower) else codes[k]
                word = (word ^ np.uint64(code)) * np.uint64(_PRIME)
            hashes[words], lengths[words] = word, last + 1 - first
            words += 1
        at = end
    return words


@njit(cache=True, nogil=True)
def among(word: np.uint64, listed: NDArray[np.uint64]) -> bool:
    """Whether a sorted list holds a hash."""
    at = np.searchsorted(listed, word)
    return bool(at < len(listed) and listed[at] == word)
