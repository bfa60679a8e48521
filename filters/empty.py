"""Nothing asked, or nothing answered."""

import polars as pl

from filters.check import Check

BLANK = r"^[\s\u{200b}-\u{200d}\u{2060}\u{feff}]*$"
"""White space and characters that show nothing."""


def empty() -> tuple[Check, ...]:
    """Object to a blank answer and to a blank question.

    A tool call without words is an answer. alpaca_data.json has 28 empty outputs (Stanford Alpaca issue 265).
    """
    blank = {name: pl.col(name).str.contains(BLANK) for name in ("instruction", "input", "output")}
    return (
        Check(
            reason="empty-output",
            field="output",
            when=blank["output"] & ~pl.col("excused"),
            value=pl.col("output"),
        ),
        Check(
            reason="empty-instruction",
            field="instruction",
            when=blank["instruction"] & blank["input"],
            value=pl.col("instruction"),
        ),
    )
