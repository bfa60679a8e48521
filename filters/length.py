"""Texts that are too short or too long."""

from typing import Literal

import polars as pl

from filters.check import Check


def length(
    field: Literal["instruction", "input", "output", "text"] = "output",
    min_words: int | None = None,
    max_words: int | None = None,
    min_chars: int | None = None,
    max_chars: int | None = 50_000,
) -> tuple[Check, ...]:
    """Object to a text of fewer or more words or characters than allowed.

    Words are jieba's in texts with Han characters, so thresholds in words cost a segmentation there; thresholds in
    characters cost nothing. The default only refuses answers that no trainer's context holds.

    Args:
        field: the text that is measured; `text` is the whole conversation.
        min_words: fewest words.
        max_words: most words.
        min_chars: fewest characters.
        max_chars: most characters.
    """
    scope: Literal["turn", "record"] = "record" if field == "text" else "turn"
    judged = ~pl.col("excused") if field == "output" else pl.lit(True)
    sizes = {"words": pl.col(f"{field}_words"), "chars": pl.col(f"{field}_chars").cast(pl.Int64)}
    limits = [("too-short", "words", min_words), ("too-short", "chars", min_chars)]
    limits += [("too-long", "words", max_words), ("too-long", "chars", max_chars)]
    return tuple(
        Check(
            reason=f"{reason}-{field}",
            field=field,
            when=judged & (sizes[unit] < limit if reason == "too-short" else sizes[unit] > limit),
            value=sizes[unit],
            scope=scope,
        )
        for reason, unit, limit in limits
        if limit is not None
    )
