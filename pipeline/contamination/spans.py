"""Where the tokens of a text stand in it: the evidence of what hashes have found."""

import re
import unicodedata

from pipeline.similar.tokens import SEPARATOR, SINGLE, fold, kind

_WORD = re.compile("[A-Za-z0-9]+")

Span = tuple[int, int]


def token_spans(text: str) -> list[Span]:
    """Begin and end of each token in the text as it stands, for the tokens of `grams.tokens_of`."""
    if text.isascii():
        return [match.span() for match in _WORD.finditer(text)]
    spans: list[Span] = []
    in_word = False
    for begin, end in _clusters(text):
        for character in fold(text[begin:end]):
            what = kind(ord(character))
            if what == SEPARATOR:
                in_word = False
            elif what == SINGLE or not in_word:
                spans.append((begin, end))
                in_word = what != SINGLE
            else:
                spans[-1] = (spans[-1][0], end)
    return spans


def _clusters(text: str) -> list[Span]:
    """Pieces that folding changes each by itself: a character with the marks, or parts of a syllable, behind it."""
    begins = [i for i, character in enumerate(text) if i == 0 or not _joins(character)]
    return list(zip(begins, [*begins[1:], len(text)], strict=True))


def _joins(character: str) -> bool:
    """Whether normalisation may melt a character into the one before it."""
    code = ord(character)
    return code >= 0x300 and (
        unicodedata.category(character)[0] == "M" or 0x1160 <= code <= 0x11FF or code in (0xFF9E, 0xFF9F)
    )


def found_span(text: str, begin: int, end: int) -> Span:
    """Where tokens `begin` to `end` stand in the text; all of it, should it have fewer of them."""
    spans = token_spans(text)
    if not 0 <= begin < end <= len(spans):
        return 0, len(text)
    return spans[begin][0], spans[end - 1][1]
