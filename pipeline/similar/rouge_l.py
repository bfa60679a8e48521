"""Compiled loops of the novelty gate: a prefix-filter index that finds candidates, bit-parallel LCS that decides.

Two texts of m and n tokens can exceed a ROUGE-L F1 of t only if they share more than t(m + n)/2 tokens. Sort the tokens
of both by one global order; then texts that share so many must share a token among the first few of each (prefix
filtering: Chaudhuri, Ganti and Kaushik, ICDE 2006; length and position bounds: PPJoin, Xiao et al., WWW 2008; parity
bits: the bitmap filter of Sandes, Teodoro and Melo, 2017). A text is indexed under its prefix only, rarest tokens
first, so few postings are walked. What remains is decided by the length of the longest common subsequence, 64 cells of
the table in one machine word (Hyyrö, 2004).

Numba's disk cache notices changes of a function's own file only: what these loops call stands in this file.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Numbers = NDArray[np.int32]
Bits = NDArray[np.uint64]

SLACK = 1e-9
"""Candidate bounds are loosened by this much, so that rounding never hides a pair; deciding uses no slack."""

POOLED, POSTINGS, QUERIES = 0, 1, 2
"""Places in Index.counts."""


class Index(NamedTuple):
    """The pool and its inverted index; arrays may be longer than what is in use.

    A token is a number, and the numbers are the global order: the higher, the rarer.

    Attributes:
        tokens: the pooled texts' tokens, one text after the other.
        starts: text i is tokens[starts[i] : starts[i + 1]].
        heads: per token, its latest posting, or -1.
        texts: per posting, the text that has the token in its prefix.
        positions: per posting, how many of that text's tokens are rarer.
        earlier: per posting, the token's posting before it, or -1.
        parities: per text, 64 bits that say whether the tokens falling to each bit are odd in number.
        met: per text, the last query that met it as a candidate.
        rows: per token, scratch for its row of a query's bit table; all zero between queries.
        counts: texts in the pool, postings, queries so far.
    """

    tokens: Numbers
    starts: NDArray[np.int64]
    heads: NDArray[np.int64]
    texts: Numbers
    positions: Numbers
    earlier: NDArray[np.int64]
    parities: Bits
    met: NDArray[np.int64]
    rows: Numbers
    counts: NDArray[np.int64]


@njit(cache=True, nogil=True)
def f1(lcs: int, m: int, n: int) -> float:
    """ROUGE-L F1 in the very floating-point steps of rouge-score, so that a value at the border falls alike."""
    precision = lcs / n
    recall = lcs / m
    if precision + recall > 0:
        return 2 * precision * recall / (precision + recall)
    return 0.0


@njit(cache=True, nogil=True)
def _popcount(x: np.uint64) -> np.int64:
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def _parity(text: Numbers) -> np.uint64:
    """64 parity bits of a bag of tokens. Two bags differ in at least as many tokens as their parities in bits."""
    bits = np.uint64(0)
    for token in text:
        bits ^= np.uint64(1) << ((np.uint64(token) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(58))
    return bits


@njit(cache=True, nogil=True)
def _bit_table(query: Numbers, rows: Numbers) -> Bits:
    """One row of bits per distinct token of the query, set where the token stands; `rows` says which row, from 1."""
    distinct = 0
    for token in query:
        if token >= 0 and rows[token] == 0:
            distinct += 1
            rows[token] = distinct
    table = np.zeros((distinct + 1, (len(query) + 63) // 64), np.uint64)
    for place, token in enumerate(query):
        if token >= 0:
            table[rows[token], place >> 6] |= np.uint64(1) << np.uint64(place & 63)
    return table


@njit(cache=True, nogil=True)
def _step(states: Bits, row: Bits) -> None:
    """One token's update of a state of several words, carrying from each to the next."""
    carry = np.uint64(0)
    for w in range(len(states)):
        old = states[w]
        hit = old & row[w]
        total = old + hit
        over = total < old
        total += carry
        carry = np.uint64(1) if over or total < carry else np.uint64(0)
        states[w] = total | (old - hit)


@njit(cache=True, nogil=True)
def _lcs(table: Bits, rows: Numbers, other: Numbers) -> int:
    """Length of the longest common subsequence of the query behind `table` and another text.

    A zero bit in the state marks a column of the dynamic-programming table where the length rises by one.
    """
    words = table.shape[1]
    states = np.full(words, ~np.uint64(0))
    if words == 1:  # the common case, kept in a register
        state = states[0]
        for token in other:
            row = rows[token]
            if row > 0:
                hit = state & table[row, 0]
                state = (state + hit) | (state - hit)
        states[0] = state
    else:
        for token in other:
            row = rows[token]
            if row > 0:
                _step(states, table[row])
    length = 0
    for state in states:
        length += _popcount(~state)
    return length


@njit(cache=True, nogil=True)
def _prefix(length: int, threshold: float) -> int:
    """How many of a text's rarest tokens must be looked at.

    Its LCS with any text is at most the other's length, so F1 > t needs an LCS above t * length / (2 - t).
    """
    least = int(np.ceil((threshold - SLACK) * length / (2 - threshold + SLACK)))
    return length - max(least, 1) + 1


