"""The markup in which tasks are shown to a model and come back: labels, numbers, separators, "no input"."""

import re
from dataclasses import dataclass
from typing import Literal

from filters.fixes import NO_INPUT as NO_INPUT_FIELD
from filters.fixes import NO_INPUT_PHRASE
from pipeline.record import Record

Language = Literal["en", "zh"]

Field = Literal["instruction", "input", "output", "label"]

LABELS: dict[Language, dict[Field, str]] = {
    "en": {"instruction": "Instruction:", "input": "Input:", "output": "Output:", "label": "Label:"},
    "zh": {"instruction": "指令：", "input": "输入：", "output": "输出：", "label": "类别："},
}
"""How our prompts label a task's fields; `label` is the answer to a classification task."""

NO_INPUT: dict[Language, str] = {"en": "<noinput>", "zh": "<无输入>"}
"""How our prompts show an empty input; Alpaca's and BELLE's convention."""

_SPELLINGS: dict[str, Field] = {
    "instruction": "instruction",
    "指令": "instruction",
    "input": "input",
    "输入": "input",
    "output": "output",
    "输出": "output",
    "class label": "label",
    "label": "label",
    "类别": "label",
}

Kind = Literal["text", "blank", "separator", "rule", "number", "label"]
"""`separator` is a line of exactly ###, as our prompts ask for it; `rule` is what models make of it (##, ####, ---);
`number` is a line that holds nothing but a list number such as "5."."""

_RULE = re.compile(r"(?:#{2,}|-{3,}|={3,}|\*{3,}|_{3,})")
_NUMBER = re.compile(r"(?:#{1,6}[ \t]*)?(\d{1,4})[ \t]*[.．、)）]")
_LABEL = re.compile(
    r"(?P<lead>[ \t>*#-]{0,12})(?:(?P<number>\d{1,4})[ \t]*[.．、)）:：][ \t]*)?\*{0,3}"
    rf"(?P<field>{'|'.join(_SPELLINGS)})\*{{0,3}}[ \t]*[:：]\*{{0,3}}[ \t]*",
    re.IGNORECASE,
)
_NOTHING = tuple(
    re.compile(pattern)
    for pattern in (
        NO_INPUT_FIELD,
        NO_INPUT_PHRASE,
        r"(?i)^\W*(?:no[\s_-]*inputs?|none|empty|not (?:needed|required))\W*$",
        r"^\W*(?:无|(?:无需?|没有|不需要?|暂无)\s*(?:任何)?\s*输入(?:内容)?)\W*$",
    )
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a reply, line break included.

    Attributes:
        field: what a label stands for.
        number: of a number line, or in front of a label.
        heading: whether two or more # stand in front of a label.
        content: what follows a label; the whole line otherwise.
    """

    raw: str
    kind: Kind
    content: str
    field: Field | None = None
    number: int | None = None
    heading: bool = False


def lines(text: str) -> list[Line]:
    """The text by lines; joined, their `raw` is the text."""
    return [_line(raw) for raw in re.split(r"(?<=\n)", text) if raw]


def _line(raw: str) -> Line:
    bare = raw.strip()
    if not bare:
        return Line(raw, "blank", raw)
    if _RULE.fullmatch(bare):
        return Line(raw, "separator" if bare == "###" else "rule", raw)
    if number := _NUMBER.fullmatch(bare):
        return Line(raw, "number", raw, number=int(number[1]))
    if label := _LABEL.match(raw):
        return Line(
            raw,
            "label",
            raw[label.end() :],
            field=_SPELLINGS[label["field"].lower()],
            number=int(label["number"]) if label["number"] else None,
            heading="##" in label["lead"],
        )
    return Line(raw, "text", raw)


def without_no_input(text: str) -> str:
    """The input, or an empty string when it only says that there is none, in any spelling."""
    return "" if any(pattern.match(text) for pattern in _NOTHING) else text.strip()


def shown(record: Record, number: int, language: Language) -> str:
    """A finished task as a demonstration: the separator and three labelled, numbered fields."""
    space = "" if language == "zh" else " "
    instruction, input, output = record.instruction.strip().rstrip(":："), record.input, record.output
    values: dict[Field, str] = {"instruction": instruction, "input": input or NO_INPUT[language], "output": output}
    labels = LABELS[language]
    return "\n".join(["###", *(f"{number}. {labels[field]}{space}{value}" for field, value in values.items())])


def listed(record: Record, number: int) -> str:
    """A task's instruction as a line of a numbered list."""
    return f"{number}. {' '.join(record.instruction.split())}"
