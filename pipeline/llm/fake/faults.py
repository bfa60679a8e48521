"""Which fault, if any, befalls a call: drawn from its key, and from how often that body has come before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.errors import UsageError
from pipeline.llm.fake.question import Question
from pipeline.llm.fake.when import When, when_of

FaultKind = Literal[
    "status",
    "hang",
    "reset",
    "truncated_json",
    "wrong_type",
    "empty_choices",
    "content_filter",
    "length",
    "refusal",
    "drip",
]

OUTCOMES = ("content_filter", "length", "refusal")
"""Kinds that are a model's answer rather than an accident: by default drawn once for a body, so that asking again after
a crash gives the same answer."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One kind of accident and how often it happens.

    Attributes:
        share: probability, of those questions for which `when` holds.
        per: `attempt` draws anew each time a body comes, `body` once and for all.
        attempts: only a body's first so many attempts are hit; None is all.
        charge: whether the bill counts the reply.
        params: the kind's own settings, as the schema has them.
    """

    kind: FaultKind
    share: float
    when: When
    per: Literal["attempt", "body"]
    attempts: int | None
    charge: bool
    params: Mapping[str, Any]

    def number(self, name: str, default: float) -> float:
        """A numeric setting."""
        return float(self.params.get(name, default))


def faults_of(source: Sequence[Mapping[str, Any]], file: str) -> tuple[Fault, ...]:
    """The checked list of faults; UsageError when the shares of a draw add up to more than 1."""
    faults = []
    for i, item in enumerate(source):
        own = {k: v for k, v in item.items() if k not in ("kind", "share", "when", "per", "attempts", "charge")}
        fault = Fault(
            kind=item["kind"],
            share=item["share"],
            when=when_of(item.get("when", {}), file, f"faults[{i}]"),
            per=item.get("per", "body" if item["kind"] in OUTCOMES else "attempt"),
            attempts=item.get("attempts"),
            charge=item.get("charge", item["kind"] not in ("status", "wrong_type")),
            params=own,
        )
        faults.append(fault)
    for per in ("attempt", "body"):
        total = sum(f.share for f in faults if f.per == per and f.when == When())
        if total > 1 + 1e-9:
            raise UsageError(
                f"{file}: the shares of the faults drawn per {per} add up to {total:g}, which is more than 1"
            )
    return tuple(faults)


def choose(faults: Sequence[Fault], question: Question, attempt: int) -> Fault | None:
    """The fault of this attempt (counted from 1): one drawn per attempt comes first, then one drawn per body."""
    for per, number in (("attempt", attempt), ("body", 0)):
        spot = None
        for fault in faults:
            if fault.per != per or not fault.when.holds(question):
                continue
            if spot is None:
                spot = question.unit(f"fault per {per}", number)
            if spot < fault.share:
                if fault.attempts is None or attempt <= fault.attempts:
                    return fault
                break
            spot -= fault.share
    return None
