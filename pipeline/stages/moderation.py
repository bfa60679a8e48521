"""What a moderation found in a record, and which of it counts."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import UsageError
from pipeline.llm.request import Moderation

UNSPECIFIED = "unspecified"
"""The category of a text that a server flags without naming one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found.

    Attributes:
        counted: categories that count, the surest first, each with its score (1 where there is none).
        allowed: categories that were found and are allowed.
        safety: 1 less the highest score of any category that is not allowed, found or not.
    """

    counted: Mapping[str, float]
    allowed: tuple[str, ...]
    safety: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which categories count.

    Attributes:
        allow: categories that never count.
        thresholds: category -> score from which it counts, whatever the server's own verdict is.
        threshold: the same for all others; None leaves those to the server's verdict.
    """

    allow: frozenset[str] = frozenset()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    threshold: float | None = None

    def of_pieces(self, moderations: Sequence[Moderation]) -> Finding:
        """What the pieces of one text contain: for each category the worst piece counts.

        Raises:
            UsageError: a category is named that the server does not know; a slip there would let it pass.
        """
        names = list(dict.fromkeys(name for one in moderations for name in (*one.categories, *one.scores)))
        self._require_known(names)
        scores = {name: max(one.scores.get(name, 0.0) for one in moderations) for name in names}
        flagged = {name for one in moderations for name, value in one.categories.items() if value}
        if any(one.flagged and not any(one.categories.values()) for one in moderations) and self.threshold is None:
            flagged.add(UNSPECIFIED)
        known = {name for one in moderations for name in one.scores}
        found = [name for name in [*names, UNSPECIFIED] if self._counts(name, scores, flagged, known)]
        return self._finding(found, {**scores, **{name: 1.0 for name in found if name not in known}})

    def of_names(self, found: Iterable[str]) -> Finding:
        """What a judge names."""
        names = list(dict.fromkeys(found))
        return self._finding(names, dict.fromkeys(names, 1.0))

    def _counts(self, name: str, scores: Mapping[str, float], flagged: set[str], known: set[str]) -> bool:
        bound = self.thresholds.get(name, self.threshold)
        return name in flagged if bound is None or name not in known else scores[name] >= bound

    def _finding(self, found: Sequence[str], scores: Mapping[str, float]) -> Finding:
        counted = sorted((name for name in found if name not in self.allow), key=lambda name: -scores[name])
        highest = max((score for name, score in scores.items() if name not in self.allow), default=0.0)
        return Finding(
            counted={name: round(scores[name], 4) for name in counted},
            allowed=tuple(name for name in found if name in self.allow),
            safety=round(1 - min(max(highest, 0.0), 1.0), 4) + 0.0,
        )

    def _require_known(self, names: Sequence[str]) -> None:
        for name in sorted({*self.allow, *self.thresholds}):
            if name not in names and name != UNSPECIFIED:
                raise UsageError(
                    f"moderate: the endpoint has no category '{name}'", f"its categories: {', '.join(names) or 'none'}"
                )


def slug(category: str) -> str:
    """A category as a part of a reason: `harassment/threatening` is `harassment-threatening`."""
    return re.sub(r"[^a-z0-9]+", "-", category.lower()).strip("-") or UNSPECIFIED


def evidence(finding: Finding, **further: Any) -> dict[str, Any]:
    """A drop's detail."""
    return {"categories": dict(finding.counted), **further}
