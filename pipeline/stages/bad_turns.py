"""Conversations of which only some answers are bad: cut before the first, or kept with those answers masked."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import polars as pl

from pipeline.record import MESSAGES, SCHEMA

Handling = Literal["drop", "cut", "mask"]


def spared(
    block: pl.DataFrame, turns: Mapping[int, Mapping[int, str]], whole: Iterable[int], how: Handling
) -> tuple[pl.DataFrame, set[int], dict[str, int]]:
    """Cut or mask the rows that have something good to keep.

    Args:
        turns: row number -> turn -> reason, for the turns that are bad.
        whole: rows that are bad as a whole.

    Returns:
        The block with those conversations changed; their row numbers; reason -> how many were changed for it. A row
        with preference answers is left alone, and so is one of which nothing good comes before the first bad answer
        (`cut`) or at all (`mask`).
    """
    if how == "drop":
        return block, set(), {}
    bad = set(turns) - set(whole)
    candidates = block.with_row_index("at").filter(pl.col("at").is_in(list(bad)) & pl.col("chosen").is_null())
    changed: dict[int, list[dict[str, Any]]] = {}
    counts = Counter[str]()
    for at, messages in candidates.select("at", "messages").iter_rows():
        mended = _before(messages, min(turns[at])) if how == "cut" else _masked(messages, set(turns[at]))
        if mended:
            changed[at] = mended
            counts[f"{how}-{turns[at][min(turns[at])]}"] += 1
    if not changed:
        return block, set(), {}
    new = pl.DataFrame(
        {"at": list(changed), "changed": list(changed.values())}, schema={"at": pl.UInt32, "changed": MESSAGES}
    )
    joined = block.with_row_index("at").join(new, on="at", how="left", maintain_order="left")
    return joined.with_columns(messages=pl.coalesce("changed", "messages")).select(SCHEMA.names()), set(changed), counts


def _before(messages: list[dict[str, Any]], turn: int) -> list[dict[str, Any]]:
    """The messages before the question of a turn; none when no answer would be left."""
    asked = [at for at, message in enumerate(messages) if message["role"] == "user"]
    kept = messages[: asked[turn]] if turn < len(asked) else []
    return kept if any(message["role"] == "assistant" for message in kept) else []


def _masked(messages: list[dict[str, Any]], bad: set[int]) -> list[dict[str, Any]]:
    """The messages with weight 0 for the answers of bad turns; none when no other answer is left."""
    turn, left, out = -1, 0, []
    for message in messages:
        turn += message["role"] == "user"
        answer = message["role"] == "assistant"
        left += answer and turn not in bad
        out.append(message | {"weight": 0.0} if answer and turn in bad else message)
    return out if left else []
