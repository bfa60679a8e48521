"""Millions of short rows that are never in memory together, for the benchmark of near-duplicates."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

BLOCK = 100_000


def short_rows(texts: Sequence[str], rows: int, seed: int = 1) -> Iterator[pl.Series]:
    """Rows of 12 to 30 words drawn as often as they are in the texts, in blocks.

    Three rows in ten repeat another row of their block with a word replaced: the first in one half of them, any in the
    other.
    """
    words = np.array(" ".join(texts[::5]).split(), object)
    column = pl.Series(words.tolist(), dtype=pl.String)
    for block in range(0, rows, BLOCK):
        rng = np.random.default_rng([seed, block])
        size = min(BLOCK, rows - block)
        drawn = rng.integers(0, len(words), (size, 30))
        lengths = rng.integers(12, 31, size)
        copies = np.flatnonzero(rng.random(size) < 0.3)
        copies = copies[copies > 0]
        sources = (rng.random(len(copies)) * copies).astype(np.int64)
        for copy, source in zip(copies.tolist(), sources.tolist(), strict=True):
            drawn[copy], lengths[copy] = drawn[source], lengths[source]
        places = (rng.random(len(copies)) * lengths[copies] * rng.integers(0, 2, len(copies))).astype(np.int64)
        drawn[copies, places] = rng.integers(0, len(words), len(copies))
        flat = drawn[np.arange(30) < lengths[:, None]]
        lists = pa.LargeListArray.from_arrays(
            np.concatenate(([0], np.cumsum(lengths))),
            column.gather(flat).to_arrow(compat_level=pl.CompatLevel.oldest()),
        )
        yield pl.Series(pl.from_arrow(lists)).list.join(" ")
