"""The novelty gate decides as rouge-score does, one by one and in bulk, at the very border and on real instructions."""

import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer, scoring
from scipy import sparse

from pipeline.errors import UsageError
from pipeline.similar.novelty import NoveltyGate, Verdict, closest
from pipeline.similar.tokens import TOKENIZERS, Tokens

WORDS = st.lists(st.sampled_from("abcde"), max_size=14).map(" ".join)
THRESHOLDS = st.sampled_from([0.0, 0.4, 0.5, 2 / 3, 0.7, 0.8, 1.0])


def real(name: str) -> list[dict[str, Any]]:
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip(f"REAL_DATA is not set: {name} is read from it")
    text = (Path(folder) / name).read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = (
        json.loads(text) if name.endswith(".json") else list(map(json.loads, text.splitlines()))
    )
    return rows


def f1(a: Sequence[str], b: Sequence[str]) -> float:
    return float(rouge_scorer._score_lcs(a, b).fmeasure)


def oracle(texts: Sequence[str], threshold: float, tokens: Tokens = "rouge") -> list[Verdict]:
    """Every text against everything accepted, by rouge-score; the closest partner, the earliest of equals."""
    pool: list[list[str]] = []
    verdicts = []
    for text in texts:
        words = TOKENIZERS[tokens](text)
        scores = [f1(words, other) for other in pool]
        best = max(scores, default=0.0)
        if best > threshold:
            verdicts.append(Verdict(False, scores.index(best), best))
        else:
            pool.append(words)
            verdicts.append(Verdict(True))
    return verdicts


@settings(deadline=None)
@given(st.lists(WORDS, max_size=12), THRESHOLDS, st.integers(0, 12))
def test_gate_is_rouge_score_however_the_texts_arrive(texts: list[str], threshold: float, cut: int) -> None:
    expected = oracle(texts, threshold)
    singly, split = NoveltyGate(threshold, "rouge"), NoveltyGate(threshold, "rouge")
    assert NoveltyGate(threshold, "rouge").admit_many(texts) == expected
    assert [singly.admit(text) for text in texts] == expected
    assert split.admit_many(texts[:cut]) + split.admit_many(texts[cut:]) == expected
    assert len(singly) == sum(v.admitted for v in expected)


@settings(deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=8), WORDS)
def test_nearest_is_the_highest_score_of_all(pool: list[str], text: str) -> None:
    gate = NoveltyGate(0.7, "rouge")
    gate.add(pool)
    scores = [f1(text.split(), other.split()) for other in pool]
    best = max(scores)
    assert gate.nearest(text) == ((scores.index(best), best) if best > 0 else (None, 0.0))
    assert closest([text], pool, "rouge") == [best]


def test_texts_of_many_machine_words() -> None:
    rng = random.Random(7)
    texts = []
    for length in (63, 64, 65, 127, 128, 129, 200, 260):
        base = [rng.choice("abcdefghij") for _ in range(length)]
        for share in (0.1, 0.25, 0.4):
            texts.append(" ".join(rng.choice("abcdefghij") if rng.random() < share else w for w in base))
    expected = oracle(texts, 0.7)
    assert NoveltyGate(0.7, "rouge").admit_many(texts) == expected
    assert {v.admitted for v in expected} == {True, False}


