"""Answers that stop in the middle."""

import polars as pl

from filters.check import Check

_INVISIBLE = "\u200b\u200c\u200e\u200f\u2060\ufeff"
_TEXT = pl.col("output").str.strip_chars_end().str.strip_chars_end(_INVISIBLE).str.strip_chars_end()

_STOP = r"[.!?…。！？；;~～♪\"'”’』」》）)\]}>`|*_=—/\p{So}\p{Emoji_Presentation}\x{fe0f}]$"
_ITEM = (
    r"^(?:[-*•·–—#>|+]|\(?\d{1,3}[.)、:：）]|[A-Za-z][.)]\s|[（(]?[一二三四五六七八九十]{1,3}[、)）.]|"
    r"[^\n:：]{1,30}[:：])"
)
_FREE_END = r"(?i)https?://\S+$|# ?\w+$|@\w+$|^(?:sincerely|regards|yours|love|best|thanks|cheers|--)"
_CODE = (
    r"```|[{};]\s*(?:\n|$)|(?m)^\s*(?:def|class|import|from|return|print|console|var|let|const|function|public|SELECT|INSERT|"
    r"UPDATE|CREATE|FROM|WHERE|#include|<[a-z!/])\b|\w\(\)|=>|==|\s=\s|\$|\\\\"
)
_ENDED_BEFORE = r"[a-z]{3}[\"”)]?[.!?][\"”)]? [\"“]?[A-Z]|[。！？]"
_ENDED_ABOVE = r"[a-z\d)][.!?][\"”]?$|[。！？；]$"
_CUT = (
    r"^(?:\d{1,2}[.)] |[-*•] )?[\"“]?[A-Z][^\n]{24,}\s(?:the|an?|and|or|of|is|are|was|were|because|equal to|such as|"
    r"due to|as well as|their|its|which|into|between|including)$|"
    r"\p{Han}[^\n]{10,}(?:[，、（“《]|以及|并且|或者|因为|但是|例如|比如|包括|由于|如果|虽然|为了|通过)$|[以如]下[^\n，。]*[：:]$"
)
_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_CUT_YEAR = (
    rf"[A-Za-z][^\n]{{24,}}(?:\b(?:{_MONTH}(?: \d{{1,2}}(?:st|nd|rd|th)?)?,?(?: of)?|"
    rf"as of|since|year)|[a-z_,)] in) (?:18|19|20)$"
)
"""A year that lost its end: Alpaca's stop string "20." cut answers there."""
_CUT_LATE = (
    r"^[\"“]?[A-Z][^\n]{50,}\s(?:to|from|with|by|for|but|that|than|when|if)$|"
    r"\p{Han}[^\n]{20,}(?:到|和|与|或|及|在|把|被|将|从|向|该|这|那)$|"
    r"[（(][^（）()\n]{1,40}$"
)
"""A word, or an open bracket, that the end of a long line cannot be."""
_BARE_ITEM = r"(?s)(?:^|\n)\d{1,2}[.、] ?[^\n：:]{1,24}[：:][^\n]{8,}.*\n\d{1,2}[.、] ?[^\n：:]{1,24}[：:]$"
"""A last item that has only its heading, where an earlier one has more."""


def ending(min_chars: int = 200, min_line: int = 40) -> tuple[Check, ...]:
    """Object to a last answer whose last sentence is unfinished and to a code fence that is never closed.

    After the completeness test reported for GPT-4-LLM's Chinese data (issue 29: the last character, from 200
    characters on), narrowed to prose: the last line must be a long line of words without an end mark whose
    neighbours have theirs; list items, tables, code, verse and signatures may end as they like. Shorter answers count
    only when they stop at a word or mark that cannot be the end. Earlier answers of a conversation may have been
    continued on request.

    Args:
        min_chars: answers shorter than this are only tested for an impossible last word.
        min_line: last lines shorter than this are no sentences (a Han character counts as two).
    """
    open_end = pl.col("final") & ~_TEXT.str.tail(4).str.contains(_STOP)
    line = _TEXT.str.extract(r"([^\n]*)$", 1).str.strip_chars()
    cut = line.str.contains(_CUT) | line.str.contains(_CUT_YEAR)

    width = line.str.len_chars() + line.str.count_matches(r"\p{Han}")
    long = (_TEXT.str.len_chars() >= min_chars) & (width >= min_line)
    prose = long & ~line.str.contains(_ITEM) & ~line.str.contains(_FREE_END)
    above = _TEXT.str.extract(r"(?s)^(.*\S)\s*\n[^\n]*$", 1).fill_null("")
    sentences = above.str.count_matches(r"[.!?。！？]") >= 2
    unfinished = prose & (line.str.contains(_ENDED_BEFORE) | (above.str.tail(4).str.contains(_ENDED_ABOVE) & sentences))
    late = (_TEXT.str.len_chars() >= 40) & (line.str.contains(_CUT_LATE) | _TEXT.str.contains(_BARE_ITEM))

    open_fence = pl.col("final") & (pl.col("output").str.count_matches(r"(?m)^\s*```") % 2 == 1)
    fenced = pl.col("output").str.contains("```", literal=True)
    stops = (unfinished | cut | late) & ~pl.col("output").str.contains(_CODE)
    return (
        Check(reason="unclosed-code", field="output", when=open_fence, value=_TEXT.str.tail(60), gate=fenced),
        Check(reason="unfinished-ending", field="output", when=stops, value=_TEXT.str.tail(60), gate=open_end),
    )
