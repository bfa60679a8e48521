"""Verdicts: scores, yes or no, labels."""

import re

from pipeline.llm.fake.cue import Cue

_SLOT = re.compile(r"\{\{\s*(score|reason)\s*\}\}")


def score(cue: Cue) -> str:
    """A number from `low` to `high` in steps, gathered about `mean`, then a line with a reason.

    Faults at the stated shares: `unparsable` (words, no number), `out_of_range`.
    """
    low, high, step = (float(cue.params.get(k, d)) for k, d in (("low", 0), ("high", 5), ("step", 0.5)))
    slip = cue.slip()
    if slip == "unparsable":
        return cue.grammar.sentence("unclear", cue.dice)
    mean = float(cue.params.get("mean", low + 0.8 * (high - low)))
    steps = round((cue.dice.gauss(mean, (high - low) / 5) - low) / step)
    value = (
        high + (high - low)
        if slip == "out_of_range"
        else low + step * min(max(steps, 0), int((high - low) / step + 1e-9))
    )
    filled = {"score": f"{value:g}", "reason": cue.grammar.sentence("verdict", cue.dice)}
    return _SLOT.sub(lambda m: filled[m[1]], cue.params.get("template", "{{score}}\n{{reason}}"))


def yes_no(cue: Cue) -> str:
    """One of two words, the first at `yes_share`."""
    words = cue.params.get("words") or (["是", "否"] if cue.tongue == "zh" else ["Yes", "No"])
    return _with_reason(cue, words[0] if cue.dice.random() < cue.params.get("yes_share", 0.5) else words[1])


def label(cue: Cue) -> str:
    """One of `labels`."""
    return _with_reason(cue, cue.dice.choice(cue.params["labels"]))


def _with_reason(cue: Cue, word: str) -> str:
    if cue.slip() == "unparsable":
        return cue.grammar.sentence("unclear", cue.dice)
    return f"{word}\n{cue.grammar.sentence('verdict', cue.dice)}" if cue.params.get("reason") else word
