"""Arrow arrays of Python values without pandas, which `pyarrow.array` imports: that takes longer than many a run."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import polars as pl
import pyarrow as pa


def array_of(values: Sequence[Any], kind: Any) -> Any:
    """What `pyarrow.array(values, kind)` gives of texts, numbers, truth values, lists of them and whole structs."""
    return pl.Series(values, dtype=_polars_type(kind)).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(kind)


@cache
def _polars_type(kind: Any) -> Any:
    return pl.from_arrow(pa.nulls(0, kind)).dtype  # type: ignore[union-attr]
