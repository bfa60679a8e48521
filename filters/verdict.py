"""What a list of checks says of a frame: the first objection to each row, its evidence, and how often each objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from filters.check import Check, Scope


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a row is dropped: the rule and its reason, the column it looked at, the value found, and in which turn."""

    rule: str
    reason: str
    field: str
    value: Any
    turn: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The objections to the rows of a frame.

    Attributes:
        objections: row number -> first objection, in the order of the rules.
        hits: reason -> rows it objects to, whatever the order.
        turns: row number -> turn -> reason of the first check that objects to that turn.
        whole: rows that some check objects to as a whole.
    """

    objections: Mapping[int, Objection]
    hits: Mapping[str, int] = field(default_factory=dict)
    turns: Mapping[int, Mapping[int, str]] = field(default_factory=dict)
    whole: frozenset[int] = frozenset()


def judge(frames: Mapping[Scope, pl.DataFrame], rules: Sequence[tuple[str, Sequence[Check]]]) -> Verdict:
    """Apply the rules' checks, in order.

    Args:
        frames: `turns(viewed)` under "turn" and the viewed frame under "record", both with a `row` column.
        rules: name and checks of each rule; the first check to object gives a row its reason.
    """
    checks = [(name, check) for name, group in rules for check in group]
    found = _found(frames, [check for _, check in checks])
    hits: dict[str, set[int]] = {}
    first: dict[int, tuple[int, int]] = {}
    turns: dict[int, dict[int, str]] = {}
    whole: set[int] = set()
    for number, (_, check) in enumerate(checks):
        frame, at = frames[check.scope], found[number]
        rows = frame["row"].gather(at).to_list()
        hits.setdefault(check.reason, set()).update(rows)
        for row, place in zip(rows, at.to_list(), strict=True):
            first.setdefault(row, (number, place))
        if check.scope == "record":
            whole.update(rows)
        else:
            for row, turn in zip(rows, frame["turn"].gather(at).to_list(), strict=True):
                turns.setdefault(row, {}).setdefault(turn, check.reason)
    objections = _objections(frames, checks, first)
    return Verdict(objections, {reason: len(rows) for reason, rows in hits.items()}, turns, frozenset(whole))


def _objections(
    frames: Mapping[Scope, pl.DataFrame], checks: Sequence[tuple[str, Check]], first: Mapping[int, tuple[int, int]]
) -> dict[int, Objection]:
    """Each row's first objection with its evidence, which only now is computed."""
    objections: dict[int, Objection] = {}
    for number, (name, check) in enumerate(checks):
        mine = {at: row for row, (by, at) in first.items() if by == number}
        if not mine:
            continue
        frame = frames[check.scope][list(mine)].with_columns(**check.measured)
        values = frame.select(check.value.alias("value"))["value"].to_list()
        nth = frame["turn"].to_list() if check.scope == "turn" else [None] * len(values)
        for row, value, turn in zip(mine.values(), values, nth, strict=True):
            objections[row] = Objection(name, check.reason, check.field, value, turn)
    return objections


def _found(frames: Mapping[Scope, pl.DataFrame], checks: Sequence[Check]) -> list[pl.Series]:
    """For each check, the positions in its frame where it objects."""
    found: list[pl.Series] = [pl.Series(dtype=pl.UInt32)] * len(checks)
    for scope, frame in frames.items():
        mine = [(number, check) for number, check in enumerate(checks) if check.scope == scope]
        # Checks of one rule may share a gate: one evaluation for each, side by side on all cores.
        first = {str(id(expr)): expr for _, check in mine for expr in [_first(check)]}
        passed = frame.select(expr.fill_null(False).alias(name) for name, expr in first.items())
        for number, check in mine:
            positions = passed[str(id(_first(check)))].arg_true()
            if check.gate is not None and not positions.is_empty():
                gated = frame[positions].with_columns(**check.measured)
                positions = positions.filter(gated.select(check.when.fill_null(False)).to_series())
            found[number] = positions
    return found


def _first(check: Check) -> pl.Expr:
    return check.when if check.gate is None else check.gate
