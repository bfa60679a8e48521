"""The language of texts, by a model's words, character n-grams and label tree."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from pipeline.lid.model import DIM, Arrays, LanguageModel
from pipeline.measures.characters import utf8

_PART_ROWS = 1_024
_TOO_DEEP = 64
_BUCKETS = 2_000_000
"""fastText's default number of n-gram buckets."""


def predict(model: LanguageModel, texts: pl.Series) -> pl.DataFrame:
    """The most probable `language` of each text and its probability, `confidence`: what fastText says of it as a line.

    Args:
        texts: strings without nulls; any white space separates words.
    """
    parts = [texts.slice(at, _PART_ROWS) for at in range(0, len(texts), _PART_ROWS)]
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(partial(_predicted, model), parts))
    best = np.concatenate([np.empty(0, np.int32), *(part for part, _ in found)])
    shares = np.concatenate([np.empty(0), *(part for _, part in found)])
    labels = pl.Series(model.labels, dtype=pl.String)
    return pl.DataFrame({"language": labels.gather(pl.Series(best)), "confidence": np.minimum(shares, 1.0)})


def _predicted(model: LanguageModel, texts: pl.Series) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    text, offsets = utf8(texts)
    best, share = np.zeros(len(texts), np.int32), np.zeros(len(texts))
    longest = int(np.diff(offsets).max(initial=0))
    _predict(text, offsets, model.arrays, model.shortest, model.longest, model.end_row, longest, best, share)
    return best, share


@njit(cache=True, nogil=True)
def _predict(
    text: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    model: Arrays,
    shortest: int,
    longest: int,
    end_row: int,
    room: int,
    best: NDArray[np.int32],
    share: NDArray[np.float64],
) -> None:
    """Fill the best label and its probability for each text."""
    hidden = np.empty(DIM, np.float32)
    word = np.empty(room + 2, np.uint8)
    for i in range(len(offsets) - 1):
        hidden[:] = 0
        count = 0
        at, end = offsets[i], offsets[i + 1]
        while at < end:
            if _is_space(text[at]):
                at += 1
                continue
            size = 1
            word[0] = 60  # "<"
            while at < end and not _is_space(text[at]):
                word[size] = text[at]
                size, at = size + 1, at + 1
            word[size] = 62  # ">"
            count += _add_word(word, size + 1, model, shortest, longest, hidden)
        if end_row >= 0:
            _add(hidden, model.rows[end_row])
            count += 1
        if count:
            hidden *= np.float32(1) / np.float32(count)
        best[i], share[i] = _best_label(hidden, model)


@njit(cache=True, nogil=True)
def _is_space(byte: int) -> bool:
    return byte == 32 or 9 <= byte <= 13 or byte == 0


@njit(cache=True, nogil=True)
def _add(hidden: NDArray[np.float32], row: NDArray[np.float32]) -> None:
    for k in range(DIM):
        hidden[k] += row[k]


@njit(cache=True, nogil=True)
def _add_word(
    word: NDArray[np.uint8], size: int, model: Arrays, shortest: int, longest: int, hidden: NDArray[np.float32]
) -> int:
    """Add the vectors of a word, which stands between < and >, and of its n-grams; returns how many there were."""
    count = 0
    value = np.uint64(0xCBF29CE484222325)
    for k in range(1, size - 1):
        value = (value ^ np.uint64(word[k])) * np.uint64(0x100000001B3)
    at = np.searchsorted(model.words, value)
    if at < len(model.words) and model.words[at] == value:
        _add(hidden, model.rows[model.word_rows[at]])
        count = 1
    buckets = np.uint32(len(model.grams))
    for begin in range(size):
        if word[begin] & 0xC0 == 0x80:
            continue
        end, gram = begin, np.uint32(2166136261)
        for n in range(1, longest + 1):
            if end >= size:
                break
            gram = _mixed(gram, word[end])
            end += 1
            while end < size and word[end] & 0xC0 == 0x80:
                gram = _mixed(gram, word[end])
                end += 1
            if n >= shortest and not (n == 1 and (begin == 0 or end == size)):
                # By a constant, which the compiler turns into a multiplication; and most n-grams were pruned, which a
                # table that fits the processor's cache tells.
                bucket = gram % np.uint32(_BUCKETS) if buckets == _BUCKETS else gram % buckets
                if model.kept[bucket >> 3] >> (bucket & 7) & 1:
                    _add(hidden, model.rows[model.grams[bucket]])
                    count += 1
    return count


@njit(cache=True, nogil=True)
def _mixed(gram: np.uint32, byte: int) -> np.uint32:
    """FNV-1a of fastText, which takes bytes as signed."""
    signed = np.uint32(byte) if byte < 0x80 else np.uint32(byte) | np.uint32(0xFFFFFF00)
    return np.uint32((gram ^ signed) * np.uint32(16777619))


@njit(cache=True, nogil=True)
def _best_label(hidden: NDArray[np.float32], model: Arrays) -> tuple[int, float]:
    """The most probable leaf of the label tree, left branches first, and its probability."""
    leaves = len(model.left) + 1
    nodes, scores = np.empty(_TOO_DEEP * 4, np.int64), np.empty(_TOO_DEEP * 4)
    nodes[0], scores[0], waiting = 2 * leaves - 2, 0.0, 1
    best, score = -1, -np.inf
    while waiting:
        waiting -= 1
        node, reached = nodes[waiting], scores[waiting]
        if reached < score:
            continue
        if node < leaves:
            if best < 0 or reached > score:
                best, score = node, reached
            continue
        inner = node - leaves
        dot = np.float32(0)
        for k in range(DIM):
            dot += hidden[k] * model.tree[inner, k]
        right = 1.0 / (1.0 + np.exp(-dot))
        nodes[waiting], scores[waiting] = model.right[inner], reached + np.log(right + 1e-5)
        nodes[waiting + 1], scores[waiting + 1] = model.left[inner], reached + np.log(1.0 - right + 1e-5)
        waiting += 2
    return best, np.exp(score)
