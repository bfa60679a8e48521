"""What a trainer is here: its rules by the shape of a file, and what it does with rows that are too long."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.trainers.finding import Effect, Finding
from pipeline.trainers.sample import Sample
from pipeline.trainers.survey import Base, Layout, Survey

FileRule: TypeAlias = Callable[[Survey], Finding | None]
RowRule: TypeAlias = Callable[[Sample], Finding | None]


@dataclass(frozen=True, kw_only=True)
class TooLong:
    """What becomes of a row that is longer than the cut-off.

    Attributes:
        default: tokens the trainer cuts at when nobody says otherwise.
        setting: what the trainer calls it.
        effect: of a row that is too long.
        does: what happens to it, after "it is".
        masked: effect of a row whose every answer lies beyond the cut-off; None when the trainer sees to it that none
            does.
        masked_does: what happens to that one.
    """

    default: int | None
    setting: str
    effect: Effect
    does: str
    masked: Effect | None = None
    masked_does: str = ""


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """One trainer.

    Attributes:
        title: its name and the version whose source the rules were read from.
        source: where the rules are in that source.
        file_rules: objections to the file as a whole, in the trainer's order.
        row_rules: shape -> objections to a row, in the trainer's order; a shape that is missing is not read at all. The
            order of the shapes is that in which one of several files is preferred.
        notes: what a user of this shape should know.
        mends: shapes that are not read, and that the snippet of `--glue` brings into one that is.
    """

    name: str
    title: str
    source: str
    file_rules: tuple[FileRule, ...]
    row_rules: Mapping[Base, tuple[RowRule, ...]]
    too_long: TooLong
    notes: Callable[[Layout], list[str]]
    mends: tuple[Base, ...] = ()
