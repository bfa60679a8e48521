"""A check: one reason for objecting to a record, the condition, and the evidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as having
from typing import Literal

import polars as pl

Scope = Literal["turn", "record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One objection, as polars expressions over the columns of `turns` or of `view`.

    Attributes:
        reason: the slug that is counted.
        field: the column that is objected to.
        when: boolean; null means no objection.
        gate: a cheaper condition that must hold as well; `when` is evaluated only for the rows where it does.
        measured: numbers that are computed where the gate holds, by the names under which `when` and `value` read them;
            kept by `seedmill profile`, so that a bound on them can change without looking at the texts again.
        value: the evidence, a string or a number; evaluated only for rows that are dropped for this reason.
        scope: "turn" looks at each answer with its question (`filters.turns`), "record" at the whole record
            (`pipeline.record.view`).
    """

    reason: str
    field: str
    when: pl.Expr
    value: pl.Expr
    gate: pl.Expr | None = None
    measured: Mapping[str, pl.Expr] = having(default_factory=dict)
    scope: Scope = "turn"

    def columns(self) -> set[str]:
        """The columns of the frame that are read."""
        exprs = (self.gate, self.when, self.value, *self.measured.values())
        read = {name for expr in exprs if expr is not None for name in expr.meta.root_names()}
        return read - self.measured.keys()


def matching(
    reason: str,
    field: str,
    pattern: str,
    *,
    given: pl.Expr | None = None,
    hints: tuple[str, ...] = (),
    scope: Scope = "turn",
) -> Check:
    """Object when `field` matches a regular expression (Rust syntax) and `given` holds; evidence: the match.

    `hints` are ASCII literals of which every match holds at least one, in any case: a slow pattern is then tried only
    where one of them occurs.
    """
    when = found = pl.col(field).str.contains(pattern)
    gate: pl.Expr | None = None
    if hints:
        gate = pl.col(field).str.contains_any(list(hints), ascii_case_insensitive=True)
        when = found if given is None else found & given
    elif given is not None:
        gate, when = found, given
    return Check(
        reason=reason, field=field, when=when, value=pl.col(field).str.extract(pattern, 0), gate=gate, scope=scope
    )


def any_of(*alternatives: str) -> str:
    """A regular expression that matches any of the alternatives."""
    return "(?:" + "|".join(alternatives) + ")"


def asks(pattern: str) -> pl.Expr:
    """Whether the turn's question, instruction or input, matches a regular expression."""
    return pl.col("instruction").str.contains(pattern) | pl.col("input").str.contains(pattern)
