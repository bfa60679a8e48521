"""Answers: a plausible text about the question's own words."""

import re

from pipeline.llm.fake.cue import Cue
from pipeline.llm.fake.lexicon import language_of, translated

_WORD = re.compile(r"[A-Za-z][a-z]{4,}(?: [a-z]{5,})?")
_HAN = re.compile(r"[\u4e00-\u9fff]{2,6}")


def answer(cue: Cue) -> str:
    """About `words` words on the text at hand (in Chinese twice as many characters), in its language.

    Faults at the stated shares: `refusal`, `unfinished` (stops within a sentence), `empty`, `repeated` (one sentence
    over and over), `contact` (an e-mail address inside), `punctuation` (nothing else).
    """
    language = language_of(cue.text) if cue.params.get("language", "auto") == "auto" else cue.tongue
    text = _answer(cue)
    return text if language in ("en", "zh") else translated(text, language)


def _answer(cue: Cue) -> str:
    dice, words = cue.dice, cue.grammar
    slip = cue.slip()
    if slip == "refusal":
        return words.sentence("refusal", dice)
    if slip == "empty":
        return ""
    if slip == "punctuation":
        return "..."
    if slip == "repeated":
        return _join(cue, [words.sentence("repeated", dice)] * 12)
    size = cue.params.get("words", 60)
    text = sentences(cue, round(size * dice.uniform(0.6, 1.4)), closing=size > 30)
    if slip == "unfinished":
        kept = text[: max(1, round(len(text) * 0.7))].rstrip(" .。")
        return kept[: kept.rfind(" ")] if " " in kept else kept
    return _join(cue, [text, words.sentence("contact", dice)]) if slip == "contact" else text


def sentences(cue: Cue, size: int, closing: bool = False, about: str | None = None) -> str:
    """Whole sentences on the text at hand, or `about` another; `size` words or more (Chinese: twice the characters)."""
    dice, words = cue.dice, cue.grammar
    subject = _subject(cue, cue.text if about is None else about)
    found: list[str] = []
    length = 0
    for sentence in words.several("claim", dice, 2 + size // 12, subject=subject):
        if length >= size:
            break
        found.append(sentence)
        length += len(sentence) // 2 if cue.tongue == "zh" else sentence.count(" ") + 1
    while length < size:
        sentence = words.sentence("claim", dice, subject=subject)
        found.append(sentence)
        length += len(sentence) // 2 if cue.tongue == "zh" else sentence.count(" ") + 1
    if closing:
        found.append(words.sentence("closing", dice, subject=subject))
    return _join(cue, found)


def _subject(cue: Cue, text: str) -> str:
    """Some words of the text, or a topic when it has none to offer."""
    found = (_HAN if cue.tongue == "zh" else _WORD).findall(text[-4000:])
    return str(cue.dice.choice(found)).lower() if found else cue.grammar.phrase("topic", cue.dice)


def _join(cue: Cue, parts: list[str]) -> str:
    return ("" if cue.tongue == "zh" else " ").join(parts)
