"""Where flights get the money for their attempts, and wait for it when there is none."""

from collections.abc import Callable

from pipeline.errors import IncompleteError
from pipeline.llm.flight import Flight
from pipeline.llm.purse import Purse


class Till:
    """A purse and those who wait for it to have enough. Used on the event loop of the flights only.

    A reservation goes no sooner than what the ledger holds of it, so that a process that dies at any moment leaves no
    more charged than the budget allows.

    Attributes:
        short: flights that lack the money for an attempt, in the order in which they came.
        ending: calls whose end is being written; their money is not free yet.
    """

    def __init__(self, purse: Purse) -> None:
        self.purse = purse
        self.short: dict[Flight, None] = {}
        self.ending = 0

    def affords(self, flight: Flight) -> bool:
        """Reserve what an attempt costs at worst, unless it is; without the money the flight is noted as short."""
        if flight.holds or self.purse.take(flight.quote):
            flight.holds = True
            return True
        flight.place = "waiting"
        self.short[flight] = None
        return False

    def settle(self, flight: Flight, how: Callable[[float | None], None]) -> list[Flight]:
        """End a flight's reservation, if it has one; those who are short no more."""
        if not flight.holds:
            return []
        flight.holds = False
        how(flight.quote)
        return self.rich()

    def rich(self) -> list[Flight]:
        """Those who are short no more."""
        left = self.purse.left if self.short else 0.0
        rich = [short for short in self.short if (short.quote or 0.0) <= left]
        for short in rich:
            del self.short[short]
        return rich

    def used_up(self, under_way: int) -> IncompleteError | None:
        """The end of the budget: all of so many calls under way lack the money, so that none can give any back."""
        if not self.short or len(self.short) < under_way or self.ending:
            return None
        return self.purse.used_up(min(short.quote or 0.0 for short in self.short))
