"""What a reply is made from."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.llm.fake.grammar import Grammar, Tongue, grammar
from pipeline.llm.fake.question import Question

_HAN = re.compile(r"[\u3400-\u9fff]")
_LATIN = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True, kw_only=True)
class Cue:
    """The text to work on, the settings of the rule and randomness addressed by the question and the sample.

    Attributes:
        kind: of the reply.
        sample: which of several samples is made.
        text: what the rule's `take` found, or the last message.
        tongue: the language to reply in.
    """

    question: Question
    kind: str
    sample: int
    text: str
    params: Mapping[str, Any]
    tongue: Tongue

    @cached_property
    def dice(self) -> random.Random:
        """Made when first thrown: many replies need none, and to seed one takes as long as to write a reply."""
        return self.question.dice(f"reply {self.kind}", self.sample)

    @property
    def grammar(self) -> Grammar:
        """Sentences in the language to reply in."""
        return grammar(self.tongue)

    def slip(self) -> str | None:
        """Which of the rule's `shares` befalls this reply, or None."""
        return drawn(self.params.get("shares", {}), self.dice.random())


def drawn(shares: Mapping[str, float], spot: float) -> str | None:
    """The name at `spot` in [0, 1) when each takes its share of the line, in the order given."""
    for name, share in shares.items():
        if spot < share:
            return name
        spot -= share
    return None


def tongue_of(text: str) -> Tongue:
    """`zh` when the text has at least as many Chinese characters as it has Latin words."""
    if text.isascii():
        return "en"
    han = len(_HAN.findall(text))
    return "zh" if han and han >= len(_LATIN.findall(text)) else "en"
