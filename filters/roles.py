"""The order of roles in a conversation."""

import polars as pl

from filters.check import Check

_ANSWER = r"assistant(?:(?:,tool)+,assistant)*"
ORDER = rf"^(?:system,)*user(?:,{_ANSWER},user)*(?:,{_ANSWER}(?:,tool)*)?$"
"""Turns alternate; tool results follow the assistant's call; a last question may stand open (preference data)."""


def roles() -> tuple[Check, ...]:
    """Object when the roles do not alternate as trainers require (FastChat's cleaning, LLaMA-Factory's loader)."""
    return (
        Check(
            reason="wrong-role-order",
            field="roles",
            when=~pl.col("roles").str.contains(ORDER),
            value=pl.col("roles"),
            scope="record",
        ),
    )
