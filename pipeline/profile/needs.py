"""What a check can be decided from: stored numbers, numbers found behind a gate, or a text."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from filters import FILTERS, PRESETS, Check
from pipeline.signals import FIELDS, signal_names
from pipeline.stages.filter import Filter

Need = Literal["numbers", "gated", "text"]

_PYTHON = b"PLPYFN"
"""What polars begins a Python function with when it writes an expression."""

TURN_COLUMNS = ("row", "turn", "turns", "final", "tooled", "excused")
RECORD_COLUMNS = ("row", "id", "n_turns", "roles")


def signals_of(scope: str) -> tuple[str, ...]:
    """The signals that are stored for each answer ("turn"), or for each record as a whole ("record")."""
    fields = ("text",) if scope == "record" else tuple(field for field in FIELDS if field != "text")
    return tuple(name for name in signal_names() if name.split("_")[0] in fields)


STORED = {
    "turn": frozenset((*TURN_COLUMNS, *signals_of("turn"))),
    "record": frozenset((*RECORD_COLUMNS, *signals_of("record"))),
}
"""Scope of a check -> the columns it can read without a text."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One check of a filter entry.

    Attributes:
        rule: the rule that it belongs to.
        need: "numbers": the stored columns suffice, whatever its bounds are. "gated": the numbers that were measured
            behind its gate do. "text": only its verdict as a whole can be stored, so a change of its settings needs
            the texts again.
        key: under which name its findings are stored: a hash of all that they are computed from. Bounds on numbers
            behind a gate are not in it.
    """

    rule: str
    check: Check
    need: Need
    key: str


def asked(stage: Filter) -> list[Asked]:
    """The checks of a filter entry, in order."""
    settings = stage.chosen()
    return [
        Asked(rule, check, need(check), _key(check, f"{rule} {number} {json.dumps(settings[rule], sort_keys=True)}"))
        for rule, checks in stage.checks()
        for number, check in enumerate(checks)
    ]


def need(check: Check) -> Need:
    """What is needed to decide a check."""
    if check.measured:
        return "gated" if _reads(check.when) <= check.measured.keys() else "text"
    return "numbers" if _reads(check.when, check.gate) <= STORED[check.scope] else "text"


def _key(check: Check, origin: str) -> str:
    exprs = [check.gate, *(expr for _, expr in sorted(check.measured.items())), check.value]
    if need(check) == "text":
        exprs.append(check.when)
    written = [b"none" if expr is None else expr.meta.serialize() for expr in exprs]
    if any(_PYTHON in expr for expr in written):
        # A pickled function may be written differently next time; rule, settings and our code's hash tell it as well.
        written = [origin.encode()]
    start = f"{check.scope} {check.reason} {sorted(check.measured)}".encode()
    return hashlib.blake2b(b"\0".join([start, *written]), digest_size=10).hexdigest()


def _reads(*exprs: pl.Expr | None) -> set[str]:
    return {name for expr in exprs if expr is not None for name in expr.meta.root_names()}


def with_findings(checks: Iterable[Asked]) -> dict[str, Check]:
    """Those that cannot be decided from stored numbers, by key; equal ones once."""
    return {one.key: one.check for one in checks if one.need != "numbers"}


def usual_checks() -> list[Asked]:
    """Every rule with its default settings, and as the presets set it."""
    filters = [Filter(rules={name: {}}) for name in FILTERS] + [Filter(preset=name) for name in PRESETS]
    return [one for stage in filters for one in asked(stage)]
