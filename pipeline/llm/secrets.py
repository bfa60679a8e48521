"""Taking keys out of what a server says, should it repeat them, in any of the spellings that servers use."""

import base64
import functools
import html
import json
import re
from collections.abc import Sequence
from urllib.parse import quote, quote_plus

MASK = "[key]"
"""Stands where a key stood."""

_WORD = re.compile(r"[A-Za-z_-]{0,19}")
"""What people set where a server wants any key at all (EMPTY, ollama, lm-studio, sk-no-key-required). Replies may hold
such words for reasons of their own, and would be spoilt if they were taken out."""

_ESCAPE = re.compile(r"%[0-9A-F]{2}")

_LEAST, _LEAST_ENCODED = 4, 8


def is_secret(value: str) -> bool:
    """Whether the value of a key's variable is one: at least four characters, and no short word."""
    return len(value) >= _LEAST and _WORD.fullmatch(value) is None


def scrubbed(text: str, secrets: Sequence[str]) -> str:
    """The text with every spelling of these secrets masked: as it is, and as URLs, JSON, HTML and base64 write it."""
    for secret in secrets:
        if not is_secret(secret):
            continue
        for form in forms_of(secret):
            if form in text:
                text = text.replace(form, MASK)
    return text


@functools.lru_cache(maxsize=64)
def forms_of(secret: str) -> tuple[str, ...]:
    """The spellings of a secret, longest first. Of base64, the part that is the same whatever stands around it."""
    urls = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    found = {secret, html.escape(secret), *urls, *(_ESCAPE.sub(lambda code: code[0].lower(), url) for url in urls)}
    if len(secret) >= _LEAST_ENCODED:
        for shift in range(3):
            found |= _base64_core(secret.encode(), shift)
    for _ in range(2):  # JSON, and JSON within a string of JSON
        found |= {json.dumps(form)[1:-1] for form in found}
        found |= {json.dumps(form, ensure_ascii=False)[1:-1] for form in found}
    found |= {form.replace("/", "\\/") for form in found}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def _base64_core(secret: bytes, shift: int) -> set[str]:
    """Base64 of bytes that begin at this place of a group of three, without what their neighbours decide."""
    plain, safe = (encode(b"\0" * shift + secret) for encode in (base64.b64encode, base64.urlsafe_b64encode))
    first = (shift * 8 + 5) // 6
    last = (shift + len(secret)) * 8 // 6
    return {plain[first:last].decode(), safe[first:last].decode()}
