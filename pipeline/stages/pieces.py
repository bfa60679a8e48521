"""A long text in pieces, cut where a reader would pause."""

import re
from collections.abc import Iterator

_PAUSES = (re.compile(r"\n\s*"), re.compile(r"[.!?。！？；…]+[\"'”’)）]*\s*"), re.compile(r"[\s，、,;；]+"))
"""Ends of lines, of sentences, of words: the first kind that stands in the last quarter of a piece is taken."""


def pieces(text: str, most: int) -> Iterator[str]:
    """The text in pieces of at most `most` characters, which joined are the text; none of an empty one."""
    begin = 0
    while len(text) - begin > most:
        end = _pause(text, begin + most * 3 // 4 + 1, begin + most)
        yield text[begin:end]
        begin = end
    if begin < len(text):
        yield text[begin:]


def _pause(text: str, low: int, high: int) -> int:
    """Where to cut: behind the last pause that ends from `low` to `high`, else at `high`."""
    for pause in _PAUSES:
        ends = [match.end() for match in pause.finditer(text, low - 1, high) if match.end() >= low]
        if ends:
            return ends[-1]
    return high
