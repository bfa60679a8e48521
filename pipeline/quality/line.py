"""A question and its answer as the one line of tokens that a quality model is trained on and applied to."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from pipeline.measures.characters import LETTER, MARK, NUMBER, SINGLE, SPACE, Letters, decode, kind_of, letters, utf8
from pipeline.similar.hash_set import contains, enter, table_size

_WORD = LETTER | MARK | NUMBER
_LONGEST = 32
"""Characters of a word that are read; what is longer is no word."""

_CONTENT = 4
"""Letters from which a word counts as one that an answer to it might take up; a Han character always does."""

_LINE_BREAK, _MARKED, _COVERED, _ECHOED, _DISTINCT = 0xB6, 63, 61, 126, 33
"""`¶` for a line break; `?` before each token of the question; the names of the three shares."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of tokens separated by single spaces, one line after the other as UTF-8.

    Attributes:
        text: the bytes.
        offsets: line i is text[offsets[i] : offsets[i + 1]].
    """

    text: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def texts(self) -> list[str]:
        """The lines as strings."""
        data = self.text.tobytes()
        bounds = zip(self.offsets[:-1], self.offsets[1:], strict=True)
        return [data[begin:end].decode("utf-8") for begin, end in bounds]


def lines_of(questions: pl.Series, answers: pl.Series) -> Lines:
    """The lines of these pairs, strings without nulls.

    Tokens are words in lower case, single characters in scripts that do not separate words, and punctuation marks;
    every digit is a 0, every run of line breaks one `¶`. Those of the question come first, marked, since what makes
    a good answer says something else in a question. Three shares that no bag of words can tell stand between them, in
    steps: how many of the question's longer words the answer takes up (`=0` to `=4`), how many of the answer's words
    are such (`~0` to `~10`), and how many are distinct (`!0` to `!10`). The answer is last, so that its end is seen.
    Nothing says how long it is.
    """
    question, begins = utf8(questions)
    answer, answer_begins = utf8(answers)
    size = int(begins[-1] - begins[0] + answer_begins[-1] - answer_begins[0])
    text = np.empty(4 * size + 16 * len(questions), np.uint8)
    offsets = np.zeros(len(questions) + 1, np.int64)
    _compose(question, begins, answer, answer_begins, letters(), text, offsets)
    return Lines(text[: offsets[-1]].copy(), offsets)


@njit(cache=True, nogil=True)
def _compose(
    question: NDArray[np.uint8],
    begins: NDArray[np.int64],
    answer: NDArray[np.uint8],
    answer_begins: NDArray[np.int64],
    table: Letters,
    out: NDArray[np.uint8],
    offsets: NDArray[np.int64],
) -> None:
    longest = 0
    for i in range(len(begins) - 1):
        longest = max(longest, begins[i + 1] - begins[i], answer_begins[i + 1] - answer_begins[i])
    codes = np.empty(longest + 1, np.uint32)
    asked, told = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    tail = np.empty(4 * longest + 16, np.uint8)
    wanted, seen = np.zeros(table_size(longest + 1), np.uint64), np.zeros(table_size(longest + 1), np.uint64)
    at = 0
    for i in range(len(begins) - 1):
        count = decode(question, begins[i], begins[i + 1], codes)
        at, questions = _tokens(codes, count, table, True, out, at, asked)
        count = decode(answer, answer_begins[i], answer_begins[i + 1], codes)
        end, answers = _tokens(codes, count, table, False, tail, 0, told)
        covered, echoed, distinct = _shares(asked[:questions], told[:answers], wanted, seen)
        at = _put_share(_COVERED, int(4 * covered), out, at)
        at = _put_share(_ECHOED, int(10 * echoed), out, at)
        at = _put_share(_DISTINCT, int(10 * distinct), out, at)
        out[at : at + end] = tail[:end]
        at += end
        if out[at - 1] == 32:
            at -= 1
        offsets[i + 1] = at


@njit(cache=True, nogil=True)
def _tokens(
    codes: NDArray[np.uint32],
    count: int,
    table: Letters,
    marked: bool,
    out: NDArray[np.uint8],
    at: int,
    hashes: NDArray[np.uint64],
) -> tuple[int, int]:
    """Write the tokens, a space behind each, and their hashes, odd for those with content; (end, how many)."""
    found, start, length, broke = 0, at, 0, False
    for i in range(count + 1):
        code = int(codes[i]) if i < count else 32
        if 0xFF01 <= code <= 0xFF5E:  # the full-width form of an ASCII character
            code -= 0xFEE0
        bits = kind_of(code, table.kinds)
        in_word = bits & _WORD and not bits & SINGLE
        if length and not in_word:
            hashes[found] = _hash(out, start, at, length >= _CONTENT)
            found, length = found + 1, 0
            at = _put(32, out, at)
        if code == 10 and i < count:
            if not broke:
                at = _put(_LINE_BREAK, out, _put(_MARKED, out, at) if marked else at)
                at = _put(32, out, at)
            broke = True
            continue
        if bits & SPACE or code < 32 or 127 <= code < 160:  # control characters would end fastText's words
            continue
        broke = False
        if length == 0:
            at = _put(_MARKED, out, at) if marked else at
            start = at
        if in_word:
            if length < _LONGEST:
                lower = int(table.lower[code]) if code < len(table.lower) else code
                at = _put(48 if bits & NUMBER else lower, out, at)
            length += 1
            continue
        at = _put(code, out, at)
        if bits & SINGLE:
            hashes[found] = _hash(out, start, at, True)
            found += 1
        at = _put(32, out, at)
    return at, found


@njit(cache=True, nogil=True)
def _put(code: int, out: NDArray[np.uint8], at: int) -> int:
    """Write a code point; returns where the next one goes."""
    if code < 0x80:
        out[at] = code
        return at + 1
    if code < 0x800:
        out[at] = 0xC0 | code >> 6
    else:
        if code < 0x10000:
            out[at] = 0xE0 | code >> 12
        else:
            out[at] = 0xF0 | code >> 18
            at += 1
            out[at] = 0x80 | (code >> 12 & 0x3F)
        at += 1
        out[at] = 0x80 | (code >> 6 & 0x3F)
    out[at + 1] = 0x80 | (code & 0x3F)
    return at + 2


@njit(cache=True, nogil=True)
def _put_share(name: int, tenths: int, out: NDArray[np.uint8], at: int) -> int:
    at = _put(name, out, at)
    if tenths >= 10:
        at = _put(48 + tenths // 10, out, at)
    at = _put(48 + tenths % 10, out, at)
    out[at] = 32
    return at + 1


@njit(cache=True, nogil=True)
def _hash(text: NDArray[np.uint8], begin: int, end: int, content: bool) -> np.uint64:
    """FNV-1a of a token, its last bit telling whether the token has content; never 0."""
    value = np.uint64(0xCBF29CE484222325)
    for k in range(begin, end):
        value = (value ^ np.uint64(text[k])) * np.uint64(0x100000001B3)
    value = value >> np.uint64(2) << np.uint64(2)
    return value | np.uint64(1) if content else value | np.uint64(2)


@njit(cache=True, nogil=True)
def _shares(
    asked: NDArray[np.uint64], told: NDArray[np.uint64], wanted: NDArray[np.uint64], seen: NDArray[np.uint64]
) -> tuple[float, float, float]:
    """Shares from 0 to 1: the question's words taken up, the answer's words that are such, and distinct ones."""
    size, seen_size = table_size(len(asked)), table_size(len(told))
    wanted[:size] = 0
    seen[:seen_size] = 0
    distinct = 0
    for value in told:
        distinct += enter(seen, seen_size, value)
    words, covered = 0, 0
    for value in asked:
        if value & np.uint64(1) and enter(wanted, size, value):
            words += 1
            covered += contains(seen, seen_size, value)
    echoed = 0
    for value in told:
        echoed += contains(wanted, size, value)
    return covered / max(1, words), echoed / max(1, len(told)), distinct / max(1, len(told))
