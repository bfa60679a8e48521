"""Shingles, MinHash and the two cluster rules against plain Python sets."""

import random
from collections.abc import Sequence

import datasketch
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.similar.cluster import near_duplicates, shared_buckets
from pipeline.similar.exact import digests, first_equals
from pipeline.similar.minhash import Bands, band_keys, bands_for, signatures
from pipeline.similar.shingles import Shingles, folded, shingles
from pipeline.similar.tokens import characters, fold

MIXED = st.text(alphabet="aB9 -.'é中文ーг한ไ😀\0\n", max_size=30)
PHRASES = st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join)


def sets_of(texts: Sequence[str], size: int) -> list[set[tuple[str, ...]]]:
    """Runs of `size` tokens; a shorter text is one run, one without tokens none."""
    made = []
    for text in texts:
        tokens = characters(text)
        starts = range(max(len(tokens) - size + 1, 1 if tokens else 0))
        made.append({tuple(tokens[i : i + size]) for i in starts})
    return made


def jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b) if a or b else 0.0


def certain_bands(count: int = 96) -> Bands:
    """Bands of one row: a pair with Jaccard similarity s is missed with probability (1 - s) ** count."""
    multipliers, increments = datasketch.MinHash(num_perm=count, seed=3, scheme="affine32").permutations
    return Bands(count, 1, multipliers, increments)


@settings(deadline=None)
@given(st.lists(MIXED, max_size=6), st.integers(1, 6))
def test_shingles_are_the_runs_of_tokens(texts: list[str], size: int) -> None:
    cut = shingles(pl.Series(texts, dtype=pl.String), size)
    names: dict[int, tuple[str, ...]] = {}
    for i, expected in enumerate(sets_of(texts, size)):
        got = cut.values[cut.starts[i] : cut.starts[i + 1]].tolist()
        tokens = characters(texts[i])
        in_order = [tuple(tokens[k : k + size]) for k in range(len(got))]
        assert set(in_order) == expected
        for value, run in zip(got, in_order, strict=True):
            assert names.setdefault(value, run) == run, "one hash, one run"
    assert len(set(names.values())) == len(names), "one run, one hash"


@given(st.lists(MIXED, max_size=5))
def test_a_column_is_folded_as_a_text_is(texts: list[str]) -> None:
    assert folded(pl.Series(texts, dtype=pl.String)).to_list() == [fold(text) for text in texts]


def test_joined_shingles_and_sets() -> None:
    texts = ["a b a b a b", "", "中文中文"]
    whole = shingles(pl.Series(texts), 2)
    parts = Shingles.joined([shingles(pl.Series(texts[:1]), 2), shingles(pl.Series(texts[1:]), 2)])
    assert parts.values.tolist() == whole.values.tolist()
    assert parts.starts.tolist() == whole.starts.tolist() == [0, 5, 5, 8]
    chosen = whole.sets(np.array([2, 0]))
    assert chosen.starts.tolist() == [0, 2, 4]
    assert chosen.values[2:].tolist() == sorted(set(whole.values[:5].tolist()))


def test_signatures_are_those_of_datasketch() -> None:
    cut = shingles(pl.Series(["the quick brown fox jumps over the lazy dog", "short", ""]), 3)
    bands = bands_for(0.7, 64, seed=11)
    ours = signatures(cut, bands)
    for i in range(len(cut)):
        theirs = datasketch.MinHash(64, seed=11, hashfunc=lambda value: int(value) & 0xFFFFFFFF, scheme="affine32")
        theirs.update_batch(cut.values[cut.starts[i] : cut.starts[i + 1]])
        assert ours[i].tolist() == theirs.hashvalues[: bands.bands * bands.rows].tolist()


def test_bands_are_those_datasketch_finds_best_and_miss_little() -> None:
    for threshold, num_perm in ((0.5, 128), (0.7, 128), (0.8, 256)):
        bands = bands_for(threshold, num_perm)
        lsh = datasketch.MinHashLSH(threshold=threshold, num_perm=num_perm, weights=(0.01, 0.99))
        assert (bands.bands, bands.rows) == (lsh.b, lsh.r)
        assert bands.recall(threshold) > 0.98
        assert bands.recall(threshold + 0.05) > 0.998


