"""Which judged rows a model learns from, which set its threshold, and which tell what it is worth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.record import digest
from pipeline.similar.cluster import Rule, near_duplicates
from pipeline.similar.minhash import bands_for
from pipeline.similar.shingles import shingle_parts

TRAIN, CALIBRATION, HELD_OUT = 0, 1, 2
SHARES = (0.6, 0.2, 0.2)
"""Of train, calibration and held-out, of the groups of near-duplicates."""

SIMILARITY = 0.7
_TOKENS = 5
_PERMUTATIONS = 128


@dataclass(frozen=True, slots=True)
class Splits:
    """Where each row belongs.

    Attributes:
        part: TRAIN, CALIBRATION or HELD_OUT.
        group: number of the row's group of near-duplicates; equal for rows that are tied together.
    """

    part: NDArray[np.int64]
    group: NDArray[np.int64]


def split(ids: Sequence[str], texts: pl.Series) -> Splits:
    """Split rows by a hash of their group's smallest id, so that no near-duplicate of a row is in another part.

    Rows are of one group when a chain of pairs ties them whose Jaccard similarity over 5-token shingles is at least
    0.7. Nothing depends on the rows' order.
    """
    order = np.argsort(np.array(ids, dtype=np.str_), kind="stable")
    shingles = shingle_parts(texts, _TOKENS)
    found = near_duplicates(
        shingles, bands_for(SIMILARITY, _PERMUTATIONS), order, Rule(threshold=SIMILARITY, cluster="components")
    )
    group = np.where(found.partner < 0, np.arange(len(ids)), found.partner)
    bounds = np.cumsum(SHARES)[:-1]
    draws = [int(digest("quality-split", ids[root]), 16) / 2**80 for root in group]
    return Splits(np.searchsorted(bounds, draws, side="right"), group)
