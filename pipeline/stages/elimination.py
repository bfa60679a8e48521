"""When an evolution has failed: the rules of Evol-Instruct that need no model, and the judge's verdict.

Source: Xu et al., WizardLM (2023): eliminated are tasks that gained nothing, whose answers are apologies or have no
content, or that copy words of the evolving prompt.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from pipeline.prompt import Prompt
from pipeline.similar.tokens import auto
from pipeline.stages.task_markup import Language

SHORT_ANSWER = 80
"""An answer with an apology in it is a refusal below so many words (characters of Chinese)."""

_OPENING_APOLOGY: dict[Language, re.Pattern[str]] = {
    "en": re.compile(r"\W*(?:(?:i[’']?m|i am|we are)\s+(?:very |so |really )?)?sorry\b", re.IGNORECASE),
    "zh": re.compile(r"\W*(?:我)?(?:很|非常|十分)?(?:抱歉|对不起|對不起)"),
}

_APOLOGY: dict[Language, re.Pattern[str]] = {
    "en": re.compile(r"\bsorry\b", re.IGNORECASE),
    "zh": re.compile(r"抱歉|对不起|對不起"),
}

COPIED_RUN: dict[Language, int] = {"en": 6, "zh": 12}
"""So many words (characters of Chinese) in a row that stand in the prompt, but not in the task, are copied from it."""

_PROMPT_WORDS = (
    *("<task>", "</task>", "rewritten task", "rewritten prompt", "rewritten:", "original task", "given prompt"),
    *("created prompt", "new prompt", "new task:", "#the given", "the task below"),
    *("改写后的任务", "改写后的指令", "改写如下", "改写：", "原任务", "原题", "给定的提示", "新任务：", "下面的任务"),
)
"""What stands around a task in our prompts and in WizardLM's; a model may leak it in either language."""

_ENGLISH = """
a about above after again all also am an and any are as at be because been before being below between both but by can
could did do does doing down during each few for from further had has have having he her here hers him his how i if in
into is it its just me more most my of off on once only or other our ours out over own same she should so some such than
that the their theirs them then there these they this those through to too under until up very was we were what when
where which while who whom why will with would you your yours
"""

STOP_WORDS: dict[Language, frozenset[str]] = {
    "en": frozenset(_ENGLISH.split()),
    "zh": frozenset("的了是在和与也就都而及着或一个我你他她它们这那有为以于之其吧呢吗啊把被让给从到对很还又再"),
}
"""Words that say nothing by themselves. Yes, no, not, 不 and 没 do, and so does every number."""

_EQUAL: dict[Language, re.Pattern[str]] = {
    "en": re.compile(r"\W*(?:(equal)|(different|not equal))\b", re.IGNORECASE),
    "zh": re.compile(r"\W*(?:(相同|一样)|(不同|不相同|不一样))"),
}


def text_fault(parent: str, child: str, prompt: Prompt, language: Language) -> str | None:
    """Why an evolved text is no new task, or None.

    `unchanged` (but for case, punctuation and white space); `no-gain` (it only leaves words of the parent out
    or moves them about); `prompt-leak` (words of the evolving prompt); `apology`.
    """
    if copied(parent, child, prompt, language):
        return "prompt-leak"
    if is_apology(child, language) and _OPENING_APOLOGY[language].match(child) and not is_apology(parent, language):
        return "apology"
    old, new = auto(parent), auto(child)
    if old == new:
        return "unchanged"
    return "no-gain" if new and not Counter(new) - Counter(old) else None


def answer_fault(answer: str, language: Language) -> str | None:
    """Why an answer shows that its task cannot be answered, or None: `apology` or `no-content`."""
    if is_apology(answer, language):
        return "apology"
    return None if has_content(answer, language) else "no-content"


def is_apology(text: str, language: Language) -> bool:
    """Whether the text is short and says sorry."""
    size = len("".join(text.split())) if language == "zh" else len(text.split())
    return size < SHORT_ANSWER and _APOLOGY[language].search(text) is not None


def has_content(text: str, language: Language) -> bool:
    """Whether there is anything but punctuation and stop words."""
    if language == "zh":
        return any(unicodedata.category(c)[0] in "LN" and c not in STOP_WORDS["zh"] for c in text)
    return any(word not in STOP_WORDS["en"] for word in re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())) or any(
        unicodedata.category(c) in ("Sm", "Sc", "So") for c in text
    )


def copied(parent: str, child: str, prompt: Prompt, language: Language) -> str | None:
    """Words that the child has from the prompt and not from the parent, or None."""
    low, origin = child.lower(), parent.lower()
    for words in _PROMPT_WORDS:
        if words in low and words not in origin:
            return words
    size = COPIED_RUN[language]
    foreign = _runs(auto(prompt.text), size) - _runs(auto(parent), size)
    tokens = auto(child)
    return next((" ".join(run) for run in _runs_of(tokens, size) if run in foreign), None)


def verdict(text: str, language: Language) -> bool | None:
    """Whether a judge finds parent and child equal; None when the reply does not begin with either word."""
    found = _EQUAL[language].match(text)
    return None if found is None else found[1] is not None


def _runs_of(tokens: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]


def _runs(tokens: Sequence[str], size: int) -> set[tuple[str, ...]]:
    return set(_runs_of(tokens, size))
