"""The first and the last words of an answer, as what can be compared across a set."""

import polars as pl

_WORD = r"[\p{Latin}\p{N}'’\-]+"
_HEAD_WORDS = rf"^\W*({_WORD}(?:\W+{_WORD}){{1,3}})"
_TAIL_WORDS = rf"({_WORD}(?:\W+{_WORD}){{1,3}})\W*$"
_HAN = r"\p{Han}"
_HAN_CHARS, _FEWEST_HAN = 6, 4

_FIRST_SENTENCE = r"(?s)^\s*[^\n.!?。！？]*(?:[.!?。！？]+[\"”’)）]*\s*|\n+)"
_LAST_SENTENCE = r"(?s)[^\n.!?。！？]*[.!?。！？\"”’)）]*\s*$"


def opening_sentence(text: pl.Expr) -> pl.Expr:
    """The first sentence or line with what follows it, "" when the text has only one."""
    found = text.str.extract(_FIRST_SENTENCE, 0).fill_null("")
    return (
        pl.when(text.str.strip_chars().str.len_chars() > found.str.strip_chars().str.len_chars())
        .then(found)
        .otherwise(pl.lit(""))
    )


def closing_sentence(text: pl.Expr) -> pl.Expr:
    """The last sentence or line, "" when the text has only one."""
    found = text.str.extract(_LAST_SENTENCE, 0).fill_null("")
    return (
        pl.when(text.str.strip_chars().str.len_chars() > found.str.strip_chars().str.len_chars())
        .then(found)
        .otherwise(pl.lit(""))
    )


def opening(text: pl.Expr) -> pl.Expr:
    """The first two to four words, or four to six Chinese characters, of a text of more than one sentence; else "
    "null."""
    return _key(opening_sentence(text), head=True)


def closing(text: pl.Expr) -> pl.Expr:
    """The last two to four words, or four to six Chinese characters, of such a text; else null."""
    return _key(closing_sentence(text), head=False)


def _key(sentence: pl.Expr, head: bool) -> pl.Expr:
    letters = sentence.str.replace_all(r"[^\p{L}\p{N}]+", "")
    han = letters.str.head(_HAN_CHARS) if head else letters.str.tail(_HAN_CHARS)
    words = sentence.str.extract(_HEAD_WORDS if head else _TAIL_WORDS, 1).str.to_lowercase()
    words = words.str.replace_all(r"\W+", " ")
    chinese = sentence.str.contains(_HAN) & (letters.str.len_chars() >= _FEWEST_HAN)
    return pl.when(chinese).then(han).otherwise(words)
