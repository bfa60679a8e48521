"""The bill: what came, what was begun and finished, and what all of it would have cost."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.llm.fake.completion import Usage
from pipeline.llm.fake.question import Question
from pipeline.llm.fake.script import Price


@dataclass(slots=True)
class Call:
    """All that happened to one body.

    Attributes:
        attempts: how often it came.
        begun: replies of status 200 whose first byte was about to be sent.
        finished: whole replies of status 200 handed to the connection. A batch's lines count as begun and finished.
        aborted: attempts that the client gave up before their end.
        charged: replies that count on the bill.
    """

    path: str
    model: str
    rule: str = ""
    attempts: int = 0
    begun: int = 0
    finished: int = 0
    aborted: int = 0
    charged: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    body: Mapping[str, Any] | None = None

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "body" or self.body is not None}


class Bill:
    """Counts of one server since its start or last reset."""

    def __init__(self, price: Mapping[str, Price], keep_bodies: bool = False) -> None:
        self._price = price
        self._keep_bodies = keep_bodies
        self.calls: dict[str, Call] = {}
        self.reset()

    def reset(self) -> None:
        """Forget everything, the attempts that faults are drawn for included."""
        self.calls.clear()
        self.totals: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._tokens: dict[tuple[str, bool], Counter[str]] = {}
        self.in_flight = self.peak_in_flight = 0

    def arrive(self, question: Question, rule: str) -> Call:
        """Count one more attempt of this body."""
        call = self.calls.get(question.key)
        if call is None:
            call = self.calls[question.key] = Call(question.path, question.model, rule)
            if self._keep_bodies:
                call.body = question.body
        call.attempts += 1
        self.totals["requests"] += 1
        return call

    def enter(self) -> None:
        """One more call in flight."""
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def leave(self) -> None:
        """One call less in flight."""
        self.in_flight -= 1

    def answer(self, call: Call | None, status: int) -> None:
        """Count the status of an attempt; without a call, of a request that was no question."""
        self.statuses[str(status)] += 1
        if call is not None:
            call.statuses[str(status)] = call.statuses.get(str(status), 0) + 1

    def suffer(self, call: Call | None, fault: str) -> None:
        """Count a fault."""
        self.faults[fault] += 1
        if call is not None:
            call.faults[fault] = call.faults.get(fault, 0) + 1

    def charge(self, call: Call, usage: Usage, batch: bool = False) -> None:
        """Put a reply on the bill."""
        call.charged += 1
        call.prompt_tokens += usage.prompt
        call.completion_tokens += usage.completion
        counts = self._tokens.setdefault((call.model, batch), Counter())
        counts.update(replies=1, prompt=usage.prompt, cached=usage.cached, completion=usage.completion)

    def count(self, call: Call, what: str) -> None:
        """Count `begun`, `finished` or `aborted`."""
        setattr(call, what, getattr(call, what) + 1)
        self.totals[what] += 1

    def shown(self) -> dict[str, Any]:
        """As JSON; `usd` is null when a model that replied has no price."""
        lines: list[dict[str, Any]] = []
        total = 0.0
        unknown = False
        for (model, batch), counts in sorted(self._tokens.items()):
            usd = self._usd(model, batch, counts)
            unknown |= usd is None
            total += usd or 0.0
            tokens = {f"{kind}_tokens": counts[kind] for kind in ("prompt", "cached", "completion")}
            lines.append({"model": model, "batch": batch, "replies": counts["replies"], **tokens, "usd": usd})
        sums = {
            name: sum(line[name] for line in lines) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")
        }
        return {
            "requests": self.totals["requests"],
            "distinct": len(self.calls),
            **{name: self.totals[name] for name in ("begun", "finished", "aborted")},
            "charged": sum(line["replies"] for line in lines),
            "statuses": dict(sorted(self.statuses.items())),
            "faults": dict(sorted(self.faults.items())),
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            **sums,
            "usd": None if unknown else total,
            "lines": lines,
        }

    def _usd(self, model: str, batch: bool, counts: Mapping[str, int]) -> float | None:
        price = self._price.get(model) or self._price.get("default")
        if not counts["prompt"] and not counts["completion"]:
            return 0.0
        if price is None:
            return None
        cached = price.input if price.cached_input is None else price.cached_input
        usd = (
            (counts["prompt"] - counts["cached"]) * price.input
            + counts["cached"] * cached
            + counts["completion"] * price.output
        )
        return usd * (1 - price.batch_discount if batch else 1) / 1e6
