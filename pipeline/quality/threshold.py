"""The probability from which rows are kept, chosen for a stated recall of good rows."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold and what it promises of rows like those it was chosen on.

    Attributes:
        probability: rows with at least this one are kept.
        recall: the share of good rows asked for.
        good: good rows it was chosen on.
        expected: recall to expect at least, on average over such choices.
        at_least: recall that it has at least in 95 of 100 such choices.
    """

    probability: float
    recall: float
    good: int
    expected: float
    at_least: float


def good_needed(recall: float) -> int:
    """How many good rows a threshold for this recall must be chosen on, at least."""
    return math.ceil(round(1 / (1 - recall), 9)) - 1


def choose(probabilities: NDArray[np.float64], recall: float) -> Threshold:
    """Choose from the probabilities of good rows that the model was not trained on.

    Split conformal prediction (Vovk et al., 2005): of n good rows take the k-th lowest probability, k = floor((n + 1)
    (1 - recall)). A further good row falls below it with a chance of at most k / (n + 1). Over the choice of the n rows
    the recall has the distribution Beta(n + 1 - k, k) (Vovk, 2012), of which `at_least` is the 5th percentile.

    Raises:
        DataError: too few good rows.
    """
    from scipy.stats import beta

    good = len(probabilities)
    place = math.floor(round((good + 1) * (1 - recall), 9))
    if place < 1:
        raise DataError(
            f"a threshold for a recall of {recall:g} needs {good_needed(recall)} good rows to be chosen on, a fifth of "
            f"all that were judged; there are {good}",
            "judge more rows, or ask for less with --recall",
        )
    return Threshold(
        probability=float(np.sort(probabilities)[place - 1]),
        recall=recall,
        good=good,
        expected=1 - place / (good + 1),
        at_least=float(beta.ppf(0.05, good + 1 - place, place)),
    )
