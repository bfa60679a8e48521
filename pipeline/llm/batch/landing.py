"""Whoever waits for what comes back in batches."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from pipeline.llm.flight import Flight
from pipeline.llm.landings import Landings
from pipeline.llm.reading import Reading


class Landing(Protocol):
    """Whoever waits for calls that are in batches. Called on the event loop."""

    def under_way(self, key: str) -> bool:
        """Whether somebody still waits for this call."""
        ...

    def collected(self, key: str, reading: Reading) -> None:
        """Its reply is durable."""
        ...

    def ask_online(self, key: str) -> None:
        """It is to be asked alone."""
        ...

    def give_up(self, key: str, why: str) -> None:
        """It has no final outcome."""
        ...

    def asks_online(self) -> bool:
        """Whether a single call is on its way."""
        ...

    def money_back(self) -> None:
        """A batch has ended: there may be money for single calls that wait for it."""
        ...

    def fail(self, keys: Iterable[str], error: BaseException) -> None:
        """There will be no reply to these."""
        ...


class ByKey:
    """Lands what a batch says of a key on the flight of that key, if there still is one."""

    def __init__(
        self,
        flights: Mapping[str, Flight],
        landings: Landings,
        queue: Callable[[Flight], None],
        stored: Callable[[Flight, Reading], None],
        give_up: Callable[[Flight, str], None],
        fail: Callable[[Flight, BaseException], None],
        money_back: Callable[[], None],
    ) -> None:
        self._flights, self._landings = flights, landings
        self._queue, self._stored, self._give_up, self._fail = queue, stored, give_up, fail
        self._money_back = money_back

    def under_way(self, key: str) -> bool:
        """See Landing."""
        return key in self._flights

    def collected(self, key: str, reading: Reading) -> None:
        """See Landing."""
        self._landings.note(key)
        if key in self._flights:
            self._stored(self._flights[key], reading)

    def ask_online(self, key: str) -> None:
        """See Landing."""
        if key in self._flights:
            self._queue(self._flights[key])

    def give_up(self, key: str, why: str) -> None:
        """See Landing."""
        if key in self._flights:
            self._give_up(self._flights[key], why)

    def fail(self, keys: Iterable[str], error: BaseException) -> None:
        """See Landing."""
        for flight in [self._flights[key] for key in keys if key in self._flights]:
            self._fail(flight, error)

    def asks_online(self) -> bool:
        """See Landing."""
        return any(flight.place in ("sent", "resting") for flight in self._flights.values())

    def money_back(self) -> None:
        """See Landing."""
        self._money_back()
