"""Texts whose numbers are out of bounds: shares of characters, words, lines and repeated runs."""

from collections.abc import Mapping
from typing import Literal

import polars as pl

from filters.check import Check, Scope

LOW = {
    "chars": "too-few-characters",
    "alnum_ratio": "few-letters",
    "special_ratio": "few-special-characters",
    "mean_line": "short-lines",
    "max_line": "no-long-line",
    "word_count": "too-few-words",
    "mean_word": "short-words",
    "alpha_words": "few-words-with-letters",
    "stop_ratio": "few-stop-words",
    "gopher_words": "few-common-words",
    "token_estimate": "too-few-tokens",
}
"""Measure -> reason when it is too small."""

HIGH = {
    "chars": "too-many-characters",
    "alnum_ratio": "only-letters",
    "special_ratio": "many-special-characters",
    "mean_line": "long-lines",
    "max_line": "very-long-line",
    "word_count": "too-many-words",
    "mean_word": "long-words",
    "digit_ratio": "many-digits",
    "stop_ratio": "only-stop-words",
    "token_estimate": "too-many-tokens",
    "hash_ratio": "many-hash-signs",
    "ellipsis_ratio": "many-ellipses",
    "bullet_lines": "only-bullet-lines",
    "ellipsis_lines": "lines-trail-off",
    "char_repetition": "repeated-character-runs",
    "word_repetition": "repeated-word-runs",
    "repeated_lines": "repeated-lines",
    "repeated_line_chars": "repeated-lines",
    "repeated_paragraphs": "repeated-paragraphs",
    "repeated_paragraph_chars": "repeated-paragraphs",
    "top_2gram": "frequent-run",
    "top_3gram": "frequent-run",
    "top_4gram": "frequent-run",
    **{f"repeated_{n}gram": "repeated-runs" for n in range(5, 11)},
}
"""Measure -> reason when it is too large."""

_PER_WORD = {"hash_ratio": "hash_count", "ellipsis_ratio": "ellipsis_count"}

AT_MOST = {"char_repetition": 0.65}
"""What no longer text worth keeping exceeds, tables, code, verse and Morse included. (Shares of letters are no such
thing: tables and Morse code have hardly any.)"""


def statistics(
    field: Literal["instruction", "input", "output", "text"] = "output",
    at_least: dict[str, float] | None = None,
    at_most: dict[str, float] | None = None,
    min_chars: int = 120,
) -> tuple[Check, ...]:
    """Object to texts one of whose measures (`pipeline.measures`) is below or above its bound.

    Made for web pages, these numbers know neither code nor tables nor one-word answers; the presets `data-juicer`,
    `alpaca-cot`, `flagdata` and `gopher` hold the published bounds. Without bounds, AT_MOST is used.

    Args:
        field: the text that is measured; `text` is the whole conversation.
        at_least: measure -> smallest value that is kept; the names are those of LOW.
        at_most: measure -> largest value that is kept; the names are those of HIGH.
        min_chars: shorter texts are not measured; empty ones never are, for that is what `empty` is for.

    Raises:
        ValueError: a name is not known.
    """
    if at_least is None and at_most is None:
        at_most = AT_MOST
    scope: Scope = "record" if field == "text" else "turn"
    checks = []
    for bounds, reasons in ((at_least or {}, LOW), (at_most or {}, HIGH)):
        for name, bound in bounds.items():
            reason = _reason(name, reasons)
            value = _measured(field, name)
            when = value < bound if reasons is LOW else value > bound
            long = pl.col(f"{field}_chars") >= max(1, min_chars)
            checks.append(Check(reason=reason, field=field, when=long & when, value=value.round(3), scope=scope))
    return tuple(checks)


def _reason(name: str, reasons: Mapping[str, str]) -> str:
    if name not in reasons:
        raise ValueError(f"unknown measure '{name}'; valid ones: {', '.join(reasons)}")
    return reasons[name]


def _measured(field: str, name: str) -> pl.Expr:
    if name in _PER_WORD:
        return pl.col(f"{field}_{_PER_WORD[name]}") / pl.col(f"{field}_word_count")
    return pl.col(f"{field}_{name}")