@njit(cache=True, nogil=True)
def _closest_above(index: Index, query: Numbers, rare_first: Numbers, threshold: float) -> tuple[int, float]:
    """The pooled text with the highest F1 above the threshold (the earliest of equals) and that F1; (-1, 0) if none."""
    index.counts[QUERIES] += 1
    stamp = index.counts[QUERIES]
    m = len(query)
    table = np.zeros((0, 0), np.uint64)
    parity = _parity(query)
    best, similarity = -1, 0.0
    for k in range(_prefix(m, threshold)):
        posting = index.heads[rare_first[k]]
        while posting >= 0:
            text = index.texts[posting]
            if index.met[text] != stamp:
                index.met[text] = stamp
                start, end = index.starts[text], index.starts[text + 1]
                n = end - start
                # This is their rarest shared token, so all shared ones are among those that follow it in both.
                at_most = min(m - k, n - index.positions[posting])
                least = (threshold - SLACK) * (m + n)
                if 2 * at_most >= least and m + n - _popcount(parity ^ index.parities[text]) >= least:
                    if len(table) == 0:
                        table = _bit_table(query, index.rows)
                    score = f1(_lcs(table, index.rows, index.tokens[start:end]), m, n)
                    if score > threshold and (score > similarity or (score == similarity and text < best)):
                        best, similarity = text, score
            posting = index.earlier[posting]
    for token in query:
        index.rows[token] = 0
    return best, similarity


@njit(cache=True, nogil=True)
def _post(index: Index, text: int, rare_first: Numbers, threshold: float) -> None:
    index.parities[text] = _parity(rare_first)
    for k in range(_prefix(len(rare_first), threshold)):
        token = rare_first[k]
        if k > 0 and rare_first[k - 1] == token:
            continue
        posting = index.counts[POSTINGS]
        index.counts[POSTINGS] += 1
        index.texts[posting] = text
        index.positions[posting] = k
        index.earlier[posting] = index.heads[token]
        index.heads[token] = posting


@njit(cache=True, nogil=True)
def _settle(index: Index, query: Numbers, rare_first: Numbers, threshold: float, ask: bool) -> tuple[int, float]:
    partner, similarity = _closest_above(index, query, rare_first, threshold) if ask else (-1, 0.0)
    if partner < 0:
        text = index.counts[POOLED]
        end = index.starts[text] + len(query)
        index.tokens[index.starts[text] : end] = query
        index.starts[text + 1] = end
        index.counts[POOLED] += 1
        _post(index, text, rare_first, threshold)
    return partner, similarity


@njit(cache=True, nogil=True)
def admit_one(index: Index, query: Numbers, threshold: float) -> tuple[int, float]:
    """Let one text in unless it is too close to one that is in: that one, or -1, and the F1 with it, or 0."""
    rare_first: Numbers = -np.sort(-query)
    partner, similarity = _settle(index, query, rare_first, threshold, True)
    return partner, similarity


@njit(cache=True, nogil=True)
def admit(
    index: Index,
    flat: Numbers,
    rarest: Numbers,
    bounds: NDArray[np.int64],
    threshold: float,
    ask: bool,
    partners: NDArray[np.int64],
    similarities: NDArray[np.float64],
) -> None:
    """Let each text in unless it is too close to one that is in; text i is flat[bounds[i] : bounds[i + 1]].

    Args:
        index: has room for all of them.
        rarest: the same as `flat`, but each text's tokens with the rarest first.
        ask: False to let every text in unseen.
        partners: receives the pooled text each one is too close to, or -1 for those let in.
        similarities: receives the F1 with that partner, or 0.
    """
    for q in range(len(bounds) - 1):
        query = flat[bounds[q] : bounds[q + 1]]
        rare_first = rarest[bounds[q] : bounds[q + 1]]
        partners[q], similarities[q] = _settle(index, query, rare_first, threshold, ask)


@njit(cache=True, nogil=True)
def reindex(index: Index, rarest: Numbers, threshold: float) -> None:
    """Post every pooled text anew, after the tokens' numbers have changed; `rarest` as in `admit`."""
    index.heads[:] = -1
    index.counts[POSTINGS] = 0
    for text in range(index.counts[POOLED]):
        _post(index, text, rarest[index.starts[text] : index.starts[text + 1]], threshold)


@njit(cache=True, nogil=True)
def nearest(index: Index, query: Numbers) -> tuple[int, float]:
    """The pooled text with the highest F1 to the query (the earliest of equals) and that F1; (-1, 0) if all are 0.

    Numbers that no pooled text has may be -1.
    """
    table = _bit_table(query, index.rows)
    m = len(query)
    best, similarity = -1, 0.0
    for text in range(index.counts[POOLED]):
        start, end = index.starts[text], index.starts[text + 1]
        n = end - start
        if 2 * min(m, n) > (similarity - SLACK) * (m + n):
            score = f1(_lcs(table, index.rows, index.tokens[start:end]), m, n) if min(m, n) > 0 else 0.0
            if score > similarity:
                best, similarity = text, score
    for token in query:
        if token >= 0:
            index.rows[token] = 0
    return best, similarity
