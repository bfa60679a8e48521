"""Texts as the hashes of their runs of five tokens, and of six tokens with one left out."""

import functools

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from pipeline.similar.shingles import Shingles, shingles
from pipeline.similar.tokens import SINGLE, kind
from pipeline.similar.utf8 import folded

GRAM = 5
"""Tokens that a hash stands for. Of a text in which one word in ten was changed, 83 % of the tokens are still in an
unbroken run of five (41 % in one of thirteen); two texts on other matters seldom share one."""

GAPPED = 32
"""A benchmark's text of fewer tokens is also known by its windows of six with one token left out: a word replaced, put
in or left out in the middle of a question of nine spoils every run of five, but not the window around it."""

GAPS = GRAM - 1
"""Hashes with a token left out that a window has: any but its first and its last."""

LEAST = 4
"""Questions of fewer tokens ("Why?") are not looked for."""

ANSWER_TOKENS = 20
"""Answers of fewer tokens are not looked for, and so many must be found of a longer one: "Is there anything else I can
help you with?" and the usual six lines of a function are written again and again by those who never saw a benchmark."""

KEY = (int.from_bytes(b"seedmill", "little"), int.from_bytes(b"pack-v01", "little"))
"""SipHash's key. It is public, since records are hashed with it: what protects a pack is that the hash is one-way."""

_U = np.uint64


def tokens_of(texts: pl.Series) -> Shingles:
    """The tokens of each text as 64-bit numbers: words, or single characters where a script separates no words.

    Width, case and punctuation make no difference, and traditional Chinese characters count as simplified.
    """
    return shingles(texts, 1, "same")


def single_counts(texts: pl.Series) -> NDArray[np.int64]:
    """How many tokens of each text are single characters."""
    return folded(texts).str.count_matches(_singles()).to_numpy().astype(np.int64)


@functools.cache
def _singles() -> str:
    """A pattern for the characters that are tokens of their own."""
    codes = [code for code in range(0x80, 0x40000) if kind(code) == SINGLE]
    ends = [a for a, b in zip(codes, [*codes[1:], 0], strict=True) if b != a + 1]
    begins = [b for a, b in zip([0, *codes], codes, strict=False) if b != a + 1]
    return "[" + "".join(f"\\x{{{a:x}}}-\\x{{{b:x}}}" for a, b in zip(begins, ends, strict=True)) + "]"


def gram_count(tokens: int, gapped: bool) -> int:
    """How many hashes a text of so many tokens has, by `grams_of`."""
    windows = max(0, tokens - GRAM) * GAPS if gapped else 0
    return max(0, tokens - GRAM + 1) + windows


def is_gapped(tokens: int) -> bool:
    """Whether a benchmark's text of so many tokens is also known by windows with a gap."""
    return tokens < GAPPED


@functools.cache
def places(tokens: int, gapped: bool) -> NDArray[np.int64]:
    """For each hash of `grams_of` the positions of its five tokens, an array of (hashes, 5)."""
    runs = [[i + k for k in range(GRAM)] for i in range(tokens - GRAM + 1)]
    gaps = [
        [i + k for k in range(GRAM + 1) if k != gap]
        for i in range(tokens - GRAM if gapped else 0)
        for gap in range(1, GAPS + 1)
    ]
    return np.array(runs + gaps, np.int64).reshape(-1, GRAM)


@njit(cache=True, nogil=True, inline="always")
def _turned(x: np.uint64, by: int) -> np.uint64:
    return (x << _U(by)) | (x >> _U(64 - by))


_State = tuple[np.uint64, np.uint64, np.uint64, np.uint64]


@njit(cache=True, nogil=True)
def _round(v: _State) -> _State:
    a, b, c, d = v
    a += b
    c += d
    b = _turned(b, 13) ^ a
    d = _turned(d, 16) ^ c
    a = _turned(a, 32) + d
    c += b
    d = _turned(d, 21) ^ a
    b = _turned(b, 17) ^ c
    return a, b, _turned(c, 32), d


@njit(cache=True, nogil=True)
def sip_begin(key0: np.uint64, key1: np.uint64) -> _State:
    """SipHash-1-3's state before any input."""
    return (
        key0 ^ _U(0x736F6D6570736575),
        key1 ^ _U(0x646F72616E646F6D),
        key0 ^ _U(0x6C7967656E657261),
        key1 ^ _U(0x7465646279746573),
    )


