"""Answers that go round in circles."""

import polars as pl

from filters.check import Check, any_of

_CODE_OR_TABLE = r"```|</?\w+>|&lt;|[{};]\s*\n|\|[^\n]*\n[^\n]*\||\+---"
_WEEK = r"(?is)monday.*tuesday.*wednesday|(?:周|星期)一.*(?:周|星期)二"
"""Plans of a week say the same for most days."""
_SENTENCE = r"[^.!?。！？\n]{12,}|[^.!?。！？\n]*\p{Han}[^.!?。！？\n]{6,}"


def repetition(
    min_chars: int = 200,
    max_repeated_sentences: float = 0.7,
    min_distinct_words: float = 0.07,
    min_distinct_characters: float = 0.06,
) -> tuple[Check, ...]:
    """Object to long answers that say the same thing again and again, as a model stuck in a loop does.

    Sentences and lines are compared whole (after Gopher's duplicate-line fraction, Rae et al. 2021); in texts with
    hardly an end mark, words and Han characters are compared, which catches loops without punctuation. Measured are
    only answers of which some characters from the middle or from near the end occur three times. Refrains and drills
    repeat less than the thresholds; code, tables and plans of a week, which may repeat more, are left alone.

    Args:
        min_chars: shorter answers are not looked at.
        max_repeated_sentences: largest share of sentences of 12 characters or more that occurred before, among
            8 or more.
        min_distinct_words: smallest share of distinct words among 60 or more.
        min_distinct_characters: smallest share of distinct characters among 200 or more Han characters.
    """
    text = pl.col("output")
    prose = ~text.str.contains(any_of(_CODE_OR_TABLE, _WEEK))
    sentences = text.str.extract_all(_SENTENCE)
    repeated = 1 - sentences.list.n_unique() / sentences.list.len()
    unbroken = prose & (text.str.len_chars() >= 120 * sentences.list.len())
    words, characters = text.str.extract_all(r"\p{Latin}{2,}"), text.str.extract_all(r"\p{Han}")
    distinct_words = words.list.n_unique() / words.list.len()
    distinct_characters = characters.list.n_unique() / characters.list.len()
    found = (
        ("repeated-sentences", "repeated_sentences", repeated, prose & (sentences.list.len() >= 8)),
        ("repeated-words", "distinct_words", distinct_words, unbroken & (words.list.len() >= 60)),
        ("repeated-characters", "distinct_characters", distinct_characters, unbroken & (characters.list.len() >= 200)),
    )
    bounds = {
        "repeated_sentences": pl.col("repeated_sentences") > max_repeated_sentences,
        "distinct_words": pl.col("distinct_words") < min_distinct_words,
        "distinct_characters": pl.col("distinct_characters") < min_distinct_characters,
    }
    gate = _recurring(text, min_chars)
    return tuple(
        Check(
            reason=reason,
            field="output",
            when=bounds[name],
            value=pl.col(name).round(3),
            gate=gate,
            measured={name: pl.when(meant).then(share)},
        )
        for reason, name, share, meant in found
    )


def _recurring(text: pl.Expr, min_chars: int) -> pl.Expr:
    """Whether one of three pieces of a long text occurs three times: the cheap condition before all others."""
    pieces = (
        text.str.tail(40).str.head(16),
        text.str.slice(text.str.len_chars() // 2, 16),
        pl.when(text.str.contains(r"\p{Han}")).then(text.str.tail(13).str.head(9)),
    )
    recurring = pl.any_horizontal(text.str.count_matches(piece, literal=True) >= 3 for piece in pieces)
    return (text.str.len_chars() >= min_chars) & recurring.fill_null(False)
