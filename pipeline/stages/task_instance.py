"""A reply that works out one example of a task: its input and its output, in either order."""

from pipeline.stages.task_list import Piece
from pipeline.stages.task_markup import Field, Line, lines, without_no_input

INPUT_FIRST: tuple[Field, Field] = ("input", "output")
LABEL_FIRST: tuple[Field, Field] = ("label", "input")
"""Self-Instruct's order for classification: the answer is chosen before the input is written, which keeps the answers
from being all the same."""


def parse_instance(text: str, order: tuple[Field, Field], *, opened: bool = False) -> Piece:
    """The example in a reply.

    Args:
        order: the two labels, as the prompt asks for them.
        opened: whether the prompt ended with the first of them, so that the reply goes on after it.

    Returns:
        A piece whose `raw` is the reply; `reason` is `unparsable` (a label is missing or out of order), `merged` (more
        than one example), `missing-output`, `empty-output` or None.
    """
    reply = lines(text)
    labels = [i for i, line in enumerate(reply) if line.field in order]
    if opened and not (labels and reply[labels[0]].field == order[0] and not _text(reply[: labels[0]])):
        reply.insert(0, Line("", "label", "", field=order[0]))
        labels = [0, *(i + 1 for i in labels)]
    found = [reply[i].field for i in labels]
    if found == ["output"] and order == INPUT_FIRST:
        return _piece(text, "", _text(reply, labels[0], len(reply)))
    if found == ["input"] and order == INPUT_FIRST:
        return Piece(raw=text, input=_text(reply, labels[0], len(reply)), reason="missing-output")
    if found != list(order):
        return Piece(raw=text, reason="merged" if found[:2] == list(order) else "unparsable")
    first, second = _text(reply, labels[0], labels[1]), _text(reply, labels[1], len(reply))
    return _piece(text, first, second) if order == INPUT_FIRST else _piece(text, second, first)


def _piece(raw: str, input: str, output: str) -> Piece:
    return Piece(raw=raw, input=without_no_input(input), output=output, reason=None if output else "empty-output")


def _text(reply: list[Line], start: int = 0, end: int | None = None) -> str:
    """The lines from a label up to the next one; whole lines when they begin with none."""
    chosen = reply[start:end]
    first = chosen[0].content if chosen and chosen[0].kind == "label" else chosen[0].raw if chosen else ""
    return (first + "".join(line.raw for line in chosen[1:])).strip()
