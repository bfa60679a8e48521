"""Near-duplicates among vectors: the stated rule, whatever the blocks, and groups that are a function of the data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.similar import cosine
from pipeline.similar.cluster import Cluster, Duplicates
from pipeline.similar.cosine import Aside, near_vectors, product, slack, unit_vectors
from pipeline.similar.kmeans import groups_of

Vectors = NDArray[np.float32]


def cloud(rows: int, dimensions: int, seed: int, spread: float = 0.3, centres: int = 12) -> Vectors:
    """Rows about a few directions, some of them equal."""
    dice = np.random.default_rng(seed)
    middle = dice.normal(size=(centres, dimensions))
    made = middle[dice.integers(centres, size=rows)] + spread * dice.normal(size=(rows, dimensions))
    made[rows // 2 :: 7] = made[0]
    return unit_vectors(made)


def similarity(a: Vectors, b: Vectors) -> float:
    total = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return min(1.0, float(np.floor(total * 1e6 + 0.5) / 1e6))


def star_by_hand(vectors: Vectors, threshold: float) -> tuple[list[int], list[float]]:
    kept: list[int] = []
    partner, scores = [], []
    for row in range(len(vectors)):
        best, score = -1, 0.0
        for other in kept:
            found = similarity(vectors[row], vectors[other])
            if found >= threshold and found > score:
                best, score = other, found
        kept += [row] if best < 0 else []
        partner.append(best)
        scores.append(score)
    return partner, scores


def pieces_by_hand(vectors: Vectors, threshold: float) -> list[int]:
    """Of each row the first row of its component, -1 for that one itself."""
    first = list(range(len(vectors)))
    changed = True
    while changed:
        changed = False
        for a in range(len(vectors)):
            for b in range(a):
                if similarity(vectors[a], vectors[b]) >= threshold and first[a] != first[b]:
                    low, high = sorted((first[a], first[b]))
                    first = [low if f == high else f for f in first]
                    changed = True
    return [-1 if f == row else f for row, f in enumerate(first)]


def same(one: Duplicates, other: Duplicates) -> bool:
    names = ("partner", "similarity", "neighbour", "neighbour_similarity")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.integers(2, 9), st.integers(0, 99), st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_star_is_what_its_rule_says(rows: int, dimensions: int, seed: int, threshold: float) -> None:
    vectors = cloud(rows, dimensions, seed) if rows else np.empty((0, dimensions), np.float32)
    partner, scores = star_by_hand(vectors, threshold)
    found = near_vectors(vectors.copy(), threshold, "star")
    assert found.partner.tolist() == partner
    assert found.similarity.tolist() == scores


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 99), st.sampled_from([0.7, 0.9, 0.99]))
def test_components_are_what_pairs_tie_together(rows: int, dimensions: int, seed: int, threshold: float) -> None:
    vectors = cloud(rows, dimensions, seed)
    found = near_vectors(vectors.copy(), threshold, "components")
    assert found.partner.tolist() == pieces_by_hand(vectors, threshold)
    for row in np.flatnonzero(found.partner >= 0):
        tied = int(found.neighbour[row])
        assert found.neighbour_similarity[row] == similarity(vectors[row], vectors[tied]) >= threshold
        chain = [int(row)]
        while found.partner[chain[-1]] >= 0:
            chain.append(int(found.neighbour[chain[-1]]))
            assert len(chain) <= rows
        assert chain[-1] == found.partner[row]
        assert found.similarity[row] == max(-1.0, similarity(vectors[row], vectors[chain[-1]]))


@pytest.mark.parametrize("cluster", ["star", "components"])
def test_blocks_do_not_matter(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = cloud(1500, 48, 3)
    whole = near_vectors(vectors.copy(), 0.9, cluster)
    assert (whole.partner >= 0).any()
    for products in (1, 1500 * 17, 1500 * 333):
        monkeypatch.setattr(cosine, "_PRODUCTS", products)
        assert same(near_vectors(vectors.copy(), 0.9, cluster), whole)


@pytest.mark.parametrize("cluster", ["star", "components"])
def test_rows_must_be_alike_aside_where_both_have_it(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if pairs unlike aside did not exist: every row in a tree of its own when no two are alike there."""
    vectors = cloud(400, 24, 7)
    whole = near_vectors(vectors.copy(), 0.9, cluster)
    alike, unlike = cloud(400, 8, 1, spread=0.0, centres=1), np.eye(400, dtype=np.float32)
    assert same(near_vectors(vectors.copy(), 0.9, cluster, Aside(alike.copy(), 0.9)), whole)
    assert same(near_vectors(vectors.copy(), 0.9, cluster, Aside(np.zeros((400, 8), np.float32), 0.9)), whole)
    assert (near_vectors(vectors.copy(), 0.9, cluster, Aside(unlike.copy(), 0.9)).partner < 0).all()
    half = unlike.copy()
    half[::2] = 0
    found = near_vectors(vectors.copy(), 0.9, cluster, Aside(half.copy(), 0.9))
    assert 0 < (found.partner >= 0).sum() < (whole.partner >= 0).sum()
    both = (found.partner >= 0) & (np.arange(400) % 2 == 1)
    assert (found.neighbour[both] % 2 == 0).all()
    monkeypatch.setattr(cosine, "_PRODUCTS", 1)
    assert same(near_vectors(vectors.copy(), 0.9, cluster, Aside(half.copy(), 0.9)), found)


