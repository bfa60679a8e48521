"""A rule: what to reply to which questions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import UsageError
from pipeline.llm.fake.check import pattern
from pipeline.llm.fake.when import When, when_of


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What to reply when the conditions hold.

    Attributes:
        kind: key of `replies.KINDS`.
        take: its first group is the text to work on; None for the last message.
        params: the kind's own settings, as the schema has them.
    """

    name: str
    when: When
    kind: str
    take: re.Pattern[str] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


FALLBACK = Rule(name="fallback", when=When(), kind="answer")
"""Replies when no rule of the script does."""


def rule_of(item: Mapping[str, Any], i: int, file: str) -> Rule:
    """The checked rule number `i` of a script."""
    place, reply = f"rules[{i}].reply", item["reply"]
    take = pattern(reply["take"], file, f"{place}.take") if "take" in reply else None
    if take is not None and take.groups < 1:
        raise UsageError(
            f"{file}: {place}.take has no group", "put the part that is the text to work on in parentheses"
        )
    return Rule(
        name=item.get("name", f"rules[{i}]"),
        when=when_of(item.get("when", {}), file, f"rules[{i}]"),
        kind=reply["kind"],
        take=take,
        params={k: v for k, v in reply.items() if k not in ("kind", "take")},
    )
