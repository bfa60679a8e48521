"""Lists that start again."""

import polars as pl

from filters.check import Check

STRICT = r"\n1\. [^2]*\n1\. "
"""FastChat's own pattern (filter_wrong_format): it also hits two lists of one item each under headings."""

_FIRST_TWO = r"(?m)^[ \t]*1[.、．)）][ \t]*\S[^\n]*\n+[ \t]*2[.、．)）][ \t]*\S[^\n]*$"
_STRAIGHT_ON = r"(?m)^[ \t]*[2-9]\d?[.、．)）][ \t]*\S[^\n]*\n\s*1[.、．)）]"
"""An item with a later number, and number 1 on the line after it."""


def numbering(strict: bool = False) -> tuple[Check, ...]:
    """Object to an answer that writes its list a second time: the same items 1 and 2 twice, straight after the first.

    Such an answer was begun again, by a continued generation or a pasted reply; lists under several headings, and the
    menus of a game, only share their numbers.

    Args:
        strict: object to FastChat's pattern instead, whatever the items say.
    """
    output = pl.col("output")
    starts = output.str.extract_all(_FIRST_TWO).list.eval(pl.element().str.replace_all(r"\s+", " ").str.strip_chars())
    again = (starts.list.len() >= 2) & (starts.list.n_unique() < starts.list.len())
    return (
        Check(
            reason="numbering-restarts",
            field="output",
            when=output.str.contains(STRICT)
            if strict
            else again & output.str.contains(_STRAIGHT_ON) & ~output.str.contains("```|</?\\w+>"),
            value=output.str.extract(STRICT, 0) if strict else starts.list.first(),
            gate=output.str.count_matches(r"(?m)^[ \t]*1[.、．)）]") >= 2,
        ),
    )
