"""What became of the rows of one version in another, and how their figures differ."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.diff.version import Row, Version
from pipeline.export.figures import spread

Figure = tuple[str, float | None, float | None, str]
"""What is measured, its value in either version, and its kind: `count`, `share` or `number`."""

_MOST_NAMES = 12

_NOTEWORTHY = 0.001
"""Share of the rows below which a language is not listed: single short texts are taken for anything."""


@dataclass(kw_only=True)
class Comparison:
    """Two versions side by side.

    Attributes:
        same: rows that are in both, whatever their order.
        changed: rows of both versions with the same id, or else the same question, and another text.
        removed, added: rows of one version only.
    """

    names: tuple[str, str]
    same: int
    changed: list[tuple[Row, Row]] = field(default_factory=list)
    removed: list[Row] = field(default_factory=list)
    added: list[Row] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    def as_json(self, shown: int) -> dict[str, Any]:
        """Everything, as JSON values; of the rows the first few."""
        rows = {key: len(getattr(self, key)) for key in ("changed", "removed", "added")}
        examples = {
            "changed": [{"id": b.id or a.id, "question": b.shown} for a, b in self.changed[:shown]],
            **{
                key: [{"id": r.id, "question": r.shown} for r in getattr(self, key)[:shown]]
                for key in ("removed", "added")
            },
        }
        figures = [{"what": what, "a": a, "b": b, "kind": kind} for what, a, b, kind in self.figures]
        a, b = self.names
        return {"a": a, "b": b, "rows": {"same": self.same, **rows}, "figures": figures, "examples": examples}


def compare(a: Version, b: Version) -> Comparison:
    """Match the rows of two versions: equal ones first, then by id, then by question, each row once."""
    left, right, same = _unequal(a.rows, b.rows)
    changed: list[tuple[Row, Row]] = []
    for key in (_id, _question):
        pairs, left, right = _paired(left, right, key)
        changed += pairs
    return Comparison(
        names=(a.name, b.name),
        same=same,
        changed=changed,
        removed=left,
        added=right,
        figures=list(_figures(a, b)),
    )


def _unequal(a: Sequence[Row], b: Sequence[Row]) -> tuple[list[Row], list[Row], int]:
    """The rows of either version whose text the other does not have (so often)."""
    both = Counter(row.content for row in a) & Counter(row.content for row in b)
    same = sum(both.values())
    return _without(a, both), _without(b, both), same


def _without(rows: Sequence[Row], taken: Mapping[str, int]) -> list[Row]:
    left, budget = [], Counter(taken)
    for row in rows:
        if budget[row.content] > 0:
            budget[row.content] -= 1
        else:
            left.append(row)
    return left


def _id(row: Row) -> str:
    return row.id


def _question(row: Row) -> str:
    return row.question


def _paired(
    a: list[Row], b: list[Row], key: Callable[[Row], str]
) -> tuple[list[tuple[Row, Row]], list[Row], list[Row]]:
    waiting: dict[str, list[Row]] = defaultdict(list)
    for row in reversed(a):
        if key(row):
            waiting[key(row)].append(row)
    pairs, right = [], []
    for row in b:
        found = waiting.get(key(row))
        if found:
            pairs.append((found.pop(), row))
        else:
            right.append(row)
    gone = {id(one) for one, _ in pairs}
    return pairs, [row for row in a if id(row) not in gone], right


def _figures(a: Version, b: Version) -> Iterator[Figure]:
    yield "rows", len(a.rows), len(b.rows), "count"
    if a.unreadable or b.unreadable:
        yield "unreadable rows", a.unreadable, b.unreadable, "count"
    yield "near-duplicates", a.duplicates, b.duplicates, "share"
    for what, column in (("question, median characters", "questions"), ("answer, median characters", "answers")):
        spreads = [spread(getattr(version.survey, column)) for version in (a, b)]
        yield what, *(None if found is None else float(found.median) for found in spreads), "count"  # type: ignore[misc]
    for name in _names(a.survey.scores, b.survey.scores):
        means = [spread(version.survey.scores.get(name, {})) for version in (a, b)]
        yield f"score {name}, mean", *(None if found is None else found.mean for found in means), "number"  # type: ignore[misc]
    for name in _names(a.survey.languages, b.survey.languages):
        shares = [version.survey.languages[name] / len(version.rows) for version in (a, b)]
        if max(shares) >= _NOTEWORTHY:
            yield f"language {name or 'not determined'}", shares[0], shares[1], "share"
    for name in _names(a.survey.counts["license"], b.survey.counts["license"]):
        counts = [version.survey.counts["license"][name] for version in (a, b)]
        yield f"licence {name or 'not known'}", counts[0], counts[1], "count"
    for reason in _names(a.reasons, b.reasons):
        # Only runs have reasons; a file of rows has none to tell, which is not the same as no drops.
        values = [version.reasons.get(reason, 0) if version.reasons else None for version in (a, b)]
        yield f"dropped {reason}", values[0], values[1], "count"


def _names(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> list[Any]:
    """The names of either, the most frequent ones first; of very many names the first few."""

    def weight(name: Any) -> float:
        found = [side.get(name) for side in (a, b)]
        return sum(v if isinstance(v, int | float) else sum(v.values()) for v in found if v is not None)

    return sorted({*a, *b}, key=lambda name: (-weight(name), name or ""))[:_MOST_NAMES]