def test_bands_that_cannot_be_made() -> None:
    with pytest.raises(UsageError, match="too few"):
        bands_for(0.99, 16)


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), max_size=8))
def test_shared_buckets(rows: list[list[int]]) -> None:
    keys = np.array(rows, np.uint64).reshape(len(rows), 3)
    buckets, total = shared_buckets(keys)
    for band in range(3):
        for a in range(len(rows)):
            alone = sum(rows[b][band] == rows[a][band] for b in range(len(rows))) == 1
            assert (buckets[a, band] < 0) == alone
            for b in range(len(rows)):
                if not alone and buckets[b, band] >= 0:
                    assert (buckets[a, band] == buckets[b, band]) == (rows[a][band] == rows[b][band])
    numbers = set(buckets[buckets >= 0].tolist())
    assert numbers == set(range(total))
    assert all(len({b for b in range(3) if (buckets[:, b] == n).any()}) == 1 for n in numbers)


@settings(deadline=None)
@given(st.lists(PHRASES, max_size=10), st.sampled_from([0.5, 0.7, 0.75]), st.randoms())
def test_star_drops_what_a_kept_text_resembles_and_nothing_else(
    texts: list[str], threshold: float, rng: random.Random
) -> None:
    priority = list(range(len(texts)))
    rng.shuffle(priority)
    sets = sets_of(texts, 2)
    kept: list[int] = []
    expected: dict[int, tuple[int, float]] = {}
    for text in priority:
        scores = [jaccard(sets[text], sets[other]) for other in kept]
        best = max(scores, default=0.0)
        if best >= threshold:
            expected[text] = kept[scores.index(best)], best
        else:
            kept.append(text)
    cut = shingles(pl.Series(texts, dtype=pl.String), 2)
    order = np.array(priority, np.int64)
    found = near_duplicates(cut, band_keys(cut, certain_bands()), order, threshold, "star")
    got = {
        i: (p, s)
        for i, (p, s) in enumerate(zip(found.partner.tolist(), found.similarity.tolist(), strict=True))
        if p >= 0
    }
    assert got == expected
    assert found.neighbour.tolist() == found.partner.tolist()


@settings(deadline=None)
@given(st.lists(PHRASES, max_size=10), st.sampled_from([0.5, 0.7]), st.randoms())
def test_components_keep_the_first_of_each_chain(texts: list[str], threshold: float, rng: random.Random) -> None:
    priority = list(range(len(texts)))
    rng.shuffle(priority)
    sets = sets_of(texts, 2)
    component = list(range(len(texts)))
    for a in range(len(texts)):
        for b in range(a):
            if jaccard(sets[a], sets[b]) >= threshold:
                component = [component[a] if c == component[b] else c for c in component]
    cut = shingles(pl.Series(texts, dtype=pl.String), 2)
    order = np.array(priority, np.int64)
    found = near_duplicates(cut, band_keys(cut, certain_bands()), order, threshold, "components")
    for text in range(len(texts)):
        top = next(p for p in priority if component[p] == component[text])
        if top == text:
            assert found.partner[text] == found.neighbour[text] == -1
            continue
        neighbour = int(found.neighbour[text])
        assert found.partner[text] == top
        assert found.similarity[text] == jaccard(sets[text], sets[top])
        assert found.neighbour_similarity[text] == jaccard(sets[text], sets[neighbour]) >= threshold
        steps = 0
        while found.neighbour[neighbour] >= 0:
            neighbour, steps = int(found.neighbour[neighbour]), steps + 1
            assert steps < len(texts), "neighbours lead to the partner"
        assert neighbour == top


def test_a_chain_is_cut_by_star_and_not_by_components() -> None:
    words = [f"w{k}" for k in range(60)]
    texts = [" ".join(words[start : start + 40]) for start in (0, 4, 8)]
    cut = shingles(pl.Series(texts), 5)
    keys = band_keys(cut, certain_bands())
    assert near_duplicates(cut, keys, np.arange(3), 0.7, "star").partner.tolist() == [-1, 0, -1]
    found = near_duplicates(cut, keys, np.arange(3), 0.7, "components")
    assert found.partner.tolist() == [-1, 0, 0]
    assert found.neighbour.tolist() == [-1, 0, 1]
    assert found.similarity[2] == 28 / 44 < 0.7 < found.neighbour_similarity[2] == 32 / 40


def test_equal_texts_are_found_by_their_digest() -> None:
    texts = ["Ａ  b\nc", "A b c", "a b c", " ", "", "A b c "]
    found = digests(pl.Series(texts))
    assert first_equals(found, np.arange(6)).tolist() == [0, 0, 2, 3, 4, 0]
    assert first_equals(found, np.array([5, 4, 3, 2, 1, 0])).tolist() == [5, 5, 2, 3, 4, 5]
