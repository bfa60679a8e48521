"""A reply that lists tasks, taken apart: each piece is a task or is set aside with the reason why it is none."""

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.stages.task_markup import Field, Line, lines, without_no_input

_LETTERS: dict[Field | None, str] = {"instruction": "I", "input": "X", "output": "O"}
_ITEM = re.compile(
    r"[ \t>*#]{0,12}(?:(\d{1,4})[ \t]*[.．、)）:：]|[-•·][ \t])[ \t]*"
    r"(?:\*{0,2}(?:instruction|task|指令|任务)\*{0,2}[ \t]*[:：][ \t]*)?",
    re.IGNORECASE,
)
_WRAPPED = re.compile(r'\*\*(.+)\*\*|"([^"]+)"|“([^”]+)”')


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of a reply; the `raw` of all pieces, joined, is the reply.

    Attributes:
        number: the number it bears, or None.
        input: empty when the task says that it needs none.
        reason: why it is no task: `preamble`, `unparsable`, `merged`, `truncated`, `missing-instruction`,
            `missing-output` or `empty-output`; None for a task.
    """

    raw: str
    number: int | None = None
    instruction: str = ""
    input: str = ""
    output: str = ""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TaskList:
    """The pieces of a reply in order, and how often its markup was not quite what was asked for.

    Attributes:
        drift: `separator` (another one than ###, or none), `numbering` (not the number that should follow),
            `no_input_label` (that line left out) and `split` (records run together that could be told apart).
    """

    pieces: tuple[Piece, ...]
    drift: Mapping[str, int]


def parse_tasks(text: str, first: int, *, opened: bool = False, truncated: bool = False) -> TaskList:
    """Take apart a reply in the markup of `task_markup.shown`.

    Args:
        text: the reply; any text at all.
        first: the number that its first task should bear.
        opened: whether the prompt ended with the first task's instruction label, so that the reply goes on after it.
        truncated: whether the reply was cut off, which makes its last piece, and only that, suspect.
    """
    drift = Counter[str]()
    pieces: list[Piece] = []
    for group in _groups(_opened(lines(text), first) if opened else lines(text), truncated):
        found = _pieces(group, drift)
        if found[0].reason is None and pieces:
            drift["separator"] += all(line.kind != "separator" for line in group[: _first_label(group)])
        pieces += found
    if pieces and pieces[0].reason == "unparsable" and len(pieces) > 1:
        pieces[0] = replace(pieces[0], reason="preamble")
    for piece in pieces:
        if piece.reason is None:
            drift["numbering"] += piece.number != first
            first = (first if piece.number is None else piece.number) + 1
    return TaskList(_closed(pieces, truncated), {name: count for name, count in drift.items() if count})


def parse_instructions(text: str, first: int, *, opened: bool = False, truncated: bool = False) -> TaskList:
    """Take apart a reply that is a numbered (or bulleted) list of instructions, a paragraph each.

    Args:
        opened: whether the prompt ended with the first item's number, so that the reply goes on after it.
    """
    drift = Counter[str]()
    items: list[_Item] = []
    expected = first
    for i, raw in enumerate(re.split(r"(?<=\n)", text) if text.strip() else ()):
        found = _ITEM.match(raw)
        if found and not (i == 0 and opened and found[1] is None):
            number = int(found[1]) if found[1] else None
            drift["numbering"] += number != expected
            expected = (number or expected) + 1
            items.append(_Item(number, [raw], [raw[found.end() :]]))
        elif i == 0 and opened:
            expected += 1
            items.append(_Item(first, [raw], [raw]))
        elif not raw.strip() and items:
            items[-1].raw.append(raw)
            items[-1].ended = any(part.strip() for part in items[-1].text)
        elif items and not items[-1].ended:
            items[-1].raw.append(raw)
            items[-1].text += [raw] if items[-1].text else []
        else:
            items.append(_Item(None, [raw], []))
    pieces = [item.piece("preamble" if i == 0 else "unparsable") for i, item in enumerate(items)]
    return TaskList(_closed(pieces, truncated), {name: count for name, count in drift.items() if count})


@dataclass(slots=True)
class _Item:
    """Lines of a list that belong together; those with no number and no bullet before them have no `text`."""

    number: int | None
    raw: list[str]
    text: list[str]
    ended: bool = False

    def piece(self, stray: str) -> Piece:
        """An instruction on one line, without quotation marks or asterisks all around it."""
        if not self.text:
            return Piece(raw="".join(self.raw), reason=stray)
        text = " ".join("".join(self.text).split())
        if wrapped := _WRAPPED.fullmatch(text):
            text = next(part for part in wrapped.groups() if part is not None).strip()
        reason = None if text else "missing-instruction"
        return Piece(raw="".join(self.raw), number=self.number, instruction=text, reason=reason)


def _opened(reply: list[Line], first: int) -> list[Line]:
    """The lines with the label that the prompt ended with put before them, unless the reply repeats it."""
    begin = next((line for line in reply if line.kind not in ("blank", "separator", "rule", "number")), None)
    if begin is None or begin.field == "instruction":
        return reply
    if reply[0].kind == "label":
        return [Line("", "label", "", field="instruction", number=first), *reply]
    return [Line(reply[0].raw, "label", reply[0].raw, field="instruction", number=first), *reply[1:]]


def _groups(reply: list[Line], truncated: bool) -> list[list[Line]]:
    """The lines record by record.

    A record begins at an instruction label that has a number, a heading or a line of its own before it (###, ##, ---,
    a number), at the first instruction label in any case, and after a line of exactly ###. Rules before other text
    belong to an answer. A reply cut off after a line of ### has its last record whole.
    """
    groups: list[list[Line]] = []
    current: list[Line] = []
    between: list[Line] = []
    for line in reply:
        if line.kind in ("blank", "separator", "rule", "number"):
            between.append(line)
            continue
        parted = [other.kind for other in between if other.kind != "blank"]
        if line.field == "instruction":
            begins = bool(parted) or line.number is not None or line.heading
            begins = begins or all(other.field != "instruction" for other in current)
        else:
            begins = "separator" in parted
        if begins and current:
            groups.append(current)
            current = []
        current += [*between, line]
        between = []
    if truncated and current and any(line.kind == "separator" for line in between):
        return [*groups, current, between]
    current += between
    return [*groups, current] if any(line.kind != "blank" for line in current) else groups


def _pieces(group: list[Line], drift: Counter[str]) -> list[Piece]:
    """The records of a group of lines: one, or several if the labels leave no doubt."""
    labels = [i for i, line in enumerate(group) if line.field in _LETTERS]
    numbered = [i for i in labels if group[i].number is not None]
    if labels[:1] == numbered[:1] and re.match("IX?O", _shape(group, numbered)):
        labels = numbered  # those without a number then belong to an answer
    shape = _shape(group, labels)
    if re.fullmatch(r"(?:IX?O){2,}", shape):
        starts = [0, *[i for i in labels if group[i].field == "instruction"][1:], len(group)]
        drift["split"] += len(starts) - 2
        return [
            _record(group[start:end], [i - start for i in labels if start <= i < end], drift)
            for start, end in itertools.pairwise(starts)
        ]
    if re.fullmatch("IXO[XO]+", shape) and all(group[i].number is None for i in labels[3:]):
        labels, shape = labels[:3], "IXO"
    if shape in ("IXO", "IO") and len({group[i].number for i in labels} - {None}) <= 1:
        return [_record(group, labels, drift)]
    return [_fragment(group, labels, shape)]


def _shape(group: list[Line], labels: Sequence[int]) -> str:
    return "".join(_LETTERS[group[i].field] for i in labels)


def _first_label(group: list[Line]) -> int:
    return next((i for i, line in enumerate(group) if line.field in _LETTERS), len(group))


def _record(group: list[Line], labels: Sequence[int], drift: Counter[str]) -> Piece:
    piece = _filled(group, labels)
    drift["no_input_label"] += all(group[i].field != "input" for i in labels)
    if not piece.instruction:
        return replace(piece, reason="missing-instruction")
    return piece if piece.output else replace(piece, reason="empty-output")


def _fragment(group: list[Line], labels: Sequence[int], shape: str) -> Piece:
    """What a group of lines is when it is no record; of each field, the first is filled in."""
    piece = _filled(group, [i for n, i in enumerate(labels) if shape.index(shape[n]) == n])
    if not shape:
        return replace(piece, reason="unparsable")
    if "I" not in shape:
        return replace(piece, reason="missing-instruction")
    if shape.count("I") > 1 or re.match("IX?O", shape):
        return replace(piece, reason="merged")
    return replace(piece, reason="missing-output" if "O" not in shape else "unparsable")


def _filled(group: list[Line], labels: Sequence[int]) -> Piece:
    """The text after each of the labels, up to the next; what only parts it from the next record is left out."""
    numbers = [line.number for line in group[: _first_label(group) + 1] if line.number is not None]
    number = numbers[-1] if numbers and labels else None
    end = len(group)
    while end and group[end - 1].kind in ("blank", "separator", "rule", "number"):
        last = group[end - 1]
        if last.kind == "number" and (number is None or last.number != number + 1):
            break
        end -= 1
    stops = [*labels[1:], end]
    fields = {
        group[start].field: "".join([group[start].content, *(line.raw for line in group[start + 1 : stop])]).strip()
        for start, stop in zip(labels, stops, strict=False)
    }
    return Piece(
        raw="".join(line.raw for line in group),
        number=number,
        instruction=fields.get("instruction", ""),
        input=without_no_input(fields.get("input", "")),
        output=fields.get("output", ""),
    )


def _closed(pieces: list[Piece], truncated: bool) -> tuple[Piece, ...]:
    if truncated and pieces:
        pieces[-1] = replace(pieces[-1], reason="truncated")
    return tuple(pieces)
