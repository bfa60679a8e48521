"""The money for batches: set aside at the price of a batch before a line is sent."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pipeline.errors import SeedmillError
from pipeline.llm.batch.landing import Landing
from pipeline.llm.batch.lines import Line
from pipeline.llm.batch.terms import batch_factor
from pipeline.llm.batch.tray import Tray
from pipeline.llm.body import Call
from pipeline.llm.models import ModelSpec
from pipeline.llm.purse import Purse

Paid = Literal["no", "perhaps", "open"]
"""Whether an attempt that brought nothing is on the bill. `open`: the server may still be working on it."""


class Funds:
    """Reserves what lines cost at worst, and settles what they really cost."""

    def __init__(self, purse: Purse) -> None:
        self._purse = purse

    def afford(self, tray: Tray, lines: Sequence[Line], landing: Landing, *, waiting: bool) -> list[Line]:
        """The lines that there is money for.

        The others go back into the tray, for what is under way (`waiting`) gives back most of what is set aside for
        it; otherwise there is nothing to wait for, and they fail with the budget's sentence.
        """
        afforded: list[Line] = []
        for line in lines:
            try:
                amount = self._quote(line.call, tray.spec)
            except SeedmillError as error:
                landing.fail([line.call.key], error)
                continue
            if self._purse.take(amount):
                afforded.append(replace(line, reserved=amount))
            elif afforded or waiting:
                tray.broke = True
                tray.add(line)
            else:
                landing.fail([line.call.key], self._purse.used_up(amount))
        return afforded

    def again(self, line: Line, spec: ModelSpec) -> Line:
        """A line that an earlier run sent: reserved once more, before anything else asks for the money."""
        amount = self._quote(line.call, spec)
        self._purse.take(amount)
        return replace(line, reserved=amount)

    def pay(self, line: Line, cost: float | None) -> None:
        """It brought a reply that costs so much."""
        self._purse.pay(line.reserved, cost)

    def settle(self, line: Line, paid: Paid) -> None:
        """It brought nothing."""
        if paid == "perhaps":
            self._purse.lose(line.reserved)
        elif paid == "no":
            self._purse.give_back(line.reserved)

    def _quote(self, call: Call, spec: ModelSpec) -> float | None:
        amount = self._purse.quote(call, spec)
        return None if amount is None else amount * batch_factor(spec.price or {})
