"""Texts of records against the index: which benchmark texts are found in which, how much of them, and where."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.contamination.grams import (
    ANSWER_TOKENS,
    GAPPED,
    GAPS,
    GRAM,
    LEAST,
    keys,
    sip_begin,
    tokens_of,
    whole_hash,
    window_grams,
)
from pipeline.contamination.index import Index, Table, find
from pipeline.contamination.texts import Texts
from pipeline.similar.shingles import Shingles
from pipeline.similar.threads import spread

SHORT = 16
"""A question of fewer tokens that is found with an edit in it must be all, or nearly all, that a message or an input
says: "make a list of the most popular" begins many tasks."""

CHARACTERS = 1.6
"""Characters of Chinese that say as much as a word of English: 8 words are 12 characters, 13 are 20."""

_PART_TEXTS = 4_096
_RUN = (1 << GRAM) - 1
"""What a run covers, as bits from its first token on."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a benchmark's text counts as found in a record's; of answers ANSWER_TOKENS is asked more.

    Attributes:
        threshold: share of its tokens that must be found close together; a few may always be missing (`_is_found`).
        run: so many tokens of it in a row are enough.
        short: a question of fewer tokens must be the whole of a message or an input.
    """

    threshold: float
    run: int
    short: int


@dataclass(frozen=True, slots=True)
class Found:
    """Benchmark texts found in texts of records, by the text of the record.

    Attributes:
        texts: the number of the record's text.
        known: the number of the benchmark's text.
        count: how many of its tokens that count were found close together.
        run: how many of them in a row.
        begin, end: the first token of the record's text that was found, and the one after the last.
    """

    texts: NDArray[np.int64]
    known: NDArray[np.int64]
    count: NDArray[np.int64]
    run: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]

    def taken(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Found":
        """Some of them."""
        return Found(*(getattr(self, name)[rows] for name in self.__slots__))


def find_all(texts: Texts, index: Index, rule: Rule) -> Found:
    """What of the index is found in the texts, by the rule; on all processors."""
    gapped = bool((index.tokens < GAPPED).any())

    def part(begin: int) -> Found:
        some = slice(begin, begin + _PART_TEXTS)
        found = _near(tokens_of(texts.text[some]), texts.parts[some], index, rule, gapped)
        return Found(found.texts + begin, *(getattr(found, name) for name in Found.__slots__[1:]))

    parts = spread(part, range(0, len(texts), _PART_TEXTS))
    if not parts:
        return Found(*(np.empty(0, np.int64) for _ in Found.__slots__))
    return Found(*(np.concatenate([getattr(p, name) for p in parts]) for name in Found.__slots__))


def _near(tokens: Shingles, parts: NDArray[np.bool_], index: Index, rule: Rule, gapped: bool) -> Found:
    texts, at, known, covers, straight = _postings_met(tokens.values, tokens.starts, index.table, keys(), gapped)
    order = np.lexsort((-(covers // 64), at, known, texts))
    met = [column[order] for column in (texts, at, known, covers, straight)]
    measured = Found(*_measured(*met, index.starts, index.weights, index.tokens))
    kept = measured.taken(_is_found(measured, tokens.counts, parts, index, rule))
    equal = _equal(tokens, index)
    joined = Found(*(np.concatenate([getattr(kept, n), getattr(equal, n)]) for n in Found.__slots__))
    return joined.taken(np.argsort(joined.texts, kind="stable"))


def _is_found(
    measured: Found, sizes: NDArray[np.int64], parts: NDArray[np.bool_], index: Index, rule: Rule
) -> NDArray[np.bool_]:
    """Whether enough of each benchmark text is there.

    Of a question's n tokens (1 - threshold) * (n - short) may be missing, but always one; shorter ones must be
    there to the last token, or with an edit be all that is said. `sizes` are the tokens of the records' texts.
    """
    known = measured.known
    answers, total = index.answers[known], index.totals[known]
    scale = np.where(index.characters[known], CHARACTERS, 1.0)
    least = np.where(answers, ANSWER_TOKENS, rule.short * scale).astype(np.int64)
    run = np.where(answers, max(rule.run, ANSWER_TOKENS), rule.run * scale).astype(np.int64)
    free = np.where(answers, ANSWER_TOKENS, rule.short)
    spared = np.floor((1 - rule.threshold) * (total - free) + 1e-9)
    spared = np.maximum(spared, 1 if rule.threshold < 1 else 0)
    missing = total - measured.count
    alone = sizes[measured.texts] <= total + 1 + total // 8
    verbatim = (missing == 0) & (total >= np.where(answers, ANSWER_TOKENS, rule.short))
    edited = (missing <= spared) & (total >= least) & (alone | (total >= SHORT))
    found: NDArray[np.bool_] = verbatim | edited | (measured.run >= run)
    return found & (~parts[measured.texts] | (total < SHORT))


def _equal(tokens: Shingles, index: Index) -> Found:
    """Texts that are as a whole a question too short for the other rules."""
    hashes, known = index.whole
    longest = index.tokens[known].max(initial=0)
    rows = np.flatnonzero((tokens.counts >= LEAST) & (tokens.counts <= longest))
    whole = np.empty(len(rows), np.uint64)
    _whole_hashes(tokens.values, tokens.starts, rows, keys(), whole)
    first, last = np.searchsorted(hashes, whole, "left"), np.searchsorted(hashes, whole, "right")
    counts = last - first
    texts = np.repeat(rows, counts)
    at = np.repeat(first, counts) + np.arange(len(texts)) - np.repeat(np.cumsum(counts) - counts, counts)
    size = tokens.counts[texts]
    return Found(texts, known[at], size, size, np.zeros(len(texts), np.int64), size)


@njit(cache=True, nogil=True)
def _whole_hashes(
    tokens: NDArray[np.uint64],
    starts: NDArray[np.int64],
    rows: NDArray[np.int64],
    key: tuple[np.uint64, np.uint64],
    out: NDArray[np.uint64],
) -> None:
    for k, row in enumerate(rows):
        out[k] = whole_hash(tokens, starts[row], starts[row + 1], key)


@njit(cache=True, nogil=True)
def _grown(array: NDArray[np.int64]) -> NDArray[np.int64]:
    larger = np.empty((array.shape[0], 2 * array.shape[1]), np.int64)
    larger[:, : array.shape[1]] = array
    return larger


@njit(cache=True, nogil=True)
def _postings_met(
    tokens: NDArray[np.uint64],
    starts: NDArray[np.int64],
    table: Table,
    key: tuple[np.uint64, np.uint64],
    gapped: bool,
) -> NDArray[np.int64]:
    """Five rows: the record's text, the token at which a hash begins, and of each of the hash's postings the
    benchmark's text, what it covers, and whether both sides are unbroken runs."""
    found = np.empty((5, 1024), np.int64)
    count = 0
    start = sip_begin(key[0], key[1])
    out = np.empty(1 + GAPS, np.uint64)
    for i in range(len(starts) - 1):
        begin, end = starts[i], starts[i + 1]
        for at in range(begin, end - GRAM + 1):
            for k in range(window_grams(tokens, at, end, start, gapped, out)):
                place = find(table, out[k])
                if place < 0:
                    continue
                for posting in range(table.first[place], table.first[place] + table.size[place]):
                    if count == found.shape[1]:
                        found = _grown(found)
                    covers = table.covers[posting]
                    found[0, count] = i
                    found[1, count] = at - begin
                    found[2, count] = table.texts[posting]
                    found[3, count] = covers
                    found[4, count] = 1 if k == 0 and covers % 64 == _RUN else 0
                    count += 1
    return found[:, :count]