@njit(cache=True, nogil=True)
def sip_add(v: _State, word: np.uint64) -> _State:
    """The state after eight more bytes, taken as a little-endian number."""
    a, b, c, d = _round((v[0], v[1], v[2], v[3] ^ word))
    return a ^ word, b, c, d


@njit(cache=True, nogil=True)
def sip_end(v: _State, words: int) -> np.uint64:
    """The hash of so many words of eight bytes, never 0."""
    a, b, c, d = sip_add(v, _U(8 * words) << _U(56))
    v = _round(_round(_round((a, b, c ^ _U(0xFF), d))))
    x = v[0] ^ v[1] ^ v[2] ^ v[3]
    return x if x != _U(0) else _U(1)


@njit(cache=True, nogil=True)
def whole_hash(tokens: NDArray[np.uint64], begin: int, end: int, key: tuple[np.uint64, np.uint64]) -> np.uint64:
    """SipHash-1-3 of all tokens of a text."""
    v = sip_begin(key[0], key[1])
    for k in range(begin, end):
        v = sip_add(v, tokens[k])
    value: np.uint64 = sip_end(v, end - begin)
    return value


@njit(cache=True, nogil=True)
def _is_monotonous(tokens: NDArray[np.uint64], at: int) -> bool:
    others = 0
    for k in range(at + 2, at + GRAM):
        others += tokens[k] != tokens[at] and tokens[k] != tokens[at + 1]
    return others == 0


@njit(cache=True, nogil=True)
def window_grams(
    tokens: NDArray[np.uint64],
    at: int,
    end: int,
    start: _State,
    gapped: bool,
    out: NDArray[np.uint64],
) -> int:
    """Write the hashes of the run that begins at a token, and of the window that does, to `out`; how many there are.

    What the hashes have in common, their first tokens, is hashed once. A run of one or two tokens over and over ("0 0 0
    0 0", "- | - | -") has none, or tables would be compared with tables in quadratic time.
    """
    if at + GRAM > end or _is_monotonous(tokens, at):
        return 0
    v = sip_add(start, tokens[at])
    count = 1
    for gap in range(1, GAPS + 1):
        if gapped and at + GRAM < end:
            w = v
            for k in range(at + gap + 1, at + GRAM + 1):
                w = sip_add(w, tokens[k])
            out[count] = sip_end(w, GRAM)
            count += 1
        v = sip_add(v, tokens[at + gap])
    out[0] = sip_end(v, GRAM)
    return count


def keys() -> tuple[np.uint64, np.uint64]:
    """KEY as compiled code takes it."""
    return _U(KEY[0]), _U(KEY[1])


def grams_of(tokens: Shingles) -> tuple[Shingles, NDArray[np.uint64]]:
    """The hashes of each text, and the hash of all its tokens.

    Runs come first, by position; then, of short texts, windows by position and the place of the gap (see `places`); 0
    stands where there is no hash.
    """
    counts = np.array([gram_count(int(n), is_gapped(int(n))) for n in tokens.counts], np.int64)
    starts = np.concatenate(([0], np.cumsum(counts)))
    values = np.zeros(starts[-1], np.uint64)
    whole = np.empty(len(tokens), np.uint64)
    _grams(tokens.values, tokens.starts, starts, keys(), values, whole)
    return Shingles(values, starts), whole


@njit(cache=True, nogil=True)
def _grams(
    tokens: NDArray[np.uint64],
    token_starts: NDArray[np.int64],
    starts: NDArray[np.int64],
    key: tuple[np.uint64, np.uint64],
    values: NDArray[np.uint64],
    whole: NDArray[np.uint64],
) -> None:
    start = sip_begin(key[0], key[1])
    out = np.empty(1 + GAPS, np.uint64)
    for i in range(len(token_starts) - 1):
        begin, end = token_starts[i], token_starts[i + 1]
        whole[i] = whole_hash(tokens, begin, end, key)
        gapped = end - begin < GAPPED
        runs = starts[i]
        windows = starts[i] + max(0, end - begin - GRAM + 1)
        for at in range(begin, end - GRAM + 1):
            count = window_grams(tokens, at, end, start, gapped, out)
            if count:
                values[runs] = out[0]
            for k in range(1, count):
                values[windows + k - 1] = out[k]
            runs += 1
            windows += GAPS
