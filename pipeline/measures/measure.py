"""The measures by name, and the loop that computes them."""

import functools
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from pipeline.measures.characters import LETTER, MARK, NUMBER, SPACE, Letters, decode, kind_of, letters, utf8
from pipeline.measures.grams import (
    clear,
    covered_characters,
    find_runs,
    most_repeated,
    repeated,
    tally,
    top_characters,
)
from pipeline.measures.lines import measure_lines
from pipeline.measures.words import among, cut, gopher_hashes, stop_hashes
from pipeline.measures.work import Work, room

_CHARACTERS = ("chars", "alnum_ratio", "special_ratio", "hash_count", "ellipsis_count", "digit_ratio")
_LINES = (
    *("mean_line", "max_line", "bullet_lines", "ellipsis_lines"),
    *("repeated_lines", "repeated_line_chars", "repeated_paragraphs", "repeated_paragraph_chars"),
)
_WORDS = ("word_count", "mean_word", "alpha_words", "stop_ratio", "gopher_words", "token_estimate")
_CHARACTER_RUNS = ("char_repetition",)
_WORD_RUNS = ("word_repetition", "top_2gram", "top_3gram", "top_4gram", *(f"repeated_{n}gram" for n in range(5, 11)))
_GROUPS = (_CHARACTERS, _LINES, _WORDS, _CHARACTER_RUNS, _WORD_RUNS)
_AT_CHARACTERS, _AT_LINES, _AT_WORDS, _AT_CHARACTER_RUNS, _AT_WORD_RUNS, _WIDTH = (
    0,
    *accumulate(len(group) for group in _GROUPS),
)

MEASURES: dict[str, int] = {name: at for at, name in enumerate(name for group in _GROUPS for name in group)}
"""Name -> column of the numbers. Shares are between 0 and 1, lengths in characters.

`special_ratio` counts all but letters; `word_count` words (a Han character is one), `mean_word` their mean length,
`alpha_words` the share of white-space separated pieces with a letter, `stop_ratio` of function words, `gopher_words`
how often Gopher's eight words occur; `token_estimate` what a byte-pair tokenizer would make of it, roughly."""

_CHARACTER_RUN, _WORD_RUN = 10, 10
"""Data-Juicer's default lengths of a run."""

_PART_ROWS = 4_096


class _Tables(NamedTuple):
    letters: Letters
    stops: NDArray[np.uint64]
    gopher: NDArray[np.uint64]


def measure(texts: pl.Series, names: Collection[str]) -> pl.DataFrame:
    """The named measures of each text, in order; null counts as empty.

    Only the groups of measures that a name stands for are computed; on all processors, by parts.
    """
    wanted = np.array([any(name in names for name in group) for group in _GROUPS])
    parts = [texts.slice(at, _PART_ROWS).fill_null("") for at in range(0, len(texts), _PART_ROWS)]
    with ThreadPoolExecutor() as threads:
        numbers = list(threads.map(functools.partial(_measured, wanted=wanted), parts))
    whole = np.concatenate(numbers) if numbers else np.empty((0, _WIDTH))
    return pl.DataFrame({name: whole[:, MEASURES[name]] for name in names}, schema=dict.fromkeys(names, pl.Float64))


def _measured(texts: pl.Series, wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    text, offsets = utf8(texts)
    out = np.zeros((len(texts), _WIDTH))
    tables = _Tables(letters(), stop_hashes(), gopher_hashes())
    _measure(text, offsets, tables, room(int(np.diff(offsets).max(initial=0))), wanted, out)
    return out


@njit(cache=True, nogil=True)
def _measure(
    text: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    tables: _Tables,
    work: Work,
    wanted: NDArray[np.bool_],
    out: NDArray[np.float64],
) -> None:
    """Fill a row of `out` for each text."""
    for i in range(len(offsets) - 1):
        row = out[i]
        count = decode(text, offsets[i], offsets[i + 1], work.codes)
        if wanted[0]:
            _measure_characters(work, count, tables.letters, row[_AT_CHARACTERS:])
        if wanted[1]:
            measure_lines(work, count, tables.letters, row[_AT_LINES:])
        if wanted[3]:
            _measure_character_runs(work, count, row[_AT_CHARACTER_RUNS:])
        if wanted[2] or wanted[4]:
            words = _measure_words(work, count, tables, row[_AT_WORDS:])
            if wanted[4]:
                _measure_word_runs(work, words, row[_AT_WORD_RUNS:])


@njit(cache=True, nogil=True)
def _measure_characters(work: Work, count: int, table: Letters, row: NDArray[np.float64]) -> None:
    alnum, special, hashes, ellipses, dots, digits = 0, 0, 0, 0, 0, 0
    for k in range(count):
        code = work.codes[k]
        what = kind_of(code, table.kinds)
        alnum += (what & (LETTER | NUMBER)) > 0
        special += (what & (LETTER | MARK)) == 0
        digits += (what & NUMBER) > 0
        hashes += code == 0x23
        dots = dots + 1 if code == 0x2E else 0
        ellipses += code == 0x2026 or dots == 3
    row[0] = count
    if count:
        row[1], row[2], row[5] = alnum / count, special / count, digits / count
    row[3], row[4] = hashes, ellipses


@njit(cache=True, nogil=True)
def _measure_character_runs(work: Work, count: int, row: NDArray[np.float64]) -> None:
    for k in range(count):
        work.hashes[k] = work.codes[k]
    found = find_runs(work, count, _CHARACTER_RUN)
    distinct = tally(work.runs, found, work)
    row[0] = most_repeated(work, found, distinct)
    clear(work, found)


@njit(cache=True, nogil=True)
def _measure_words(work: Work, count: int, tables: _Tables, row: NDArray[np.float64]) -> int:
    """Cut the text into words and fill their measures; returns how many words there are."""
    tokens = np.zeros(2, np.int64)
    words = int(cut(work.codes, count, tables.letters, work.hashes, work.lengths, tokens))
    characters, stop, of_gopher, pieces = 0, 0, 0, 0
    for k in range(words):
        characters += work.lengths[k]
        stop += among(work.hashes[k], tables.stops)
        of_gopher += among(work.hashes[k], tables.gopher)
        pieces += (work.lengths[k] + 5) // 6
    row[0] = words
    if words:
        row[1], row[3] = characters / words, stop / words
    if tokens[0]:
        row[2] = tokens[1] / tokens[0]
    row[4] = of_gopher
    row[5] = pieces + _marks(work.codes, count, tables.letters)
    return words


@njit(cache=True, nogil=True)
def _measure_word_runs(work: Work, words: int, row: NDArray[np.float64]) -> None:
    characters = max(1, work.lengths[:words].sum())
    for n in range(2, _WORD_RUN + 1):
        found = find_runs(work, words, n)
        tally(work.runs, found, work)
        inside = top_characters(work, found, n) if n <= 4 else covered_characters(work, found, n)
        row[n - 1] = min(1.0, inside / characters)
        if n == _WORD_RUN:
            row[0] = repeated(work, found)
        clear(work, found)


@njit(cache=True, nogil=True)
def _marks(codes: NDArray[np.uint32], count: int, table: Letters) -> int:
    """Tokens of what is neither letter nor white space: a mark is one, three digits are one."""
    marks, digits = 0, 0
    for k in range(count):
        what = kind_of(codes[k], table.kinds)
        digits = digits + 1 if what & NUMBER else 0
        marks += (what & (LETTER | MARK | NUMBER | SPACE)) == 0 or digits % 3 == 1
    return marks
