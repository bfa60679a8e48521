"""The fake's tokens: four ASCII characters in a row make one, any other character makes one of its own.

About four bytes a token in English and one token a character in Chinese, as with the tokenizers of the trade; never
more tokens than bytes. A chat adds FRAME tokens for every message and PRIMING for the reply's opening.
"""

import re

FRAME = 4
PRIMING = 3

_TOKEN = re.compile(r"[\x00-\x7f]{1,4}|[^\x00-\x7f]")


def split(text: str) -> list[str]:
    """The tokens, which joined are the text."""
    return _TOKEN.findall(text)


def count(text: str) -> int:
    """How many tokens the text has."""
    return -(-len(text) // 4) if text.isascii() else len(_TOKEN.findall(text))


def cut(text: str, limit: int) -> str:
    """The first `limit` tokens of the text."""
    return text[: 4 * limit] if text.isascii() else "".join(split(text)[:limit])
