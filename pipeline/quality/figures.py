"""What a quality model is worth on rows it has not seen, each figure with its 95% interval."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

RESAMPLES = 1_000
_TAILS = (2.5, 97.5)
_LANGUAGE_ROWS = 10
"""Held-out rows below which a language has no line of its own."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Rows that were neither trained nor calibrated on.

    Attributes:
        probability: the model's, that the row is good.
        score: the judge's.
        good: whether the judge found it good.
        by_length: the probability that the length-only baseline gives.
        length: characters of the answer.
        language: the row's primary tag.
        group: rows of one number are near-duplicates and are drawn together.
    """

    probability: Floats
    score: Floats
    good: Flags
    by_length: Floats
    length: Floats
    language: NDArray[np.str_]
    group: NDArray[np.int64]


def figures(rows: HeldOut, threshold: float, length_threshold: float) -> dict[str, Any]:
    """All figures, as plain values; each figure is [value, low, high], None where it cannot be computed.

    Intervals of proportions are Clopper and Pearson's; the others are percentiles over 1,000 samples of the groups,
    drawn with replacement from a fixed seed.
    """
    draws = _draws(rows.group)
    good, chance = rows.good, rows.probability

    def over_draws(value: Callable[[NDArray[np.int64]], float]) -> list[float] | None:
        return _with_interval(value, draws, len(good))

    half, kept = chance >= 0.5, chance >= threshold
    return {
        "rows": len(good),
        "good": int(good.sum()),
        "auc": over_draws(lambda at: auc(good[at], chance[at])),
        "spearman": over_draws(lambda at: spearman(rows.score[at], chance[at])),
        "spearman_with_length": over_draws(lambda at: spearman(rows.length[at], chance[at])),
        "brier": over_draws(lambda at: brier(good[at], chance[at])),
        "at_half": _decided(good, half) | {"kappa": over_draws(lambda at: kappa(good[at], half[at]))},
        "at_threshold": _decided(good, kept) | {"kappa": over_draws(lambda at: kappa(good[at], kept[at]))},
        "baselines": {
            "share_brier": round(float(good.mean() * (1 - good.mean())), 4),
            "majority_agreement": _share(max(int(good.sum()), int((~good).sum())), len(good)),
            "length": {
                "auc": over_draws(lambda at: auc(good[at], rows.by_length[at])),
                "at_half": _decided(good, rows.by_length >= 0.5),
                "at_threshold": _decided(good, rows.by_length >= length_threshold),
            },
            "auc_above_length": over_draws(lambda at: auc(good[at], chance[at]) - auc(good[at], rows.by_length[at])),
        },
        "languages": {
            tag: _of_language(good[mine], chance[mine], kept[mine])
            for tag in sorted(set(rows.language.tolist()))
            if (mine := rows.language == tag).sum() >= _LANGUAGE_ROWS
        },
    }


def _of_language(good: Flags, chance: Floats, kept: Flags) -> dict[str, Any]:
    value = auc(good, chance)
    return {"good": int(good.sum()), "auc": None if np.isnan(value) else round(value, 4)} | _decided(good, kept)


def _decided(good: Flags, kept: Flags) -> dict[str, Any]:
    """Figures of one decision on each row, and the confusion table."""
    hits, passed, total = int((good & kept).sum()), int(kept.sum()), len(good)
    return {
        "agreement": _share(int((good == kept).sum()), total),
        "precision": _share(hits, passed),
        "recall": _share(hits, int(good.sum())),
        "kept": _share(passed, total),
        "confusion": {
            "good_kept": hits,
            "good_dropped": int((good & ~kept).sum()),
            "bad_kept": passed - hits,
            "bad_dropped": int((~good & ~kept).sum()),
        },
    }


def _share(count: int, total: int) -> list[float] | None:
    """A proportion with its exact interval (Clopper and Pearson, 1934)."""
    from scipy.stats import beta

    if total == 0:
        return None
    low = float(beta.ppf(0.025, count, total - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, total - count)) if count < total else 1.0
    return [round(value, 4) for value in (count / total, low, high)]


def auc(good: Flags, chance: Floats) -> float:
    """The chance that a good row is above a bad one, ties counting half; NaN when one of the classes is empty."""
    from scipy.stats import rankdata

    positives = int(good.sum())
    pairs = positives * (len(good) - positives)
    ranks = float(rankdata(chance)[good].sum())
    return (ranks - positives * (positives + 1) / 2) / pairs if pairs else float("nan")


def spearman(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation; NaN when either is constant."""
    from scipy.stats import rankdata

    a, b = rankdata(one), rankdata(other)
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else float("nan")


def kappa(good: Flags, kept: Flags) -> float:
    """Cohen's kappa (1960): agreement beyond what both shares would give by chance; NaN when that is all there is."""
    agreed, p, q = float((good == kept).mean()), float(good.mean()), float(kept.mean())
    chance = p * q + (1 - p) * (1 - q)
    return (agreed - chance) / (1 - chance) if chance < 1 else float("nan")


def brier(good: Flags, chance: Floats) -> float:
    """Mean squared error of the probabilities (Brier, 1950): what a wrong calibration costs shows here."""
    return float(((chance - good) ** 2).mean())


def _draws(group: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows of so many samples of the groups."""
    random = np.random.default_rng(0)
    order = np.argsort(group, kind="stable")
    _, starts, sizes = np.unique(group[order], return_index=True, return_counts=True)
    found = []
    for _ in range(RESAMPLES):
        drawn = random.integers(len(starts), size=len(starts))
        lengths = sizes[drawn]
        inside = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        found.append(order[np.repeat(starts[drawn], lengths) + inside])
    return found


def _with_interval(
    value: Callable[[NDArray[np.int64]], float], draws: list[NDArray[np.int64]], rows: int
) -> list[float] | None:
    whole = value(np.arange(rows))
    if np.isnan(whole):
        return None
    found = np.array([value(drawn) for drawn in draws])
    low, high = np.percentile(found[~np.isnan(found)], _TAILS)
    return [round(float(x), 4) for x in (whole, low, high)]


def beats_chance(found: Mapping[str, Any]) -> bool:
    """Whether even the low end of the AUC's interval is above a coin's."""
    return found["auc"] is not None and found["auc"][1] > 0.5


def beats_length(found: Mapping[str, Any]) -> bool:
    """Whether even the low end of the lead over the length-only baseline is above none."""
    lead = found["baselines"]["auc_above_length"]
    return lead is not None and lead[1] > 0