@njit(cache=True, nogil=True)
def _add(covers: np.int64, by: int, base: np.int64, weights: NDArray[np.uint8], held: NDArray[np.int32]) -> np.int64:
    """Count a posting in (1) or out (-1); by how many tokens the number of those covered changes."""
    at = covers // 64
    change = np.int64(0)
    for bit in range(GRAM + 1):
        if covers >> bit & 1 and weights[base + at + bit]:
            before = held[at + bit]
            held[at + bit] = before + by
            if before == 0 or before + by == 0:
                change += by
    return change


@njit(cache=True, nogil=True)
def _measured(
    texts: NDArray[np.int64],
    at: NDArray[np.int64],
    known: NDArray[np.int64],
    covers: NDArray[np.int64],
    straight: NDArray[np.int64],
    starts: NDArray[np.int64],
    weights: NDArray[np.uint8],
    sizes: NDArray[np.int64],
) -> tuple[
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
]:
    """The measures of each pair of texts that share a hash; the postings are sorted by pair, then by token."""
    pairs = 0
    for k in range(len(texts)):
        pairs += k == 0 or texts[k] != texts[k - 1] or known[k] != known[k - 1]
    out_texts, out_known = np.empty(pairs, np.int64), np.empty(pairs, np.int64)
    counts, run = np.empty(pairs, np.int64), np.empty(pairs, np.int64)
    begin, end = np.empty(pairs, np.int64), np.empty(pairs, np.int64)
    longest = sizes.max() if len(sizes) else 0
    held = np.zeros(longest + 1, np.int32)
    last_at, last_run = np.full(longest + 1, -2, np.int64), np.zeros(longest + 1, np.int64)
    first = 0
    for p in range(pairs):
        last = first + 1
        while last < len(texts) and texts[last] == texts[first] and known[last] == known[first]:
            last += 1
        text = known[first]
        base, width = starts[text], sizes[text] + sizes[text] // 2 + GRAM
        covered = best = best_run = np.int64(0)
        best_begin, best_end = at[first], at[first] + GRAM
        left = first
        for right in range(first, last):
            covered += _add(covers[right], 1, base, weights, held)
            while at[right] - at[left] > width - GRAM:
                covered += _add(covers[left], -1, base, weights, held)
                left += 1
            if covered > best:
                best, best_begin, best_end = covered, at[left], at[right] + GRAM
            if straight[right]:
                place = covers[right] // 64
                run_here = np.int64(1)
                if place > 0 and last_at[place - 1] == at[right] - 1:
                    run_here = last_run[place - 1] + 1
                last_at[place], last_run[place] = at[right], run_here
                best_run = max(best_run, run_here + GRAM - 1)
        for k in range(first, last):
            if k >= left:
                _add(covers[k], -1, base, weights, held)
            last_at[covers[k] // 64] = -2
        out_texts[p], out_known[p] = texts[first], text
        counts[p] = best
        run[p], begin[p], end[p] = best_run, best_begin, best_end
        first = last
    return out_texts, out_known, counts, run, begin, end
