"""fastText's classifier of two classes, read and applied by ourselves: its library's answers, on all processors.

With two classes a softmax over output vectors is a logistic function of their difference. So every word and word
n-gram has one number, its input vector times that difference, and a text's logit is the mean of its numbers.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.lid.model import MAGIC, SUPERVISED, VERSION, Reader, floats, word_hash
from pipeline.quality.line import Lines

GOOD, BAD = "__label__good", "__label__bad"

_SOFTMAX = 3
_END = "</s>"


class Numbers(NamedTuple):
    """What the compiled loop reads.

    Attributes:
        words: sorted 64-bit hashes of the words; at the same place in `of_words` their numbers.
        of_grams: number of each n-gram bucket.
    """

    words: NDArray[np.uint64]
    of_words: NDArray[np.float64]
    of_grams: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Classifier:
    """A model ready to apply.

    Attributes:
        longest: words of its longest n-grams.
        end: number of the word that stands for the end of a line.
    """

    numbers: Numbers
    longest: int
    end: float

    def logits(self, lines: Lines) -> NDArray[np.float64]:
        """Of each line: the logarithm of the odds that it is good, as the model was trained."""
        found = np.zeros(len(lines))
        size = int(np.diff(lines.offsets).max(initial=0))
        _apply(lines.text, lines.offsets, self.numbers, self.longest, self.end, size, found)
        return found


def read_classifier(path: Path) -> Classifier:
    """Read the file that fastText wrote.

    Raises:
        ValueError: it is no such model: not supervised, quantised, with character n-grams, or of other classes.
    """
    try:
        return _read(Reader(path.read_bytes()))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"it ends too early or is damaged: {error}") from error


def _read(file: Reader) -> Classifier:
    magic, version = file.take("2i")
    _, _, _, _, _, longest, loss, kind, bucket, _, longest_part, _ = file.take("12i")
    file.take("d")
    if (magic, version, loss, kind, longest_part) != (MAGIC, VERSION, _SOFTMAX, SUPERVISED, 0):
        raise ValueError("it is no supervised fastText model of whole words with a softmax")
    size, word_count, label_count = file.take("3i")
    file.take("2q")
    names = []
    for _ in range(size):
        names.append(file.text())
        file.take("qb")
    labels = names[word_count : word_count + label_count]
    if sorted(labels) != sorted((GOOD, BAD)) or file.take("?")[0]:
        raise ValueError("its classes are not good and bad, or it is quantised")
    rows = floats(file)
    if file.take("?")[0]:
        raise ValueError("its output is quantised")
    output = floats(file)
    if rows.shape != (word_count + bucket, output.shape[1]) or len(output) != 2:
        raise ValueError("its matrices do not fit its dictionary")
    difference = output[labels.index(GOOD)].astype(np.float64) - output[labels.index(BAD)]
    numbers = rows.astype(np.float64) @ difference
    hashes = np.array([word_hash(name.encode()) for name in names[:word_count]], np.uint64)
    order = np.argsort(hashes)
    end = float(numbers[names.index(_END, 0, word_count)])
    return Classifier(Numbers(hashes[order], numbers[:word_count][order], numbers[word_count:]), longest, end)


@njit(cache=True, nogil=True)
def _apply(
    text: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    numbers: Numbers,
    longest: int,
    end: float,
    room: int,
    found: NDArray[np.float64],
) -> None:
    """Fill the mean number of each line; words and n-grams as fastText's Dictionary::getLine takes them."""
    hashes = np.empty(room + 2, np.int32)
    for i in range(len(offsets) - 1):
        total, count, words = 0.0, 0, 0
        at = offsets[i]
        while at < offsets[i + 1]:
            short, value = np.uint32(2166136261), np.uint64(0xCBF29CE484222325)
            while at < offsets[i + 1] and text[at] != 32:
                byte = text[at]
                signed = np.uint32(byte) if byte < 0x80 else np.uint32(byte) | np.uint32(0xFFFFFF00)
                short = np.uint32((short ^ signed) * np.uint32(16777619))
                value = (value ^ np.uint64(byte)) * np.uint64(0x100000001B3)
                at += 1
            at += 1
            hashes[words] = np.int32(short)
            words += 1
            place = np.searchsorted(numbers.words, value)
            if place < len(numbers.words) and numbers.words[place] == value:
                total += numbers.of_words[place]
                count += 1
        hashes[words] = np.int32(_END_HASH)
        words += 1
        total += end
        count += 1
        grams, grams_count = _of_grams(hashes, words, numbers.of_grams, longest)
        found[i] = (total + grams) / (count + grams_count)


@njit(cache=True, nogil=True)
def _of_grams(hashes: NDArray[np.int32], words: int, of_grams: NDArray[np.float64], longest: int) -> tuple[float, int]:
    """Sum of the numbers of the runs of 2 to `longest` words, and how many there are."""
    total, count = 0.0, 0
    if len(of_grams) == 0:
        return total, count
    buckets = np.uint64(len(of_grams))
    for i in range(words):
        value = np.uint64(np.int64(hashes[i]))
        for j in range(i + 1, min(words, i + longest)):
            value = value * np.uint64(116049371) + np.uint64(np.int64(hashes[j]))
            total += of_grams[np.int64(value % buckets)]
            count += 1
    return total, count


def _short_hash(word: bytes) -> int:
    """fastText's 32-bit FNV-1a of ASCII, as the signed number it becomes."""
    value = 2166136261
    for byte in word:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


_END_HASH = _short_hash(_END.encode())
