"""Figures of a survey: bins, means and percentiles of scores and lengths."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

Bin = tuple[str, int]
"""What a bar stands for, and how high it is."""

_STEPS = (1, 2, 5)
_FEW_VALUES = 12
_BINS = 10


@dataclass(frozen=True)
class Spread:
    """A distribution in figures."""

    count: int
    mean: float
    least: float
    median: float
    high: float
    most: float


def spread(values: Mapping[float, int] | Mapping[int, int]) -> Spread | None:
    """Mean, least, median, 95th percentile (nearest rank) and most; None for nothing."""
    found = sorted(values.items())
    count = sum(values.values())
    if not count:
        return None
    mean = sum(value * times for value, times in found) / count
    return Spread(count, mean, found[0][0], _ranked(found, count, 0.5), _ranked(found, count, 0.95), found[-1][0])


def _ranked(found: list[tuple[float, int]] | list[tuple[int, int]], count: int, share: float) -> float:
    passed = 0
    for value, times in found:
        passed += times
        if passed >= share * count:
            return value
    return found[-1][0]


def length_bins(lengths: Mapping[int, int]) -> list[Bin]:
    """Rows by length, on a scale of 1, 2, 5, 10, 20, 50 ...; each bin up to and with its label."""
    if not lengths:
        return []
    edges = [step * 10**power for power in range(1, 12) for step in _STEPS]
    counts: Counter[int] = Counter()
    for length, times in lengths.items():
        counts[next((i for i, edge in enumerate(edges) if length <= edge), len(edges))] += times
    span = range(min(counts), max(counts) + 1)
    return [(short(edges[i]) if i < len(edges) else "more", counts[i]) for i in span]


def score_bins(values: Mapping[float, int]) -> list[Bin]:
    """Rows by score: a bar for each value when there are few, else ten bins of equal width."""
    if len(values) <= _FEW_VALUES:
        return [(f"{value:g}", times) for value, times in sorted(values.items())]
    low, high = min(values), max(values)
    counts = [0] * _BINS
    for value, times in values.items():
        counts[min(int((value - low) / (high - low) * _BINS), _BINS - 1)] += times
    return [(f"{low + i * (high - low) / _BINS:.3g}", count) for i, count in enumerate(counts)]


def short(count: float) -> str:
    """A count in a few letters: 950, 1.2k, 31k, 4M."""
    for limit, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= limit:
            value = count / limit
            return f"{value:.0f}{unit}" if value >= 10 or value == int(value) else f"{value:.1f}{unit}"
    return f"{count:g}"
