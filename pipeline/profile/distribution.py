"""How the numbers of a profile are distributed, over all rows and in each language."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.profile.needs import signals_of

if TYPE_CHECKING:
    from pipeline.profile.store import Profile

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 24
EXTREMES = 5
LANGUAGES = 12
"""Languages with a distribution of their own, the most frequent ones; the others count in that of all."""

ALL = "all"
OF_ANSWERS = ("instruction", "input", "output")
MEASURED_WHERE = "chars"
"""Signals of a text are given for the texts that are there: those of one character at least."""


def summary(profile: "Profile") -> dict[str, Any]:
    """Languages with their number of records, and signal -> language (or `all`) -> its distribution.

    One column is in memory at a time.
    """
    languages = profile.table("record").select("text_language").collect()["text_language"]
    counts = dict(languages.value_counts(sort=True).sort(["count", "text_language"], descending=[True, False]).rows())
    own = list(counts)[:LANGUAGES]
    signals: dict[str, Any] = {}
    rows = profile.table("turn").select("row").collect()["row"]
    for scope, of_language in (("record", languages), ("turn", languages.gather(rows))):
        numbers = rows if scope == "turn" else pl.int_range(len(languages), dtype=pl.UInt32, eager=True)
        for name in _numeric(scope):
            signals[name] = _by_language(profile, scope, name, numbers, of_language, own)
    return {"languages": counts, "signals": signals}


def _numeric(scope: str) -> Iterator[str]:
    if scope == "record":
        yield "n_turns"
    yield from (name for name in signals_of(scope) if not name.endswith("_language"))


def _by_language(
    profile: "Profile", scope: str, name: str, rows: pl.Series, languages: pl.Series, own: list[str]
) -> dict[str, Any]:
    there = "text_chars" if scope == "record" else f"{name.split('_')[0]}_chars"
    frame = profile.table(scope).select(pl.col(name).cast(pl.Float64).alias("value"), there=pl.col(there) > 0).collect()
    frame = frame.with_columns(rows.alias("row"), languages.alias("language")).filter("there")
    found = {ALL: describe(frame["value"].to_numpy(), frame["row"].to_numpy())}
    if len(own) > 1 and len(frame):
        for (language,), part in frame.group_by("language", maintain_order=True):
            if language in own:
                found[str(language)] = describe(part["value"].to_numpy(), part["row"].to_numpy(), found[ALL]["edges"])
    return found


def describe(values: NDArray[np.float64], rows: NDArray[np.uint32], edges: list[float] | None = None) -> dict[str, Any]:
    """Count, quantiles, histogram and extreme rows of some numbers.

    Args:
        values: the numbers, in the order of their rows.
        rows: the record that each belongs to.
        edges: of the histogram's bins; when not given they are even for shares, and even in the logarithm of 1 + x for
            what grows beyond 20.
    """
    if not len(values):
        return {"count": 0, "edges": edges or [], "histogram": []}
    lowest, highest = float(values.min()), float(values.max())
    edges = edges or _edges(lowest, highest)
    # A stable order, so that of equal numbers the earliest rows are named.
    top = np.argsort(-values, kind="stable")[:EXTREMES]
    bottom = np.argsort(values, kind="stable")[:EXTREMES]
    histogram, _ = np.histogram(values, bins=np.array(edges))
    quantiles = np.quantile(values, QUANTILES, method="lower")
    return {
        "count": len(values),
        "min": lowest,
        "max": highest,
        "mean": float(values.mean()),
        "quantiles": {f"{q:g}": float(value) for q, value in zip(QUANTILES, quantiles, strict=True)},
        "edges": edges,
        "histogram": histogram.tolist(),
        "lowest": [[int(rows[at]), float(values[at])] for at in bottom],
        "highest": [[int(rows[at]), float(values[at])] for at in top],
    }


def _edges(lowest: float, highest: float) -> list[float]:
    if lowest == highest:
        return [lowest, lowest + 1.0]
    if lowest >= 0 and highest > 20:
        steps = np.expm1(np.linspace(np.log1p(lowest), np.log1p(highest), BINS + 1))
    else:
        steps = np.linspace(lowest, highest, BINS + 1)
    steps[0], steps[-1] = lowest, highest
    return [float(step) for step in steps]
