"""Conditions on a question, shared by rules and faults."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.llm.fake.check import pattern
from pipeline.llm.fake.question import PATHS, Path, Question

_ASKED = frozenset(PATHS.values())


@dataclass(frozen=True, kw_only=True)
class When:
    """Conditions on a question; those that are None hold always."""

    path: Path | None = None
    model: re.Pattern[str] | None = None
    system: re.Pattern[str] | None = None
    text: re.Pattern[str] | None = None
    any: re.Pattern[str] | None = None

    def holds(self, question: Question) -> bool:
        """Whether every condition is met; without a path, only where models are asked."""
        if question.path != self.path if self.path else question.path not in _ASKED:
            return False
        return (
            (self.model is None or self.model.search(question.model) is not None)
            and (self.system is None or self.system.search(question.system) is not None)
            and (self.text is None or self.text.search(question.text) is not None)
            and (self.any is None or self.any.search(question.whole) is not None)
        )


def when_of(source: Mapping[str, Any], file: str, place: str) -> When:
    """The conditions of a rule or fault, their regular expressions compiled."""
    found: dict[str, Any] = {k: v if k == "path" else pattern(v, file, f"{place}.when.{k}") for k, v in source.items()}
    return When(**found)
