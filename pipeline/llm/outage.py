"""Endpoints that are down, as people are told of them."""

import time
from collections.abc import Callable

from pipeline.llm.gate import Gate


class Outages:
    """Follows gates; `look` belongs to the event loop, `sentences` may be called from any thread."""

    def __init__(self, notice: Callable[[str], None]) -> None:
        self._notice = notice
        self._down: dict[int, tuple[Gate, str]] = {}

    def look(self, gate: Gate, where: str) -> None:
        """Say it when the endpoint at `where` has just been found to be down, or back."""
        known = id(gate) in self._down
        if gate.down_since is not None and not known:
            said = f"{where} is down since {time.strftime('%H:%M:%S')}"
            self._down[id(gate)] = (gate, said)
            self._notice(f"{said}; it is asked again now and then, and the run goes on when it answers")
        elif gate.down_since is None and known:
            del self._down[id(gate)]
            self._notice(f"{where} answers again")

    def sentences(self) -> list[str]:
        """One for each endpoint that is down now."""
        return [f"{said}, probing every {gate.probe_interval:.0f} s" for gate, said in list(self._down.values())]
