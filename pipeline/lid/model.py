"""A quantised fastText classifier with a hierarchical softmax, as its file holds it (fastText's model format 12)."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC, VERSION = 793712314, 12
_HIERARCHICAL, SUPERVISED = 1, 3
_CENTROIDS = 256
DIM = 16
"""Length of the vectors: lid.176's, and a constant so that the compiler can unroll the loops over them."""
_LABEL = "__label__"


class Arrays(NamedTuple):
    """What the compiled loop reads.

    Attributes:
        rows: input vectors, of the words and then of the character n-grams that were kept.
        words: sorted 64-bit hashes of the words, and at the same place in `word_rows` their rows.
        grams: n-gram bucket -> row, -1 where it was pruned.
        kept: a bit for each bucket, lowest first: whether it was not.
        tree: output vectors of the inner nodes of the label tree.
        left: left child of each inner node; its right child is in `right`; labels are 0 to len(labels) - 1.
    """

    rows: NDArray[np.float32]
    words: NDArray[np.uint64]
    word_rows: NDArray[np.int32]
    grams: NDArray[np.int32]
    kept: NDArray[np.uint8]
    tree: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model ready to predict.

    Attributes:
        labels: the languages, in the model's order.
        shortest: characters of its shortest n-grams; the longest in `longest`.
        end_row: row of the word that stands for the end of a line, -1 when it has none.
    """

    labels: tuple[str, ...]
    shortest: int
    longest: int
    end_row: int
    arrays: Arrays


class Reader:
    """Little-endian values of a file, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> tuple[int, ...]:
        """Values of a form of `struct`."""
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def text(self) -> str:
        """A text that a zero byte ends."""
        end = self.data.index(b"\0", self.at)
        found, self.at = self.data[self.at : end].decode("utf-8"), end + 1
        return found

    def array(self, kind: type[np.generic], count: int) -> NDArray[np.generic]:
        """So many numbers of one kind."""
        found = np.frombuffer(self.data, kind, count, self.at)
        self.at += found.nbytes
        return found


def read_model(path: Path) -> LanguageModel:
    """Read the file.

    Raises:
        ValueError: it is not such a model.
    """
    file = Reader(path.read_bytes())
    magic, version = file.take("2i")
    dim, _, _, _, _, _, loss, kind, bucket, shortest, longest, _ = file.take("12i")
    file.take("d")
    if (magic, version, dim) != (MAGIC, VERSION, DIM) or (loss, kind) != (_HIERARCHICAL, SUPERVISED):
        raise ValueError(f"{path} is no fastText classifier of format {VERSION} like lid.176")
    size, word_count, label_count = file.take("3i")
    _, pruned = file.take("2q")
    names, counts = [], []
    for _ in range(size):
        names.append(file.text())
        counts.append(file.take("qb")[0])
    index = file.array(np.int32, 2 * max(0, pruned)).reshape(-1, 2)
    rows = _matrix(file, dim)
    tree = _plain(file)
    grams = np.full(bucket, -1, np.int32)
    grams[index[:, 0]] = index[:, 1] + word_count
    hashes = np.array([word_hash(name.encode()) for name in names[:word_count]], np.uint64)
    order = np.argsort(hashes)
    left, right = _tree(counts[word_count:])
    end = names.index("</s>") if "</s>" in names[:word_count] else -1
    bits = np.packbits(grams >= 0, bitorder="little")
    arrays = Arrays(rows, hashes[order], order.astype(np.int32), grams, bits, tree, left, right)
    labels = tuple(name.removeprefix(_LABEL) for name in names[word_count : word_count + label_count])
    return LanguageModel(labels, shortest, longest, end, arrays)


def word_hash(word: bytes) -> int:
    """64-bit FNV-1a, ours: the words of a model are few, so no two share one."""
    value = 0xCBF29CE484222325
    for byte in word:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def _matrix(file: Reader, dim: int) -> NDArray[np.float32]:
    """The input matrix, its product quantisation undone."""
    (quantised,) = file.take("?")
    if not quantised:
        return floats(file)
    (with_norms,) = file.take("?")
    count, width = file.take("2q")
    (size,) = file.take("i")
    codes = file.array(np.uint8, size).reshape(count, -1)
    centroids, sub = _centroids(file)
    found = np.empty((count, codes.shape[1] * sub), np.float32)
    for part in range(codes.shape[1]):
        found[:, part * sub : (part + 1) * sub] = centroids[part][codes[:, part]]
    if with_norms:
        norm_codes = file.array(np.uint8, count)
        norms, _ = _centroids(file)
        found *= norms[0][norm_codes]
    if width != dim or found.shape[1] != dim:
        raise ValueError("the last part of the quantised vectors is shorter than the others: not supported")
    return found


def _centroids(file: Reader) -> tuple[list[NDArray[np.float32]], int]:
    dim, parts, sub, _ = file.take("4i")
    values = file.array(np.float32, dim * _CENTROIDS).reshape(parts, _CENTROIDS, sub)
    return [np.array(part, np.float32) for part in values], sub


def _plain(file: Reader) -> NDArray[np.float32]:
    (quantised,) = file.take("?")
    if quantised:
        raise ValueError("quantised output vectors are not supported")
    return floats(file)


def floats(file: Reader) -> NDArray[np.float32]:
    """A matrix that is not quantised."""
    count, width = file.take("2q")
    return np.array(file.array(np.float32, count * width).reshape(count, width), np.float32)


def _tree(counts: list[int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The Huffman tree over labels in falling order of counts: the children of each inner node, the root last."""
    leaves = len(counts)
    weight = [*counts, *[10**15] * (leaves - 1)]
    left, right = np.empty(leaves - 1, np.int32), np.empty(leaves - 1, np.int32)
    leaf, node = leaves - 1, leaves
    for made in range(leaves, 2 * leaves - 1):
        pair = []
        for _ in range(2):
            if leaf >= 0 and weight[leaf] < weight[node]:
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(node)
                node += 1
        weight[made] = weight[pair[0]] + weight[pair[1]]
        left[made - leaves], right[made - leaves] = pair
    return left, right
