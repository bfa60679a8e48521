"""The money of one run: what it has spent, what may be on the bill besides, and what it may still spend."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from pipeline.errors import IncompleteError, UsageError
from pipeline.llm.accounts import Account
from pipeline.llm.body import LISTS, Call
from pipeline.llm.models import ModelSpec

_PER_CALL, _PER_MESSAGE, _PER_TOOL = 512, 32, 256
"""Tokens that a chat template may add: its own system text and date, the marks of a message, the frame of a tool."""

_UNIT = 10**18
"""Money is counted in whole attodollars: finer than any price, and sums are exact in any order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Tokens that one attempt uses at most; `output` is None when the request sets no limit."""

    input: int
    output: int | None


def bound_of(call: Call) -> Bound:
    """What a call can use at most.

    A token is never shorter than a byte (byte-pair and byte-fallback tokenizers alike), so the prompt has at most as
    many as its JSON has bytes, beside what the chat template adds. Tools and schemas are rendered anew by servers and
    count twice. Embeddings and moderations bill input alone.
    """
    document = json.loads(call.document)
    params = document["params"]
    schemas = [part for part in (document.get("tools"), document.get("response_format")) if part]
    rendered = sum(len(json.dumps(part, ensure_ascii=False).encode("utf-8", "replace")) for part in schemas)
    allowance = (
        _PER_CALL + _PER_MESSAGE * len(document.get("messages", ())) + _PER_TOOL * len(document.get("tools", ()))
    )
    limits = [params.get(name) for name in ("max_tokens", "max_completion_tokens")]
    given = [limit for limit in limits if _whole(limit)]
    samples = max([1, *(n for n in (params.get("n"), params.get("best_of"), document.get("samples")) if _whole(n))])
    output = max(given) * samples if given else None
    return Bound(
        input=len(call.document.encode("utf-8", "replace")) + rendered + allowance,
        output=0 if document["kind"] in LISTS else output,
    )


def _whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def worst_case(call: Call, price: Mapping[str, float] | None) -> float | None:
    """US dollars that one attempt costs at most; None when nobody can know."""
    if price is None:
        return None
    if not price["input"] and not price["output"]:
        return 0.0
    bound = bound_of(call)
    if bound.output is None or bound.input > price.get("up_to", bound.input):
        return None
    dearest = max(price["input"], price.get("cached_input", 0.0))
    return (bound.input * dearest + bound.output * price["output"]) / 1e6


class Purse:
    """Reserves the worst case of every attempt before it is sent, and settles what it really cost.

    At any moment finished + unresolved + reserved is at most the budget, and once nothing is reserved the provider's
    bill lies between finished and finished + unresolved. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._budget: int | None = None
        self._finished = self._unresolved = self._reserved = 0

    def open(self, budget: float | None, account: Account) -> None:
        """Begin with what the ledger says of the run.

        Args:
            budget: US dollars that the run may cost in all, earlier parts of it included; None for no limit.
            account: of the run so far.

        Raises:
            UsageError: with a budget, when something the run has paid is not known.
        """
        if budget is not None and account.unbounded:
            raise UsageError(
                f"the run '{account.run}' has made {account.unbounded:,} calls whose cost nobody knows, so what is "
                "left of its budget cannot be known",
                f"say what your provider's bill says of them: seedmill ledger reconcile {account.run} --paid USD",
            )
        with self._lock:
            self._budget = None if budget is None else _floor(budget)
            self._finished, self._unresolved = _ceil(account.finished), _ceil(account.unresolved)

    def quote(self, call: Call, spec: ModelSpec) -> float | None:
        """US dollars to reserve for one attempt of a call; None, without a budget, when nobody can know.

        Raises:
            UsageError: with a budget, when nobody can know.
        """
        amount = worst_case(call, spec.price)
        if amount is not None or self._budget is None:
            return amount
        if spec.price is None:
            raise unpriced(spec)
        if bound_of(call).output is None:
            raise UsageError(
                f"entry {call.entry}: a request to '{spec.model}' sets no max_tokens, so a budget cannot hold",
                f"set models.{spec.role}.max_tokens in the recipe, or run without a budget",
            )
        raise UsageError(
            f"entry {call.entry}: a prompt to '{spec.model}' may be longer than the {spec.price['up_to']:,} tokens "
            "up to which its price is known, so a budget cannot hold",
            f"state a price that holds for it in models.{spec.role}.price, or drop such rows before",
        )

    def take(self, amount: float | None) -> bool:
        """Reserve an amount; False, and nothing reserved, when the budget does not allow it."""
        with self._lock:
            wanted = _ceil(amount or 0.0)
            if self._budget is not None and self._finished + self._unresolved + self._reserved + wanted > self._budget:
                return False
            self._reserved += wanted
            return True

    def pay(self, amount: float | None, cost: float | None) -> None:
        """An attempt is answered: its real cost in place of its reservation, which stands when that is not known."""
        with self._lock:
            self._reserved -= _ceil(amount or 0.0)
            if cost is None:
                self._unresolved += _ceil(amount or 0.0)
            else:
                self._finished += _ceil(cost)

    def lose(self, amount: float | None) -> None:
        """An attempt may have been paid though its reply is lost: it stays charged at its worst case."""
        self.pay(amount, None)

    def give_back(self, amount: float | None) -> None:
        """An attempt was certainly not paid."""
        self.pay(amount, 0.0)

    @property
    def left(self) -> float:
        """US dollars that are neither spent nor reserved."""
        with self._lock:
            if self._budget is None:
                return float("inf")
            return max(0, self._budget - self._finished - self._unresolved - self._reserved) / _UNIT

    def state(self) -> dict[str, float | None]:
        """US dollars: `budget` (None without one), `spent`, `unresolved`, `reserved`."""
        with self._lock:
            budget = None if self._budget is None else self._budget / _UNIT
            counted = {"spent": self._finished, "unresolved": self._unresolved, "reserved": self._reserved}
            return {"budget": budget, **{name: value / _UNIT for name, value in counted.items()}}

    def used_up(self, wanted: float | None) -> IncompleteError:
        """The error of calls that the budget does not allow any more; `wanted` is what the next one would reserve."""
        now = self.state()
        budget, spent, unresolved = (now[name] or 0.0 for name in ("budget", "spent", "unresolved"))
        lost = f", {dollars(unresolved)} unresolved (sent, its reply lost, perhaps paid)" if unresolved else ""
        next_one = "" if wanted is None else f"; the next call may cost {dollars(wanted)}"
        hint = "raise budget_usd (or --budget) and run the same command again: what is paid is kept"
        if unresolved:
            hint += "; 'seedmill ledger reconcile' frees what was not paid"
        return IncompleteError(
            f"the budget of {dollars(budget)} is used up: {dollars(spent)} spent{lost}{next_one}", hint
        )


def unpriced(spec: ModelSpec) -> UsageError:
    """The error of a budget over a model whose price is not known."""
    where = spec.endpoint or spec.base_url
    return UsageError(
        f"the price of '{spec.model}' at {where} (role {spec.role}) is not known, so a budget cannot hold",
        f"state it in the recipe, in US dollars per million tokens: models: {{{spec.role}: {{price: "
        "{input: 0.15, output: 0.6}}} (0 for a server of your own), or run without a budget",
    )


def dollars(amount: float) -> str:
    """An amount as people read it: cents, or as many places as a small one needs."""
    if not amount or amount >= 0.1:
        return f"${amount:,.2f}"
    places = 2 - Decimal(repr(amount)).adjusted()
    return f"${amount:.{min(places, 9)}f}"


def _ceil(amount: float) -> int:
    return 0 if not amount else int((Decimal(repr(amount)) * _UNIT).to_integral_value(ROUND_CEILING))


def _floor(amount: float) -> int:
    return int(Decimal(repr(amount)) * _UNIT)
