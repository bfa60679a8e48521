"""What a trainer would do with a row or a file that is not as it should be."""

from typing import Literal, NamedTuple

Effect = Literal["stops", "skipped", "wrong", "note"]

EFFECTS: tuple[Effect, ...] = ("stops", "skipped", "wrong", "note")
"""The gravest first: the trainer ends with an error; the row is left out; it is trained on, but not as it stands in the
file (cut, merged, emptied, its labels masked); worth knowing only."""


class Finding(NamedTuple):
    """One objection.

    Attributes:
        reason: slug that is counted.
        detail: the evidence, and what the trainer does.
    """

    effect: Effect
    reason: str
    detail: str


def stops(reason: str, detail: str) -> Finding:
    """The trainer ends with an error before it trains."""
    return Finding("stops", reason, detail)


def skipped(reason: str, detail: str) -> Finding:
    """The row is left out, with a line in the log at most."""
    return Finding("skipped", reason, detail)


def wrong(reason: str, detail: str) -> Finding:
    """The row is trained on, but not as it stands in the file."""
    return Finding("wrong", reason, detail)


def note(reason: str, detail: str) -> Finding:
    """The row is trained on as it is; it depends on a setting or a template whether that is meant."""
    return Finding("note", reason, detail)
