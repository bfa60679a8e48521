"""Shingles, MinHash and the two cluster rules against plain Python sets."""

import random
from collections.abc import Sequence
from typing import Any

import datasketch
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.similar.buckets import shared_buckets
from pipeline.similar.cluster import Rule, near_duplicates
from pipeline.similar.company import in_company
from pipeline.similar.exact import digests, first_equals
from pipeline.similar.minhash import Bands, bands_for, signatures
from pipeline.similar.shingles import Shingles, shingle_parts, shingles
from pipeline.similar.tokens import characters, fold
from pipeline.similar.utf8 import folded
from pipeline.similar.variants import simplified

MIXED = st.text(alphabet="aB9 -.'é中文ーг한ไ😀\0\n", max_size=30)
KNOWN = st.characters(exclude_categories=["Cs", "Cn"])
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


@settings(deadline=None, max_examples=300)
@given(st.lists(st.text(KNOWN, max_size=8), max_size=5))
def test_any_text_is_cut_as_it_is_folded(texts: list[str]) -> None:
    cut, again = (shingles(pl.Series(list(some), dtype=pl.String), 2) for some in (texts, map(fold, texts)))
    assert cut.values.tolist() == again.values.tolist()
    assert cut.counts.tolist() == [max(len(tokens) - 1, len(tokens) > 0) for tokens in map(characters, texts)]


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
    assert chosen.values[2:].tolist() == whole.values[:2].tolist(), "distinct, in the order of first occurrence"


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


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), max_size=8))
def test_shared_buckets(rows: list[list[int]]) -> None:
    keys = np.array(rows, np.uint64).reshape(len(rows), 3)
    found = shared_buckets(np.ascontiguousarray(keys.T))
    buckets = np.where(found.numbers >= 0, found.numbers + found.offsets[:, None], -1).T
    total = len(found.starts) - 1
    assert np.bincount(buckets[buckets >= 0], minlength=total).tolist() == np.diff(found.starts).tolist()
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
    found = near_duplicates([cut], certain_bands(), order, Rule(threshold))
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
    found = near_duplicates([cut], certain_bands(), order, Rule(threshold, "components"))
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
    assert near_duplicates([cut], certain_bands(), np.arange(3), Rule(0.7)).partner.tolist() == [-1, 0, -1]
    found = near_duplicates([cut], certain_bands(), np.arange(3), Rule(0.7, "components"))
    assert found.partner.tolist() == [-1, 0, 0]
    assert found.neighbour.tolist() == [-1, 0, 1]
    assert found.similarity[2] == 28 / 44 < 0.7 < found.neighbour_similarity[2] == 32 / 40


def test_equal_texts_are_found_by_their_digest() -> None:
    texts = ["Ａ  b\nc", "A b c", "a b c", " ", "", "A b c "]
    found = digests(pl.Series(texts))
    assert first_equals(found, np.arange(6)).tolist() == [0, 0, 2, 3, 4, 0]
    assert first_equals(found, np.array([5, 4, 3, 2, 1, 0])).tolist() == [5, 5, 2, 3, 4, 5]


@settings(deadline=None)
@given(st.lists(PHRASES, max_size=12), st.sampled_from([0.5, 0.7, 0.9]), st.integers(1, 12))
def test_whoever_has_a_near_duplicate_is_in_company(texts: list[str], threshold: float, rows: int) -> None:
    sets = sets_of(texts, 2)
    parts = [shingles(pl.Series(texts[at : at + rows], dtype=pl.String), 2) for at in range(0, len(texts), rows)]
    found = in_company(parts, threshold)
    for text, one in enumerate(sets):
        others = [jaccard(one, other) for place, other in enumerate(sets) if place != text]
        assert found[text] or max(others, default=0.0) < threshold
    alone = shingles(pl.Series(["one two three four five", "six seven eight nine ten"]), 2)
    assert in_company([alone], threshold).tolist() == [False, False]


@settings(deadline=None)
@given(st.lists(PHRASES, max_size=10), st.integers(0, 10), st.sampled_from(["star", "components"]))
def test_settled_texts_stay_and_take_all_that_resembles_them(texts: list[str], settled: int, cluster: Any) -> None:
    """As if they were another set: whatever is tied to one of them goes, and they do not bear on each other."""
    sets = sets_of(texts, 2)
    settled = min(settled, len(texts))
    cut = shingles(pl.Series(texts, dtype=pl.String), 2)
    found = near_duplicates([cut], certain_bands(), np.arange(len(texts)), Rule(0.5, cluster, settled=settled))
    assert (found.partner[:settled] == -1).all()
    for text in range(settled, len(texts)):
        close = [jaccard(sets[text], sets[other]) >= 0.5 for other in range(settled)]
        assert not any(close) or 0 <= found.partner[text] < settled


def test_pieces_of_any_size_give_the_same_answer() -> None:
    rng = random.Random(3)
    texts = [" ".join(rng.choice("abcdef") for _ in range(rng.randint(0, 12))) for _ in range(200)]
    texts[60:80] = texts[:20]
    order = np.array(rng.sample(range(200), 200))
    answers = []
    for rows in (1, 7, 200):
        parts = [shingles(pl.Series(texts[at : at + rows]), 2) for at in range(0, 200, rows)]
        found = near_duplicates(parts, bands_for(0.7, 64), order, Rule(0.7), parts)
        answers.append([found.partner.tolist(), found.similarity.tolist()])
    assert answers[0] == answers[1] == answers[2]
    assert sum(partner >= 0 for partner in answers[0][0]) > 20


def test_a_second_aspect_keeps_texts_apart() -> None:
    book = " ".join(f"w{k}" for k in range(60))
    tasks = ["name the people in it", "sum it up in a line", "name the people in it please", ""]
    whole = shingles(pl.Series([f"{task} {book}" for task in tasks]), 5)
    aside = shingles(pl.Series(tasks), 1)
    found = near_duplicates([whole], certain_bands(), np.arange(4), Rule(0.7, aside=0.5), [aside])
    assert found.partner.tolist() == [-1, -1, 0, 0], "another task stays; whoever has no such aspect is not protected"
    assert near_duplicates([whole], certain_bands(), np.arange(4), Rule(0.7)).partner.tolist() == [-1, 0, 0, 0]


def test_traditional_characters_are_their_simplified_forms_only_when_asked() -> None:
    texts = pl.Series(["軟體開發與資料庫管理", "软体开发与资料库管理"])
    apart, same = shingles(texts, 3), shingles(texts, 3, "same")
    assert not set(apart.values[: apart.starts[1]]) & set(apart.values[apart.starts[1] :])
    assert same.values[: same.starts[1]].tolist() == same.values[same.starts[1] :].tolist()
    assert shingles(texts[1:], 3).values.tolist() == shingles(texts[1:], 3, "same").values.tolist()
    assert len(simplified()) > 4000
    assert simplified()["龍"] == "龙"


def test_a_long_column_is_cut_as_its_parts_are() -> None:
    texts = pl.Series([f"text number {k} é 中文" for k in range(9000)])
    parts = shingle_parts(texts, 3)
    assert len(parts) > 1
    assert Shingles.joined(parts).values.tolist() == shingles(texts, 3).values.tolist()
