"""Tokens for comparing texts: words where a script separates them, single characters where it does not."""

import functools
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from typing import Literal

Tokens = Literal["auto", "rouge", "characters", "jieba"]

Tokenizer = Callable[[str], list[str]]

SEPARATOR, WORD, SINGLE = 0, 1, 2
"""What a code point is to `characters`: between tokens, part of a word, or a token of its own."""

_ROUGE_WORD = re.compile("[a-z0-9]+")

_UNSPACED = (
    (0x0E00, 0x0FFF, "Thai, Lao, Tibetan"),
    (0x1000, 0x109F, "Myanmar"),
    (0x1100, 0x11FF, "Hangul Jamo"),
    (0x1780, 0x17FF, "Khmer"),
    (0x2E80, 0x2FDF, "Han radicals"),
    (0x3005, 0x3007, "Han iteration mark and zero"),
    (0x3021, 0x31FF, "kana, bopomofo, Hangul compatibility jamo"),
    (0x3400, 0x4DBF, "Han extension A"),
    (0x4E00, 0x9FFF, "Han"),
    (0xAC00, 0xD7FF, "Hangul"),
    (0xF900, 0xFAFF, "Han compatibility"),
    (0x20000, 0x3FFFF, "Han extensions B and later"),
)
"""Blocks whose letters are compared one by one: most of these scripts put no space between words, and Korean glues
its particles to them."""

_STARTS = tuple(first for first, _, _ in _UNSPACED)

_FOREIGN_SHARE = 0.3
"""`auto` leaves the English tokenizer when at least this share of a text's tokens has a letter outside ASCII. Alpaca's
52,002 instructions stay below; questions in Arabic, Chinese, Japanese and Korean are above, even those with code."""


def fold(text: str) -> str:
    """The text as it is compared: NFKC (full and half width become one) and lower case."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).lower()


def kind(code: int) -> int:
    """SEPARATOR, WORD or SINGLE for a code point of folded text."""
    character = chr(code)
    if not character.isalnum():
        # Vowel signs and accents belong to their word; variation selectors only choose how an emoji is drawn.
        mark = unicodedata.category(character) in ("Mn", "Mc") and not 0xFE00 <= code <= 0xFE0F
        if not mark or code >= 0xE0000:
            return SEPARATOR
    block = bisect_right(_STARTS, code) - 1
    return SINGLE if block >= 0 and code <= _UNSPACED[block][1] else WORD


class _Spacing(dict[int, str]):
    """A table for str.translate that learns each code point when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = {SEPARATOR: " ", WORD: character, SINGLE: f" {character} "}[kind(code)]
        return self[code]


_SPACING = _Spacing()


def rouge(text: str) -> list[str]:
    """The tokens of rouge-score's default tokenizer without stemming: runs of [a-z0-9] in the lower-cased text.

    It sees nothing of any other script.
    """
    return _ROUGE_WORD.findall(text.lower())


def characters(text: str) -> list[str]:
    """Every Han, kana, Hangul, Thai, Lao, Tibetan, Myanmar or Khmer character; other scripts by word.

    A word is a run of letters, digits and combining marks of the folded text; punctuation and symbols are dropped.
    On ASCII text this is `rouge`.
    """
    return _ROUGE_WORD.findall(text.lower()) if text.isascii() else fold(text).translate(_SPACING).split()


def auto(text: str) -> list[str]:
    """`characters` when at least three in ten of those tokens have a letter outside ASCII, else `rouge`.

    So English with a foreign phrase in it is compared exactly as rouge-score compares it, and so are languages that
    use few accents; all others are compared by their own words or characters.
    """
    if text.isascii():
        return rouge(text)
    tokens = characters(text)
    foreign = sum(not token.isascii() for token in tokens)
    return tokens if foreign and foreign >= _FOREIGN_SHARE * len(tokens) else rouge(text)


def jieba_words(text: str) -> list[str]:
    """Words as jieba cuts the folded text, punctuation dropped; for Chinese, and about a hundred times slower."""
    return [word for word in _jieba_cut()(fold(text)) if any(character.isalnum() for character in word)]


@functools.cache
def _jieba_cut() -> Callable[[str], list[str]]:
    import jieba

    jieba.setLogLevel("ERROR")
    cut: Callable[[str], list[str]] = jieba.lcut
    return cut


TOKENIZERS: dict[Tokens, Tokenizer] = {
    "auto": auto,
    "rouge": rouge,
    "characters": characters,
    "jieba": jieba_words,
}
