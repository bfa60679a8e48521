"""Rewrites: the instruction made harder by a clause, given data to work on, or replaced by a new one."""

from pipeline.llm.fake.cue import Cue

_STOPS = ".!?。！？"


def rewrite(cue: Cue) -> str:
    """The text at hand with one clause more (`how: constraint`), with data (`input`), or a new task (`broaden`).

    Faults at the stated shares: `unchanged`, `leaked` (words of the prompt come first), `refusal`, `empty`.
    """
    dice, words, text = cue.dice, cue.grammar, cue.text.strip()
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
        new = f"{text}\n{words.sentence('data_input', dice)}"
    else:
        new = _joined(text, words.sentence("constraint", dice), cue.tongue == "zh")
    return f"{cue.params.get('leak', 'The rewritten prompt:')}\n{new}" if slip == "leaked" else new


def _joined(text: str, clause: str, chinese: bool) -> str:
    """Instruction and clause as sentences; a clause after several lines stands on a line of its own."""
    stop = "。" if chinese else "."
    closed = text if not text or text[-1] in _STOPS else text + stop
    between = "\n" if "\n" in text else "" if chinese else " "
    return f"{closed}{between}{clause}{stop}"
