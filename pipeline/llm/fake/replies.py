"""The kinds of reply, and what a rule makes of a question."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UsageError
from pipeline.llm.fake.answer import answer, sentences
from pipeline.llm.fake.check import pattern
from pipeline.llm.fake.cue import Cue, tongue_of
from pipeline.llm.fake.lexicon import lexicon
from pipeline.llm.fake.question import Question
from pipeline.llm.fake.rewrite import rewrite
from pipeline.llm.fake.rule import Rule
from pipeline.llm.fake.tasks import given_input, tasks
from pipeline.llm.fake.translate import translate
from pipeline.llm.fake.verdict import label, score, yes_no

_SLOT = re.compile(r"\{\{\s*(\w+)\s*\}\}")

SLOTS: Mapping[str, Callable[[Cue], str]] = {
    "text": lambda cue: cue.text,
    "model": lambda cue: cue.question.model,
    "hash": lambda cue: cue.question.key,
    "input": lambda cue: given_input(cue),
    "answer": lambda cue: sentences(cue, cue.dice.randint(15, 45)),
    "label": lambda cue: cue.grammar.sentence("label", cue.dice),
    "task": lambda cue: cue.grammar.sentence("task", cue.dice),
    "number": lambda cue: str(cue.dice.randrange(1000)),
}
"""What a template may name."""


def text(cue: Cue) -> str:
    """The rule's own words."""
    return str(cue.params["text"])


def template(cue: Cue) -> str:
    """The rule's own words with the slots filled in."""
    return _SLOT.sub(lambda m: SLOTS[m[1]](cue), cue.params["template"])


KINDS: Mapping[str, Callable[[Cue], str]] = {
    "text": text,
    "template": template,
    "tasks": tasks,
    "rewrite": rewrite,
    "answer": answer,
    "translate": translate,
    "score": score,
    "yes_no": yes_no,
    "label": label,
}


@dataclass(frozen=True, slots=True)
class Said:
    """A sample before it is cut to what the caller allows."""

    text: str
    thinking: str = ""


def say(rule: Rule, question: Question, sample: int = 0) -> Said:
    """What the rule makes of the question; a function of the body, the script's seed and the sample's number."""
    source = _taken(rule, question)
    language = rule.params.get("language", "auto")
    cue = Cue(
        question=question,
        kind=rule.kind,
        sample=sample,
        text=source,
        params=rule.params,
        tongue=tongue_of(source) if language == "auto" else language,
    )
    said = KINDS[rule.kind](cue)
    thinking = rule.params.get("thinking")
    if thinking is None:
        return Said(said)
    thought = sentences(cue, thinking["words"])
    return Said(f"<think>\n{thought}\n</think>\n\n{said}") if thinking.get("as") == "tag" else Said(said, thought)


def _taken(rule: Rule, question: Question) -> str:
    if rule.take is not None:
        for text in (question.text, question.whole):
            if match := rule.take.search(text):
                return next((group for group in match.groups() if group is not None), "")
    return question.text


def check_reply(reply: Mapping[str, Any], file: str, place: str) -> None:
    """Raise UsageError for what the schema of a reply cannot say."""
    total = sum(reply.get("shares", {}).values())
    if total > 1 + 1e-9:
        raise UsageError(f"{file}: the shares in {place} add up to {total:g}, which is more than 1")
    for name in ("count_in", "first_in", "last_in", "to_in", "each", "without"):
        if name in reply and pattern(reply[name], file, f"{place}.{name}").groups < 1 and name != "without":
            raise UsageError(f"{file}: {place}.{name} has no group", "put the part that counts in parentheses")
    if reply["kind"] == "template":
        unknown = [name for name in _SLOT.findall(reply["template"]) if name not in SLOTS]
        if unknown:
            valid = ", ".join("{{" + name + "}}" for name in SLOTS)
            raise UsageError(f"{file}: {place}.template has no slot '{{{{{unknown[0]}}}}}' to fill", f"valid: {valid}")
    if reply["kind"] == "translate" and reply.get("to", "zh") not in lexicon():
        raise UsageError(
            f"{file}: {place}.to: the fake has no words of '{reply['to']}'", f"valid: {', '.join(lexicon())}"
        )
    if reply["kind"] == "score" and not reply.get("low", 0) < reply.get("high", 5):
        raise UsageError(f"{file}: {place}: 'low' must be less than 'high'")
