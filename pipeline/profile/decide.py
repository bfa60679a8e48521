"""What rules would drop, decided from a profile's numbers without looking at a text."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters import Check
from pipeline.profile.needs import Asked, asked, with_findings
from pipeline.profile.store import Profile
from pipeline.stages.filter import Filter, short

_NOT_DROPPED = np.iinfo(np.uint16).max
Missing = Callable[[Profile, Mapping[str, Check], Sequence[str]], None]
"""Called with the checks whose findings are not stored, and the names of their rules; stores them."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A row that would be dropped, and why."""

    row: int
    id: str
    reason: str
    value: Any
    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What one filter entry does with the rows that reach it.

    Attributes:
        name: of the entry.
        rows: rows that reach it.
        hits: reason -> rows it objects to, whatever the order.
        dropped: reason -> rows dropped for it.
        rules: reason -> the rule it belongs to.
        kept: for each record, whether it is still there.
        samples: reason -> some of the rows, spread evenly.
    """

    name: str
    rows: int
    hits: Mapping[str, int]
    dropped: Mapping[str, int]
    rules: Mapping[str, str]
    kept: NDArray[np.bool_]
    samples: Mapping[str, Sequence[Sample]] = field(default_factory=dict)


def decide(profile: Profile, entries: Mapping[str, Filter], missing: Missing, samples: int = 0) -> list[Ruling]:
    """Apply filter entries, one after the other.

    Args:
        entries: name -> filter; `custom` rules and `bad_turns` are not for here, since they read or change the texts.
        missing: stores what settings have made necessary that no profile has measured before.
        samples: how many rows to show for each reason.
    """
    alive = np.ones(profile.records, np.bool_)
    rulings = []
    for name, stage in entries.items():
        checks = asked(stage)
        lacking = [one for one in checks if one.need != "numbers" and not profile.has_findings(one.key)]
        if lacking:
            missing(profile, with_findings(lacking), list(dict.fromkeys(one.rule for one in lacking)))
        ruling, first = _ruling(profile, name, checks, alive)
        if samples:
            ruling = _with_samples(profile, ruling, checks, first, samples)
        rulings.append(ruling)
        alive = ruling.kept
    return rulings


def _ruling(
    profile: Profile, name: str, checks: Sequence[Asked], alive: NDArray[np.bool_]
) -> tuple[Ruling, NDArray[np.uint16]]:
    first = np.full(len(alive), _NOT_DROPPED, np.uint16)
    hit: dict[str, NDArray[np.bool_]] = {}
    for number, rows in _objections(profile, checks):
        reason = checks[number].check.reason
        hit.setdefault(reason, np.zeros(len(alive), np.bool_))[rows] = True
        first[rows] = np.minimum(first[rows], number)
    first[~alive] = _NOT_DROPPED
    dropped: dict[str, int] = {}
    for number, count in enumerate(np.bincount(first, minlength=len(checks))[: len(checks)].tolist()):
        reason = checks[number].check.reason
        dropped[reason] = dropped.get(reason, 0) + count
    reasons = [one.check.reason for one in checks]
    hits = {reason: int((hit[reason] & alive).sum()) if reason in hit else 0 for reason in reasons}
    rules = {one.check.reason: one.rule for one in reversed(checks)}
    kept = alive & (first == _NOT_DROPPED)
    ruling = Ruling(name=name, rows=int(alive.sum()), hits=hits, dropped=dropped, rules=rules, kept=kept)
    return ruling, first


def _objections(profile: Profile, checks: Sequence[Asked]) -> Iterable[tuple[int, NDArray[np.uint32]]]:
    """Numbers of checks and rows that they object to: stored columns shard by shard, then what was found before."""
    for scope in ("turn", "record"):
        mine = {
            str(number): one.check
            for number, one in enumerate(checks)
            if one.check.scope == scope and one.need == "numbers"
        }
        for path in profile.shards(scope) if mine else ():
            whens = [_condition(check).alias(name) for name, check in mine.items()]
            found = pl.scan_parquet(path, glob=False).select("row", *whens).collect()
            for name in mine:
                yield int(name), found["row"].filter(found[name]).to_numpy()
    for number, one in enumerate(checks):
        if one.need != "numbers":
            yield number, _found(profile, one).select("row").collect()["row"].to_numpy()


def _found(profile: Profile, one: Asked) -> pl.LazyFrame:
    """The findings of a check that are objections."""
    found = profile.findings(one.key)
    return found.filter(one.check.when) if one.need == "gated" else found


def _condition(check: Check) -> pl.Expr:
    when = check.when if check.gate is None else check.gate & check.when
    return when.fill_null(False)


def _with_samples(
    profile: Profile, ruling: Ruling, checks: Sequence[Asked], first: NDArray[np.uint16], most: int
) -> Ruling:
    chosen: dict[int, int] = {}
    for reason in (reason for reason, count in ruling.dropped.items() if count):
        of_reason = np.isin(first, [n for n, one in enumerate(checks) if one.check.reason == reason])
        rows = np.flatnonzero(of_reason)
        spread = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))]
        chosen |= {int(row): int(first[row]) for row in spread}
    values: dict[int, Any] = {}
    for number in set(chosen.values()):
        rows = np.array([row for row, by in chosen.items() if by == number])
        values |= _values(profile, checks[number], rows)
    found: dict[str, list[Sample]] = {}
    for row, told in profile.shown(chosen).items():
        reason = checks[chosen[row]].check.reason
        found.setdefault(reason, []).append(Sample(row=row, reason=reason, value=values.get(row), **told))
    return Ruling(**{name: getattr(ruling, name) for name in Ruling.__dataclass_fields__} | {"samples": found})


def _values(profile: Profile, one: Asked, rows: NDArray[np.int64]) -> dict[int, Any]:
    """Row -> evidence, that of the first turn that is objected to."""
    wanted = pl.col("row").is_in(rows.tolist())
    if one.need == "numbers":
        frame = profile.table(one.check.scope).filter(wanted & _condition(one.check))
        told = frame.select("row", value=one.check.value).unique("row", keep="first", maintain_order=True).collect()
        return {row: short(value) for row, value in told.iter_rows()}
    told = (
        _found(profile, one)
        .filter(wanted)
        .select("row", "evidence")
        .unique("row", keep="first", maintain_order=True)
        .collect()
    )
    return {row: json.loads(evidence)["value"] for row, evidence in told.iter_rows()}
