"""The hashes of all benchmarks in one table: from a hash to the texts that have it, and where."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.contamination.benchmark import Benchmark
from pipeline.contamination.grams import ANSWER_TOKENS, GRAM, LEAST, is_gapped, places

Parts = Literal["both", "question", "answer"]

TEMPLATE_ITEMS = 20
"""A hash that more items of one file have than this is a template's and says nothing of an item: it is not looked for,
and tokens that only such hashes cover do not count."""

REPEATS = 4
"""How often a text is looked up for one hash; what repeats itself more often says nothing more."""

_U = np.uint64


class Table(NamedTuple):
    """Arrays for compiled loops.

    Attributes:
        bits: a bit of each hash, 16 bits of room a hash: most that are not there are turned away by it.
        slots, first, size: an open hash table, 0 being an empty place; where a hash's postings begin and how many.
        texts, covers: postings: the text, and which of its tokens are covered, as the first one's number times 64 and
            a bit for each from there on.
    """

    bits: NDArray[np.uint64]
    slots: NDArray[np.uint64]
    first: NDArray[np.int64]
    size: NDArray[np.int64]
    texts: NDArray[np.int64]
    covers: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Index:
    """What records are compared with.

    Attributes:
        bench, item: of each text its benchmark and the item's number there.
        answers: of each text whether it is an answer.
        tokens: of each text how many it has.
        characters: of each text whether most of them are single characters.
        weights: of all texts, one behind the other, whether each token counts.
        starts: those of text i are weights[starts[i] : starts[i + 1]].
        totals: of each text how many tokens count.
        whole: the questions too short for their hashes to say enough, by the hash of the whole: (hashes, texts).
    """

    benchmarks: tuple[Benchmark, ...]
    bench: NDArray[np.int64]
    item: NDArray[np.int64]
    answers: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    characters: NDArray[np.bool_]
    weights: NDArray[np.uint8]
    starts: NDArray[np.int64]
    totals: NDArray[np.int64]
    table: Table
    whole: tuple[NDArray[np.uint64], NDArray[np.int64]]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        arrays = (*self.table, *self.whole, self.weights, self.starts, self.totals, self.bench, self.item, self.tokens)
        return sum(array.nbytes for array in arrays)


def build_index(benchmarks: Sequence[Benchmark], parts: Parts, short: int) -> Index:
    """The index of these benchmarks.

    Args:
        parts: whether their questions are looked for, their answers, or both.
        short: questions of fewer tokens are known by the hash of the whole.
    """
    chosen = [np.flatnonzero(_wanted(b, parts)) for b in benchmarks]
    bench = np.repeat(np.arange(len(benchmarks)), [len(rows) for rows in chosen])

    def of(values: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
        return np.concatenate([v[rows] for v, rows in zip(values, chosen, strict=True)])

    tokens = of([b.tokens for b in benchmarks]).astype(np.int64)
    item = of([b.items for b in benchmarks]).astype(np.int64)
    answers = of([b.answers for b in benchmarks]).astype(np.bool_)
    whole = of([b.whole for b in benchmarks]).astype(np.uint64)
    hashes, texts, covers = _postings(benchmarks, chosen, tokens)
    keep = (hashes != 0) & ~_is_template(hashes, texts, np.stack([bench, _file_of(benchmarks, chosen), item])[:, texts])
    keep &= _nth(hashes, texts) < REPEATS
    keep &= tokens[texts] >= np.where(answers, ANSWER_TOKENS, short)[texts]
    hashes, texts, covers = hashes[keep], texts[keep], covers[keep]
    starts = np.concatenate(([0], np.cumsum(tokens)))
    weights = np.zeros(starts[-1], np.uint8)
    _mark(texts, covers, starts, weights)
    totals = np.add.reduceat(np.append(weights, 0).astype(np.int64), starts[:-1]) if len(tokens) else tokens
    totals = np.where(tokens > 0, totals, 0)
    little = np.flatnonzero((totals < short) & (tokens >= LEAST) & ~answers)
    order = little[np.argsort(whole[little], kind="stable")]
    return Index(
        benchmarks=tuple(benchmarks),
        bench=bench,
        item=item,
        answers=answers,
        tokens=tokens,
        characters=of([b.characters for b in benchmarks]).astype(np.bool_),
        weights=weights,
        starts=starts,
        totals=totals,
        table=_table(hashes, texts, covers),
        whole=(whole[order], order),
    )


def _wanted(benchmark: Benchmark, parts: Parts) -> NDArray[np.bool_]:
    every = np.ones(len(benchmark.items), np.bool_)
    return every if parts == "both" else benchmark.answers if parts == "answer" else ~benchmark.answers


def _file_of(benchmarks: Sequence[Benchmark], chosen: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    found = [b.files[b.items[rows]] for b, rows in zip(benchmarks, chosen, strict=True)]
    return np.concatenate(found).astype(np.int64)


def _postings(
    benchmarks: Sequence[Benchmark], chosen: Sequence[NDArray[np.int64]], tokens: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Every hash of every text, with the text and the tokens it covers."""
    hashes = np.concatenate([b.grams.taken(rows).values for b, rows in zip(benchmarks, chosen, strict=True)])
    kinds = {int(n): _covers(int(n)) for n in np.unique(tokens)}
    covers = [kinds[int(n)] for n in tokens]
    texts = np.repeat(np.arange(len(tokens)), [len(c) for c in covers])
    return hashes, texts, np.concatenate(covers) if covers else np.empty(0, np.int64)


