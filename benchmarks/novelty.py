"""Novelty decisions (ROUGE-L F1 > 0.7 against everything accepted) on real instructions: us, rapidfuzz, rouge-score.

Run: REAL_DATA=folder python benchmarks/novelty.py [--rows 20000]
Decisions are compared before times are printed; at F1 > 0.5 too, where many more are refused.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
from _verdicts import Verdicts
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist
from rouge_score import rouge_scorer

from pipeline.similar.novelty import NoveltyGate
from pipeline.similar.tokens import rouge

T = TypeVar("T")
THRESHOLD = 0.7
CHECKED = (0.5, THRESHOLD)


def alpaca(*fields: str) -> list[str]:
    """The named fields of each row of alpaca_data.json, joined by line breaks."""
    folder = os.environ.get("REAL_DATA")
    if not folder:
        sys.exit("REAL_DATA is not set: it names the folder that holds alpaca_data.json")
    rows = json.loads((Path(folder) / "alpaca_data.json").read_text(encoding="utf-8"))
    return ["\n".join(row[field] for field in fields) for row in rows]


def timed(function: Callable[[], T], runs: int = 3) -> tuple[T, float]:
    """The last result and the median of the seconds it took."""
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - begin)
    return result, statistics.median(seconds)


def show(title: str, lines: Sequence[tuple[str, float, str]], packages: Sequence[str]) -> None:
    """Print a table of (what, seconds, remark), then the versions."""
    print(f"\n{title}\n")
    width = max(len(what) for what, _, _ in lines)
    for what, seconds, remark in lines:
        print(f"| {what:<{width}} | {seconds:10.2f} s | {remark}")
    named = ", ".join(f"{package} {version(package)}" for package in packages)
    print(f"\npython {sys.version.split()[0]}, {named}; {os.cpu_count()} processors; medians of 3")


def one_by_one(texts: Sequence[str], threshold: float = THRESHOLD) -> list[bool]:
    gate = NoveltyGate(threshold, "rouge")
    return [gate.admit(text).admitted for text in texts]


def batch(texts: Sequence[str], threshold: float = THRESHOLD) -> list[bool]:
    return [verdict.admitted for verdict in NoveltyGate(threshold, "rouge").admit_many(texts)]


def by_rouge_score(texts: Sequence[str], threshold: float = THRESHOLD) -> list[bool]:
    """Alpaca's loop in one process: every text against all accepted ones."""
    pool: list[list[str]] = []
    admitted = []
    for text in texts:
        tokens = rouge(text)
        new = all(rouge_scorer._score_lcs(tokens, other).fmeasure <= threshold for other in pool)
        admitted.append(new)
        if new:
            pool.append(tokens)
    return admitted


def by_rapidfuzz(texts: Sequence[str], threshold: float = THRESHOLD, block: int = 512) -> list[bool]:
    """Blocks of texts against everything accepted and against themselves, one character standing for a token."""
    letters: dict[str, str] = {}
    strings = ["".join(letters.setdefault(w, chr(0x10000 + len(letters))) for w in rouge(text)) for text in texts]
    pool: list[str] = []
    admitted: list[bool] = []
    for start in range(0, len(strings), block):
        queries = strings[start : start + block]
        close = _above(queries, pool, threshold).any(axis=1) if pool else np.zeros(len(queries), bool)
        among = _above(queries, queries, threshold)
        new: list[int] = []
        for i in range(len(queries)):
            if not close[i] and not among[i, new].any():
                new.append(i)
        admitted += [i in set(new) for i in range(len(queries))]
        pool += [queries[i] for i in new]
    return admitted


def _above(queries: Sequence[str], pool: Sequence[str], threshold: float, width: int = 8192) -> np.ndarray:
    parts = []
    for start in range(0, len(pool), width):
        others = pool[start : start + width]
        lcs = cdist(queries, others, scorer=LCSseq.similarity, dtype=np.uint16, workers=-1).astype(np.float64)
        with np.errstate(all="ignore"):
            precision = lcs / np.array([len(q) for q in queries])[:, None]
            recall = lcs / np.array([len(o) for o in others])[None, :]
            parts.append(2 * precision * recall / (precision + recall) > threshold)
    return np.concatenate(parts, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rouge-score-rows", type=int, default=400)
    options = parser.parse_args()
    texts = alpaca("instruction")[: options.rows]
    few = texts[: options.rouge_score_rows]
    batch(texts[:2000])  # load the compiled code

    for threshold in CHECKED:
        ours = batch(texts, threshold)
        others = one_by_one(texts, threshold), by_rapidfuzz(texts, threshold)
        if any(ours != other for other in others) or by_rouge_score(few, threshold) != ours[: len(few)]:
            sys.exit(f"the decisions at {threshold} differ: no times are worth printing")
        print(f"F1 > {threshold}: the same decisions, {ours.count(False)} of {len(texts)} refused")

    _, seconds = timed(lambda: batch(texts))
    _, seconds_singly = timed(lambda: one_by_one(texts))
    _, seconds_rapidfuzz = timed(lambda: by_rapidfuzz(texts))
    _, seconds_rouge = timed(lambda: by_rouge_score(few))
    extrapolated = seconds_rouge * (len(texts) / len(few)) ** 2
    lines = [
        ("seedmill, batch", seconds, f"1/{seconds_rapidfuzz / seconds:.0f} of rapidfuzz"),
        ("seedmill, one at a time", seconds_singly, f"{seconds_singly / seconds:.1f} times the batch"),
        ("rapidfuzz cdist, all processors", seconds_rapidfuzz, ""),
        ("rouge-score, one process", extrapolated, f"extrapolated from {seconds_rouge:.2f} s for {len(few)} rows"),
    ]
    packages = ("rapidfuzz", "rouge-score", "numba", "numpy")
    show(f"novelty of {len(texts)} instructions, F1 > {THRESHOLD}", lines, packages)
    verdicts = Verdicts(__file__, packages)
    times = seconds_rapidfuzz / seconds
    verdicts.tell(f"novelty of {len(texts)}", f"1/{times:.0f} of rapidfuzz's cdist", "<= 1/20", times >= 20)
    verdicts.tell("one at a time", f"{seconds_singly / seconds:.2f} x the batch", "<= 2", seconds_singly <= 2 * seconds)


if __name__ == "__main__":
    main()
