"""`expect:` of a recipe: what must be true of the rows, checked when they are exported, as tests are of code."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

_BOUNDS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "properties": {"min": {"type": "number"}, "max": {"type": "number"}},
}
_BY_NAME: dict[str, Any] = {"type": "object", "additionalProperties": _BOUNDS}

EXPECT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "rows": _BOUNDS,
        "answered": _BOUNDS,
        "languages": _BY_NAME,
        "scores": _BY_NAME,
        "question_length": _BOUNDS,
        "answer_length": _BOUNDS,
        "duplicates": _BOUNDS,
        "contaminated": _BOUNDS,
        "reasons": _BY_NAME,
        "licenses": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
    },
}
"""`rows` is a count; `answered`, `languages`, `duplicates` (near-duplicates of another row) and `reasons` (dropped for
it) are shares from 0 to 1; `scores` bounds the mean; lengths are medians in characters; `contaminated` is a count."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One expectation and what was found.

    Attributes:
        what: such as `rows` or `languages.zh`.
        asked, found: in words and figures.
    """

    what: str
    asked: str
    found: str
    met: bool

    def sentence(self) -> str:
        """The verdict for people."""
        return f"{self.what}: {self.found} found, {self.asked} asked for"

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What expectations are held against.

    Attributes:
        rows, answered: counts.
        languages: share of each.
        scores: mean of each.
        lengths: `question` and `answer` -> median in characters; None where there is none.
        duplicates: computes the share of rows that nearly repeat an earlier one; only asked when it is expected.
        contaminated: rows marked as being in a benchmark; None when nothing has looked for them.
        reasons: reason -> share of all records that were dropped for it.
        unwanted: given the licences wanted, what other rows are under, as `12 under gpl-3.0 (1ab, 2cd)`.
    """

    rows: int
    answered: int
    languages: Mapping[str, float]
    scores: Mapping[str, float]
    lengths: Mapping[str, float | None]
    duplicates: Callable[[], float]
    contaminated: int | None
    reasons: Mapping[str, float]
    unwanted: Callable[[list[str]], list[str]]


def verdicts(expect: Mapping[str, Any], found: Findings) -> list[Verdict]:
    """Every expectation of a recipe, in its order, with what was found."""
    return [verdict for what, asked in expect.items() for verdict in _judged(what, asked, found)]


def _judged(what: str, asked: Any, found: Findings) -> Iterator[Verdict]:
    if what == "rows":
        yield _bounded(what, asked, found.rows, _count)
    elif what == "answered":
        yield _bounded(what, asked, found.answered / found.rows if found.rows else None, _share)
    elif what == "duplicates":
        yield _bounded(what, asked, found.duplicates(), _share)
    elif what == "contaminated":
        yield _bounded(what, asked, found.contaminated, _count, absent="no entry that looks for benchmark rows")
    elif what == "licenses":
        others = found.unwanted(asked)
        yield Verdict(
            what=what, asked=f"only {', '.join(asked)}", found="; ".join(others) or "no other", met=not others
        )
    elif what in ("question_length", "answer_length"):
        yield _bounded(what, asked, found.lengths[what.removesuffix("_length")], _number)
    elif what == "scores":
        for name, bounds in asked.items():
            yield _bounded(f"scores.{name}", bounds, found.scores.get(name), _number, absent="no such score")
    else:
        shares = found.languages if what == "languages" else found.reasons
        for name, bounds in asked.items():
            yield _bounded(f"{what}.{name}", bounds, shares.get(name, 0.0), _share)


def _bounded(
    what: str,
    bounds: Mapping[str, float],
    value: float | None,
    shown: Callable[[float], str],
    absent: str = "nothing to measure",
) -> Verdict:
    words = {"min": "at least", "max": "at most"}
    asked = " and ".join(f"{words[key]} {shown(bounds[key])}" for key in words if key in bounds)
    if value is None:
        return Verdict(what=what, asked=asked, found=absent, met=False)
    met = bounds.get("min", value) <= value <= bounds.get("max", value)
    return Verdict(what=what, asked=asked, found=shown(value), met=met)


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,g}"


def _share(value: float) -> str:
    """A share in per cent, with as many digits as tell it from the next one."""
    return f"{100 * value:.4g}%"


def _number(value: float) -> str:
    return f"{value:,.4g}"