def _covers(tokens: int) -> NDArray[np.int64]:
    at = places(tokens, is_gapped(tokens))
    if not len(at):
        return np.empty(0, np.int64)
    bits: NDArray[np.int64] = (1 << (at - at[:, :1])).sum(axis=1)
    return at[:, 0] * 64 + bits


def _nth(hashes: NDArray[np.uint64], texts: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each posting, how many of its text have the same hash before it."""
    order = np.lexsort((texts, hashes))
    new = np.ones(len(order), np.bool_)
    new[1:] = (hashes[order][1:] != hashes[order][:-1]) | (texts[order][1:] != texts[order][:-1])
    begins = np.flatnonzero(new)
    nth = np.empty(len(order), np.int64)
    nth[order] = np.arange(len(order)) - np.repeat(begins, np.diff([*begins, len(order)]))
    return nth


def _is_template(hashes: NDArray[np.uint64], texts: NDArray[np.int64], origin: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each posting, whether more than TEMPLATE_ITEMS items of its file have its hash."""
    bench, file, item = origin
    order = np.lexsort((item, file, bench, hashes))
    h, b, f, i = hashes[order], bench[order], file[order], item[order]
    new_group = np.ones(len(h), np.bool_)
    new_group[1:] = (h[1:] != h[:-1]) | (b[1:] != b[:-1]) | (f[1:] != f[:-1])
    new_item = new_group.copy()
    new_item[1:] |= i[1:] != i[:-1]
    group = np.cumsum(new_group) - 1
    held = np.bincount(group, weights=new_item) if len(group) else np.empty(0)
    found = np.empty(len(h), np.bool_)
    found[order] = held[group] > TEMPLATE_ITEMS if len(group) else False
    return found


@njit(cache=True, nogil=True)
def _mark(
    texts: NDArray[np.int64], covers: NDArray[np.int64], starts: NDArray[np.int64], weights: NDArray[np.uint8]
) -> None:
    for k in range(len(texts)):
        at = starts[texts[k]] + covers[k] // 64
        for bit in range(GRAM + 1):
            if covers[k] >> bit & 1:
                weights[at + bit] = 1


def _table(hashes: NDArray[np.uint64], texts: NDArray[np.int64], covers: NDArray[np.int64]) -> Table:
    order = np.lexsort((covers, texts, hashes))
    hashes, texts, covers = hashes[order], texts[order], covers[order]
    distinct, first, size = np.unique(hashes, return_index=True, return_counts=True)
    room = 1 << max(6, int(2 * len(distinct)).bit_length())
    bits = np.zeros(room * 8 // 64, _U)
    slots, firsts, sizes = np.zeros(room, _U), np.zeros(room, np.int64), np.zeros(room, np.int64)
    _fill(distinct, first.astype(np.int64), size.astype(np.int64), bits, slots, firsts, sizes)
    return Table(bits, slots, firsts, sizes, texts, covers)


@njit(cache=True, nogil=True)
def _fill(
    hashes: NDArray[np.uint64],
    first: NDArray[np.int64],
    size: NDArray[np.int64],
    bits: NDArray[np.uint64],
    slots: NDArray[np.uint64],
    firsts: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> None:
    room = _U(len(slots) - 1)
    for k in range(len(hashes)):
        bit = hashes[k] >> _U(32) & _U(64 * len(bits) - 1)
        bits[bit >> _U(6)] |= _U(1) << (bit & _U(63))
        place = hashes[k] & room
        while slots[place] != 0:
            place = (place + _U(1)) & room
        slots[place] = hashes[k]
        firsts[place] = first[k]
        sizes[place] = size[k]


@njit(cache=True, nogil=True)
def find(table: Table, value: np.uint64) -> np.int64:
    """The place of a hash in the table, or -1."""
    bit = value >> _U(32) & _U(64 * len(table.bits) - 1)
    if not table.bits[bit >> _U(6)] >> (bit & _U(63)) & _U(1):
        return np.int64(-1)
    room = _U(len(table.slots) - 1)
    place = value & room
    while table.slots[place] != 0:
        if table.slots[place] == value:
            return np.int64(place)
        place = (place + _U(1)) & room
    return np.int64(-1)