def test_every_border_case_below_200_tokens() -> None:
    """All (LCS, m, n) whose F1 is exactly 0.7 on paper; in floating point some are above and some are not."""
    borders = [
        (lcs, m, n)
        for m in range(1, 200)
        for n in range(1, 200)
        for lcs in [7 * (m + n) // 20]
        if 20 * lcs == 7 * (m + n) and lcs <= min(m, n)
    ]
    pool, texts = [], []
    for case, (lcs, m, n) in enumerate(borders):
        shared = [f"s{case}x{k}" for k in range(lcs)]
        pool.append(" ".join(shared + [f"p{case}x{k}" for k in range(m - lcs)]))
        texts.append(" ".join([f"t{case}x{k}" for k in range(n - lcs)] + shared))
    gate = NoveltyGate(0.7, "rouge")
    gate.add(pool)
    decided = [not verdict.admitted for verdict in gate.admit_many(texts)]
    expected = [scoring.fmeasure(lcs / n, lcs / m) > 0.7 for lcs, m, n in borders]
    assert decided == expected
    assert len(borders) > 700
    assert {True, False} == set(expected), "rounding falls both ways somewhere"


def test_ranking_anew_changes_no_verdict() -> None:
    """A small pool, then a large batch whose new words take over most numbers, then texts one by one."""
    rng = random.Random(3)
    vocabulary = [f"w{k}" for k in range(400)]

    def texts(count: int, words: Sequence[str]) -> list[str]:
        made = [" ".join(rng.choices(words, k=rng.randint(4, 12))) for _ in range(count)]
        return [" ".join(rng.choice(made).split()[:-1]) if rng.random() < 0.3 else text for text in made]

    batches = [texts(30, vocabulary[:40]), texts(250, vocabulary), texts(60, vocabulary[300:])]
    gate = NoveltyGate(0.7, "rouge")
    verdicts = gate.admit_many(batches[0]) + gate.admit_many(batches[1]) + [gate.admit(t) for t in batches[2]]
    expected = oracle([t for batch in batches for t in batch], 0.7)
    assert verdicts == expected
    assert 20 < sum(not v.admitted for v in expected) < 300


def test_a_text_without_tokens_is_always_new() -> None:
    gate = NoveltyGate(0.7)
    assert [v.admitted for v in gate.admit_many(["", "!?", "", "yes", "yes"])] == [True, True, True, True, False]
    assert gate.nearest("...") == (None, 0.0)


def test_added_texts_are_in_the_pool_whatever_they_resemble() -> None:
    gate = NoveltyGate(0.7)
    gate.add(["write a poem about the sea", "write a poem about the sea"])
    assert len(gate) == 2
    assert gate.admit("Write a poem about the sea!") == Verdict(False, 0, 1.0)


def test_chinese_is_compared_by_character() -> None:
    gate = NoveltyGate(0.7)
    gate.add(["请写一首关于大海的诗"])
    assert gate.admit("请写一首关于高山的诗") == Verdict(False, 0, scoring.fmeasure(8 / 10, 8 / 10))
    assert gate.admit("解释光合作用的过程").admitted
    whitespace = NoveltyGate(0.7, "rouge")
    assert all(v.admitted for v in whitespace.admit_many(["请写一首关于大海的诗"] * 2)), "rouge sees no Chinese"


def test_russian_is_compared_by_word() -> None:
    gate = NoveltyGate(0.7)
    gate.add(["Напиши короткое стихотворение о синем море"])
    assert not gate.admit("Напиши короткое стихотворение о Чёрном море").admitted
    assert gate.admit("Объясни, как работает двигатель").admitted


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_outside_0_to_1_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="makes no sense"):
        NoveltyGate(threshold)


def verdicts_of_close_pairs(texts: Sequence[list[str]], threshold: float) -> list[bool]:
    """rouge-score over all pairs that share enough tokens; the others cannot exceed the threshold (LCS <= overlap)."""
    columns: dict[tuple[str, int], int] = {}
    rows, cols = [], []
    for row, words in enumerate(texts):
        seen: Counter[str] = Counter()
        for word in words:
            rows.append(row)
            cols.append(columns.setdefault((word, seen[word]), len(columns)))
            seen[word] += 1
    matrix = sparse.csr_matrix((np.ones(len(rows), np.int32), (rows, cols)), shape=(len(texts), len(columns)))
    overlap = sparse.triu(matrix @ matrix.T, k=1).tocoo()
    lengths = np.array([len(words) for words in texts])
    near = 2 * overlap.data > (threshold - 1e-6) * (lengths[overlap.row] + lengths[overlap.col])
    before: dict[int, list[int]] = {}
    for early, late in zip(overlap.row[near].tolist(), overlap.col[near].tolist(), strict=True):
        before.setdefault(late, []).append(early)
    admitted: list[bool] = []
    for row, words in enumerate(texts):
        admitted.append(not any(admitted[e] and f1(words, texts[e]) > threshold for e in before.get(row, ())))
    return admitted


@pytest.mark.parametrize("threshold", [0.7, 0.55])
def test_3000_real_instructions(threshold: float) -> None:
    texts = [row["instruction"] for row in real("alpaca_data.json")[:3000]]
    verdicts = [v.admitted for v in NoveltyGate(threshold, "rouge").admit_many(texts)]
    assert verdicts == verdicts_of_close_pairs([TOKENIZERS["rouge"](t) for t in texts], threshold)
    assert verdicts == [v.admitted for v in NoveltyGate(threshold).admit_many(texts)], "auto decides alike on English"
    assert (False in verdicts) == (threshold < 0.7)


@pytest.mark.parametrize("threshold", [0.7, 0.5])
def test_500_real_chinese_instructions(threshold: float) -> None:
    texts = [row["instruction"] for row in real("llamafactory_alpaca_zh_demo.json")[:500]]
    verdicts = [v.admitted for v in NoveltyGate(threshold).admit_many(texts)]
    assert verdicts == verdicts_of_close_pairs([TOKENIZERS["characters"](t) for t in texts], threshold)
    assert False in verdicts


def test_facts_about_alpaca_and_the_published_seeds() -> None:
    seeds = [row["instruction"] for row in real("self_instruct_seed_tasks.jsonl")]
    texts = [row["instruction"] for row in real("alpaca_data.json")[:5000]]
    gate = NoveltyGate(0.7)
    collisions = [v for v in gate.admit_many(seeds) if not v.admitted]
    assert len(collisions) == 2
    assert max(v.similarity or 0 for v in collisions) == pytest.approx(0.8235, abs=5e-5)
    assert all(v.admitted for v in gate.admit_many(texts))