def test_a_pair_on_the_threshold_is_decided_by_the_exact_sum() -> None:
    """float32 products of many dimensions stray; the decision must not."""
    dice = np.random.default_rng(5)
    vectors = unit_vectors(np.repeat(dice.normal(size=(200, 1024)), 2, axis=0) + 0.2 * dice.normal(size=(400, 1024)))
    for pair in range(0, 400, 2):
        score = similarity(vectors[pair], vectors[pair + 1])
        both = vectors[pair : pair + 2]
        assert near_vectors(both.copy(), score, "star").partner.tolist() == [-1, 0]
        assert near_vectors(both.copy(), score + 1e-6, "star").partner.tolist() == [-1, -1]


@pytest.mark.parametrize("dimensions", [8, 384, 3072])
def test_float32_products_stay_within_the_stated_error(dimensions: int) -> None:
    vectors = cloud(600, dimensions, 1)
    exact = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    assert np.abs(vectors @ vectors.T - exact).max() < slack(dimensions)
    assert abs(product(vectors[0], vectors[1]) - exact[0, 1]) < 1e-12


def test_vectors_without_a_direction_are_zeros() -> None:
    made = unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [1e-30, 0.0]], np.float32))
    assert made.tolist()[1:4] == [[0.0, 0.0]] * 3
    assert made[0] == pytest.approx([0.6, 0.8])
    assert made[4].tolist() == [1.0, 0.0]


def test_groups_are_of_the_vectors_and_names_alone() -> None:
    vectors = cloud(3000, 32, 9)
    names = [f"row {i}" for i in range(3000)]
    groups = groups_of(vectors, 12, names, 1)
    order = np.random.default_rng(1).permutation(3000)
    again = groups_of(vectors[order], 12, [names[i] for i in order], 1)
    # Sums are added up in the order of the rows, so centres may differ in the last place, and hardly any row with them.
    assert (groups[order] == again).mean() > 0.99
    assert np.array_equal(groups, groups_of(vectors, 12, names, 1))
    assert not np.array_equal(groups, groups_of(vectors, 12, names, 2))
    assert groups.max() < 12
    found, parted = near_vectors(vectors.copy(), 0.9, "star"), 0
    for row in np.flatnonzero(found.partner >= 0):
        parted += groups[row] != groups[found.partner[row]]
    assert parted < 0.1 * (found.partner >= 0).sum(), "like rows are mostly together"
    assert groups_of(vectors[:3], 9, names[:3], 1).max() < 3
    assert groups_of(vectors[:0], 4, [], 1).tolist() == []
