"""Logistic regression in a few variables, for calibration and for the baseline."""

import numpy as np
from numpy.typing import NDArray

_STEPS = 100
_ENOUGH = 1e-10
_LEAST_SLOPE = 1e-3


def fit(x: NDArray[np.float64], targets: NDArray[np.float64], ridge: float = 1e-6) -> NDArray[np.float64]:
    """Coefficients that make `targets` (0 to 1) most likely, by Newton's method.

    Args:
        x: shape (rows, variables), a column of ones for the intercept among them.
        ridge: keeps the coefficients finite where the classes can be told apart without error.
    """
    coefficients = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        chance = probability(x @ coefficients)
        gradient = x.T @ (targets - chance) - ridge * coefficients
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x + ridge * np.eye(x.shape[1])
        step = np.linalg.solve(curvature, gradient)
        step *= min(1.0, 5.0 / max(1e-12, float(np.abs(step).max())))
        coefficients = coefficients + step
        if float(np.abs(step).max()) < _ENOUGH:
            break
    return coefficients


def probability(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logistic function."""
    found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
    return found


def platt(logits: NDArray[np.float64], good: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept by which a classifier's logits become calibrated ones (Platt, 1999, his targets included).

    The slope is never below a thousandth: calibration must not turn the classifier's order round.
    """
    positives, negatives = int(good.sum()), int((~good).sum())
    targets = np.where(good, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, intercept = fit(np.column_stack([logits, np.ones(len(logits))]), targets)
    if slope >= _LEAST_SLOPE:
        return float(slope), float(intercept)
    base = float(targets.mean())
    return _LEAST_SLOPE, float(np.log(base / (1 - base)) - _LEAST_SLOPE * logits.mean())
