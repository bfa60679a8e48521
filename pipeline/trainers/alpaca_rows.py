"""Rows whose question and answer stand in columns of their own."""

from pipeline.trainers.finding import Finding, wrong
from pipeline.trainers.sample import Sample, is_empty
from pipeline.trainers.survey import Layout


def question_columns(layout: Layout) -> tuple[str, ...]:
    """The columns that make the question, in the order in which they are joined."""
    if layout.base in ("prompt", "prompt-turns"):
        return ("prompt",)
    return ("instruction", "input") if "input" in layout.columns else ("instruction",)


def answer_column(layout: Layout) -> str:
    """The column of the answer."""
    if layout.base in ("prompt", "prompt-turns"):
        return "completion"
    return next((name for name in ("output", "response", "completion") if name in layout.columns), "output")


def alpaca_empty_question(sample: Sample) -> Finding | None:
    """Neither instruction nor input: the answer is trained on as a reply to nothing."""
    columns = question_columns(sample.layout)
    if any(not is_empty(sample.get(column)) for column in columns):
        return None
    return wrong(
        "empty-question", f"{' and '.join(repr(c) for c in columns)} are empty: a reply to nothing is trained on"
    )


def empty_text(sample: Sample) -> Finding | None:
    """A text to train on that is not there."""
    if is_empty(sample.get("text")):
        return wrong("empty-text", "'text' is empty: there is nothing to train on")
    return None
