"""Replies to "write more tasks like these": a numbered list that goes on where the prompt stops."""

import random
import re

from pipeline.llm.fake.answer import sentences
from pipeline.llm.fake.cue import Cue, drawn

_FIELDS = {"en": ("Instruction:", "Input:", "Output:"), "zh": ("指令：", "输入：", "输出：")}
_NUMBER = re.compile(r"^[#\s]*(\d+)\s*[.．、)]", re.MULTILINE)
_OPEN_END = re.compile(r"(\d+)\s*[.．、)]\s*(?:(?:Instruction|指令)\s*[:：])?\s*\Z")
_LABEL = re.compile(r"\b(?:Instruction|Input|Output)\s*:|(?:指令|输入|输出)\s*[:：]")
_DEMONSTRATION = re.compile(
    r"^[#\s]*\d+\s*[.．、)][ \t]*(?:(?:Instruction|指令)[ \t]*[:：])?[ \t]*(\S.+)$", re.MULTILINE
)
_NO_INPUT = re.compile(r"<(?:no ?input|无输入)>", re.IGNORECASE)


def tasks(cue: Cue) -> str:
    """Records in the markup of the Alpaca prompt, or a plain numbered list of instructions.

    Faults at the stated shares, each of one record: `near_copy` of a demonstration, too `short`, about an `image`,
    separator `drift` (## for ###, or none), `missing_field`, `empty_output`, `merged` (another record begins in it and
    is not finished). A `preamble_share` of the replies begins with a courtesy.
    """
    prompt = cue.text
    open_end = _OPEN_END.search(prompt)
    number = int(open_end[1]) if open_end else _named(cue, "first_in") or _last_number(prompt) + 1
    last = _named(cue, "last_in") or number + cue.params.get("count", 10) - 1
    count = max(1, _named(cue, "count_in") or last - number + 1)
    fields = cue.params.get("fields", "auto")
    plain = fields == "instruction" or (fields == "auto" and not _LABEL.search(prompt))
    demonstrations = [d for d in _DEMONSTRATION.findall(prompt) if not _LABEL.match(d)]
    separator = cue.params.get("separator", "###")
    text = "" if open_end or plain else f"{separator}\n"
    if not open_end and cue.dice.random() < cue.params.get("preamble_share", 0):
        text = f"{cue.grammar.sentence('courtesy', cue.dice)}\n{text}"
    for i in range(number, number + count):
        slip = drawn(cue.params.get("shares", {}), cue.dice.random())
        instruction, input = _task(cue, slip, demonstrations)
        head = " " if open_end and i == number else f"{i}. " if plain else f"{i}. {_FIELDS[cue.tongue][0]} "
        text += head + instruction
        if not plain:
            text += _rest(cue, i, slip, instruction, input)
        if i < number + count - 1:
            between = "\n" if plain else f"\n{separator}\n"
            text += between if slip != "drift" or plain else cue.dice.choice((f"\n{separator[:-1]}\n", "\n"))
    return text


def given_input(cue: Cue) -> str:
    """A passage, or for three tasks in ten the words that say there is no input."""
    none = "<无输入>" if cue.tongue == "zh" else "<noinput>"
    return none if cue.dice.random() < 0.3 else cue.grammar.sentence("passage", cue.dice)


def _named(cue: Cue, setting: str) -> int | None:
    """The number that a setting's expression finds in the prompt."""
    found = re.search(cue.params[setting], cue.text) if setting in cue.params else None
    return int(found[1]) if found else None


def _last_number(prompt: str) -> int:
    """The number of the last numbered line, 0 when there is none."""
    return int((_NUMBER.findall(prompt) or [0])[-1])


def _task(cue: Cue, slip: str | None, demonstrations: list[str]) -> tuple[str, str]:
    """An instruction and its input, which is empty for those that need none."""
    words, dice = cue.grammar, cue.dice
    if slip == "short":
        return words.sentence("too_short", dice), ""
    if slip == "image":
        return words.sentence("picture_task", dice), ""
    if slip == "near_copy" and demonstrations:
        return _near_copy(dice.choice(demonstrations).strip(), words.phrase("audience", dice), dice), ""
    if dice.random() < cue.params.get("input_share", 0.35):
        return words.sentence("task_with_input", dice), words.sentence("passage", dice)
    return words.sentence("task", dice), ""


def _near_copy(text: str, other: str, dice: random.Random) -> str:
    """The text with one word, or two Chinese characters, exchanged."""
    parts = text.split(" ") if " " in text else re.findall(r".{1,2}", text)
    parts[dice.randrange(len(parts))] = other
    return (" " if " " in text else "").join(parts)


def _rest(cue: Cue, number: int, slip: str | None, instruction: str, input: str) -> str:
    """The record's lines after its instruction."""
    shown = _NO_INPUT.search(cue.text)
    none = cue.params.get("no_input") or (shown[0] if shown else "<无输入>" if cue.tongue == "zh" else "<noinput>")
    first, second, third = _FIELDS[cue.tongue]
    output = "" if slip == "empty_output" else sentences(cue, cue.dice.randint(15, 45), about=instruction)
    lines = [f"{number}. {second}\n{input or none}", f"{number}. {third}\n{output}"]
    if slip == "merged":
        lines += [f"{first} {cue.grammar.sentence('task', cue.dice)}", f"{second} {none}"]
    if slip == "missing_field":
        del lines[cue.dice.randrange(2)]
    return "\n" + "\n".join(lines)
