"""Stanford Alpaca's own rules for a generated instruction."""

import polars as pl

from filters.check import Check, matching

BLOCKED = r"images?|graphs?|pictures?|files?|maps?|draw|plot|go to|video|audio|music|flowchart|diagram"
_PUNCTUATION = r"!-/:-@\[-`{-~"
"""The ASCII ranges of Python's string.punctuation."""


def alpaca(min_words: int = 4, max_words: int = 150) -> tuple[Check, ...]:
    """Object to instructions as stanford_alpaca/generate_instruction.py does; inputs and outputs are not looked at.

    Made for English: an instruction that starts with a non-ASCII character is refused. No row of alpaca_data.json
    breaks these rules.

    Args:
        min_words: fewest white-space separated words (Alpaca drops 3 and fewer).
        max_words: most words.
    """
    words = pl.col("instruction").str.count_matches(r"\S+")
    return (
        Check(
            reason="alpaca-length",
            field="instruction",
            when=(words < min_words) | (words > max_words),
            value=words,
        ),
        matching("alpaca-blocked-word", "instruction", rf"(?i)\b(?:{BLOCKED})\b"),
        matching("alpaca-program", "instruction", r"^Write a program"),
        matching("alpaca-start", "instruction", rf"^[{_PUNCTUATION}[^\x00-\x7f]]"),
    )
