"""Rewrites: the instruction made harder by a clause, given data to work on, or replaced by a new one."""

from pipeline.llm.fake.cue import Cue

_STOPS = ".!?。！？"


def rewrite(cue: Cue) -> str:
    """The text at hand with one clause more (`how: constraint`), with data (`input`), or a new task (`broaden`).

    Faults at the stated shares: `unchanged`, `leaked` (words of the prompt come first), `refusal`, `empty`.
    """
    dice, words, text = cue.dice, cue.grammar, cue.text.strip()
    one_line = cue.question.path == "completions"  # lists of examples, a line each, which a line break would end
    slip, how = cue.slip(), cue.params.get("how", "constraint")
    if slip == "unchanged":
        return text
    if slip == "refusal":
        return words.sentence("refusal", dice)
    if slip == "empty":
        return ""
    if how == "broaden":
        new = words.sentence("task", dice)
    elif how == "input":
        new = f"{text} {words.sentence('data_line', dice)}" if one_line else f"{text}\n{words.sentence('data', dice)}"
    else:
        between = "\n" if "\n" in text and not one_line else "" if cue.tongue == "zh" else " "
        new = _joined(text, between, words.sentence("constraint", dice), "。" if cue.tongue == "zh" else ".")
    return f"{cue.params.get('leak', 'The rewritten prompt:')}\n{new}" if slip == "leaked" else new


def _joined(text: str, between: str, clause: str, stop: str) -> str:
    """Instruction and clause, each with a stop at its end."""
    closed = text if not text or text[-1] in _STOPS else text + stop
    return f"{closed}{between}{clause}{stop}"
