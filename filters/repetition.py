"""Answers that go round in circles."""

import polars as pl

from filters.check import Check

_CODE_OR_TABLE = r"```|</?\w+>|&lt;|[{};]\s*\n|\|[^\n]*\n[^\n]*\||\+---"
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
    only answers of which 16 characters from the middle or from near the end occur three times. Refrains and drills
    repeat less than the thresholds; code and tables, which may repeat more, are left alone.

    Args:
        min_chars: shorter answers are not looked at.
        max_repeated_sentences: largest share of sentences of 12 characters or more that occurred before, among
            8 or more.
        min_distinct_words: smallest share of distinct words among 60 or more.
        min_distinct_characters: smallest share of distinct characters among 200 or more Han characters.
    """
    text = pl.col("output")
    pieces = (text.str.tail(40).str.head(16), text.str.slice(text.str.len_chars() // 2, 16))
    recurring = pl.any_horizontal(text.str.count_matches(piece, literal=True) >= 3 for piece in pieces)
    gate = (text.str.len_chars() >= min_chars) & recurring
    prose = ~text.str.contains(_CODE_OR_TABLE)
    sentences = text.str.extract_all(_SENTENCE)
    repeated = 1 - sentences.list.n_unique() / sentences.list.len()
    unbroken = prose & (text.str.len_chars() >= 120 * sentences.list.len())
    words = text.str.extract_all(r"\p{Latin}{2,}")
    distinct_words = words.list.n_unique() / words.list.len()
    characters = text.str.extract_all(r"\p{Han}")
    distinct_characters = characters.list.n_unique() / characters.list.len()
    return (
        Check(
            reason="repeated-sentences",
            field="output",
            when=prose & (sentences.list.len() >= 8) & (repeated > max_repeated_sentences),
            value=repeated.round(3),
            gate=gate,
        ),
        Check(
            reason="repeated-words",
            field="output",
            when=unbroken & (words.list.len() >= 60) & (distinct_words < min_distinct_words),
            value=distinct_words.round(3),
            gate=gate,
        ),
        Check(
            reason="repeated-characters",
            field="output",
            when=unbroken & (characters.list.len() >= 200) & (distinct_characters < min_distinct_characters),
            value=distinct_characters.round(3),
            gate=gate,
        ),
    )
