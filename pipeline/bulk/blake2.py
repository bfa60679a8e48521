"""BLAKE2b (RFC 7693) of many short stretches of one buffer in one compiled pass: what hashlib says of each.

A call of hashlib for each row would take longer than the hashing, and hold back whatever else the process does: it lets
other threads run for long texts only.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.bulk.words import load

_BLOCK = 128

_FIRST = np.array(
    [
        *(0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1),
        *(0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179),
    ],
    np.uint64,
)
"""The initialisation vector, section 2.6."""

_ORDER = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    ],
    np.int64,
)
"""Which words a round mixes in, section 2.7; the last two of twelve rounds begin again."""

_Word = np.uint64
_Words = NDArray[np.uint64]


@njit(cache=True, nogil=True)
def _turned(word: _Word, by: _Word) -> _Word:
    return _Word((word >> by) | (word << (_Word(64) - by)))


@njit(cache=True, nogil=True)
def _mixed(a: _Word, b: _Word, c: _Word, d: _Word, x: _Word, y: _Word) -> tuple[_Word, _Word, _Word, _Word]:
    """Section 3.1."""
    a = a + b + x
    d = _turned(d ^ a, _Word(32))
    c = c + d
    b = _turned(b ^ c, _Word(24))
    a = a + b + y
    d = _turned(d ^ a, _Word(16))
    c = c + d
    b = _turned(b ^ c, _Word(63))
    return a, b, c, d


@njit(cache=True, nogil=True)
def _compress(state: _Words, words: _Words, passed: _Word, last: bool) -> None:
    """Section 3.2, in sixteen plain variables, which stay in registers."""
    a0, a1, a2, a3, b0, b1, b2, b3 = state
    c0, c1, c2, c3, d0, d1, d2, d3 = _FIRST
    d0 ^= passed
    if last:
        d2 = ~d2
    for number in range(12):
        order = _ORDER[number % 10]
        a0, b0, c0, d0 = _mixed(a0, b0, c0, d0, words[order[0]], words[order[1]])
        a1, b1, c1, d1 = _mixed(a1, b1, c1, d1, words[order[2]], words[order[3]])
        a2, b2, c2, d2 = _mixed(a2, b2, c2, d2, words[order[4]], words[order[5]])
        a3, b3, c3, d3 = _mixed(a3, b3, c3, d3, words[order[6]], words[order[7]])
        a0, b1, c2, d3 = _mixed(a0, b1, c2, d3, words[order[8]], words[order[9]])
        a1, b2, c3, d0 = _mixed(a1, b2, c3, d0, words[order[10]], words[order[11]])
        a2, b3, c0, d1 = _mixed(a2, b3, c0, d1, words[order[12]], words[order[13]])
        a3, b0, c1, d2 = _mixed(a3, b0, c1, d2, words[order[14]], words[order[15]])
    mixed = (a0 ^ c0, a1 ^ c1, a2 ^ c2, a3 ^ c3, b0 ^ d0, b1 ^ d1, b2 ^ d2, b3 ^ d3)
    for k in range(8):
        state[k] ^= mixed[k]


@njit(cache=True, nogil=True)
def _hash(data: NDArray[np.uint8], ends: NDArray[np.int64], size: int, out: NDArray[np.uint8]) -> None:
    state, words, rest = np.empty(8, np.uint64), np.empty(16, np.uint64), np.empty(_BLOCK, np.uint8)
    for row in range(len(ends) - 1):
        begin, end = ends[row], ends[row + 1]
        state[:] = _FIRST
        state[0] ^= _Word(0x01010000 ^ size)  # section 2.5: one leaf, no key
        at = begin
        while end - at > _BLOCK:
            for k in range(16):
                words[k] = load(data, at + 8 * k)
            at += _BLOCK
            _compress(state, words, _Word(at - begin), False)
        for k in range(_BLOCK):
            rest[k] = data[at + k] if at + k < end else 0
        for k in range(16):
            words[k] = load(rest, 8 * k)
        _compress(state, words, _Word(end - begin), True)
        for k in range(size):
            out[row, k] = (state[k >> 3] >> _Word(8 * (k & 7))) & _Word(0xFF)


def digests(data: NDArray[np.uint8], ends: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """The digests, a row of `size` bytes each (1 to 64), of data[ends[0] : ends[1]], data[ends[1] : ends[2]] ..."""
    out = np.empty((len(ends) - 1, size), np.uint8)
    _hash(data, ends, size, out)
    return out
