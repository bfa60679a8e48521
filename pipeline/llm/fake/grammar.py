"""Sentences from a grammar: symbols with alternatives, expanded with addressed randomness."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

Tongue = Literal["en", "zh"]

_SLOT = re.compile(r"\{\{|\}\}|\{([a-z_0-9]+)\}")
_SENTENCE_START = re.compile(r"((?:^|[.?!]\s)[\"'(]?)([a-z])")


@dataclass(frozen=True, slots=True)
class Grammar:
    """Symbols and their alternatives; an alternative is a list of (literal text, symbol that follows or None)."""

    tongue: Tongue
    rules: Mapping[str, tuple[tuple[tuple[str, str | None], ...], ...]]

    def sentence(self, symbol: str, dice: random.Random, **given: str) -> str:
        """An expansion of `symbol` with capitals where English sentences begin; `given` symbols have fixed texts."""
        text = self.phrase(symbol, dice, **given)
        return _SENTENCE_START.sub(lambda m: m[1] + m[2].upper(), text) if self.tongue == "en" else text

    def phrase(self, symbol: str, dice: random.Random, **given: str) -> str:
        """An expansion of `symbol` as it stands in the grammar."""
        if symbol in given:
            return given[symbol]
        alternatives = self.rules[symbol]
        chosen = alternatives[int(dice.random() * len(alternatives))]
        return "".join(text if follow is None else text + self.phrase(follow, dice, **given) for text, follow in chosen)

    def several(self, symbol: str, dice: random.Random, count: int, **given: str) -> list[str]:
        """`count` sentences of `symbol`, of different alternatives as long as there are any left."""
        alternatives = self.rules[symbol]
        sentences: list[str] = []
        while len(sentences) < count:
            for chosen in dice.sample(alternatives, min(count - len(sentences), len(alternatives))):
                parts = (t if follow is None else t + self.phrase(follow, dice, **given) for t, follow in chosen)
                text = "".join(parts)
                sentences.append(
                    _SENTENCE_START.sub(lambda m: m[1] + m[2].upper(), text) if self.tongue == "en" else text
                )
        return sentences


def _parts(alternative: str) -> tuple[tuple[str, str | None], ...]:
    """The alternative cut at its slots; `{{` and `}}` are literal braces."""
    parts: list[tuple[str, str | None]] = []
    literal, end = "", 0
    for match in _SLOT.finditer(alternative):
        literal += alternative[end : match.start()]
        end = match.end()
        if match[1] is None:
            literal += match[0][0]
        else:
            parts.append((literal, match[1]))
            literal = ""
    literal += alternative[end:]
    return tuple(parts) if not literal and parts else (*parts, (literal, None))


@cache
def grammar(tongue: Tongue) -> Grammar:
    """The grammar of `words.<tongue>.yaml`."""
    source: dict[str, list[Any]] = read_data(f"words.{tongue}.yaml")
    return Grammar(tongue, {name: tuple(_parts(str(a)) for a in lines) for name, lines in source.items()})


def read_data(name: str) -> Any:
    """A YAML data file that lies beside this module."""
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
