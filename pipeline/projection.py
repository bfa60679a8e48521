"""From a pilot to the whole: totals with intervals, from what some of the rows used."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""0.975 quantiles of Student's t for 1, 2, ... degrees of freedom."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number that is not known yet, between `low` and `high` in 95 of 100 cases; add two independent ones."""

    value: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def __add__(self, other: "Estimate") -> "Estimate":
        below = math.hypot(self.value - self.low, other.value - other.low)
        above = math.hypot(self.high - self.value, other.high - other.value)
        value = self.value + other.value
        return Estimate(value=value, low=value - below, high=value + above)

    def times(self, factor: float) -> "Estimate":
        """So many times as much."""
        return Estimate(value=self.value * factor, low=self.low * factor, high=self.high * factor)

    def at_least(self, least: float) -> "Estimate":
        """What has been seen already cannot become less."""
        return Estimate(value=max(self.value, least), low=max(self.low, least), high=max(self.high, least))


def quantile(degrees: int) -> float:
    """Student's t at 0.975; beyond the table an expansion that is good to 0.002."""
    if degrees < 1:
        return math.inf
    if degrees <= len(_T):
        return _T[degrees - 1]
    return 1.95996 + 2.3722 / degrees + 2.8225 / degrees**2


def of_rows(seen: Sequence[float], population: float) -> Estimate:
    """The sum over `population` rows, of which `seen` is a random sample.

    Mean and Student's t with the correction for a finite population. Since few rows show little of what is rare, the
    spread is never taken for less than if one row in n + 2 used twice as much.
    """
    if not seen:
        return Estimate()
    mean = sum(seen) / len(seen)
    return _interval(mean * population, _spread([x - mean for x in seen], mean), len(seen), population)


def of_yield(seen: Sequence[float], yields: Sequence[float], target: float) -> Estimate:
    """What it takes to reach a target, when each step used so much and yielded so much of it.

    The ratio estimator: the target times the sum of what was used over the sum of what came of it.
    """
    if not seen or not sum(yields):
        return Estimate(high=math.inf)
    ratio = sum(seen) / sum(yields)
    steps = target * len(seen) / sum(yields)
    deviations = [x - ratio * y for x, y in zip(seen, yields, strict=True)]
    return _interval(ratio * target, _spread(deviations, sum(seen) / len(seen)), len(seen), steps)


def crowding(repeats: int, made: int, target: float) -> Estimate:
    """How much more often a pool's steps must be taken than in the pilot, since what is new grows rarer as it fills.

    If any two tasks are alike with the same small chance q, a task is new beside m others with a chance of about
    exp(-q m), and reaching a target takes (exp(q target) - 1) / (q target) times as many as with q = 0. The pilot's
    repeats among its pairs tell q, roughly; so the factor is taken to be at most 2.

    Args:
        repeats: tasks of the pilot that were too much like an earlier one of the pilot.
        made: tasks that were not.
        target: tasks in all.
    """
    pairs = max(1.0, made * (made + 1) / 2)
    few, many = max(0.0, repeats - 2 * math.sqrt(repeats)), repeats + 2 + 2 * math.sqrt(repeats + 1)
    value, low, high = (_crowded(count / pairs, made, target) for count in (repeats, few, many))
    return Estimate(value=value, low=low, high=high)


def _crowded(chance: float, made: int, target: float) -> float:
    if not chance or target <= made:
        return 1.0
    now, then = (math.expm1(min(50.0, chance * m)) / (chance * m) if m else 1.0 for m in (made, target))
    return min(2.0, then / now)


def _spread(deviations: Sequence[float], mean: float) -> float:
    """Standard deviation of one row."""
    n = len(deviations)
    rare = 1 / (n + 2)
    least = abs(mean) * math.sqrt(rare * (1 - rare))
    return max(least, math.sqrt(sum(d * d for d in deviations) / max(1, n - 1)))


def _interval(value: float, spread: float, n: int, population: float) -> Estimate:
    rest = max(0.0, 1 - n / population) if population else 0.0
    if not rest or not spread:
        return Estimate(value=value, low=value, high=value)
    half = quantile(n - 1) * population * spread / math.sqrt(n) * math.sqrt(rest)
    return Estimate(value=value, low=max(0.0, value - half), high=value + half)
