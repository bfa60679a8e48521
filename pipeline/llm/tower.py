"""Clears flights: sends what the gate of its line lets through, and tells the gate how an attempt ended."""

import asyncio
from collections.abc import Callable, Mapping

from pipeline.llm.body import token_bound
from pipeline.llm.carrier import Heard
from pipeline.llm.faults import Again
from pipeline.llm.flight import Flight, Line
from pipeline.llm.gate import Gate
from pipeline.llm.outage import Outages
from pipeline.llm.reading import Reading
from pipeline.llm.servers import normalised
from pipeline.llm.told import read_told


class Tower:
    """The lines and their gates. Works on the event loop."""

    def __init__(
        self,
        lines: Mapping[str, Line],
        affords: Callable[[Flight], bool],
        go: Callable[[Flight], None],
        notice: Callable[[str], None],
    ) -> None:
        """Begin.

        Args:
            lines: by role.
            affords: asked before an attempt; a flight that it keeps back comes again by way of its line.
            go: sends a flight.
            notice: told when an endpoint is down or back.
        """
        self._lines, self._affords, self._go = lines, affords, go
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._soon: set[int] = set()
        self.outages = Outages(notice)

    def pump(self, gate: Gate) -> None:
        """Send whatever the gate lets through now, second attempts first; come back when it will let through more."""
        lines = [line for line in self._lines.values() if line.gate is gate]
        if all(self._pump_due(line) for line in lines):
            all(self._pump_waiting(line) for line in lines)

    def pump_all(self) -> None:
        """Send whatever may go now that the limits of any gate have changed."""
        for line in self._lines.values():
            self.pump_soon(line.gate)

    def pump_soon(self, gate: Gate) -> None:
        """A moment later, and once for all who ask until then: whoever frees one place may be about to free more."""
        if id(gate) not in self._soon:
            self._soon.add(id(gate))
            asyncio.get_running_loop().call_soon(self._pump_now, gate)

    def _pump_now(self, gate: Gate) -> None:
        self._soon.discard(id(gate))
        self.pump(gate)

    def report(self, flight: Flight, heard: Heard) -> None:
        """Tell the gate how an attempt ended."""
        spec, gate, given, verdict = flight.line.spec, flight.line.gate, flight.given, heard.verdict
        assert given is not None
        told = read_told(heard.told, spec.kind.limits) if heard.told else ()
        if isinstance(verdict, Reading):
            gate.report(given, answered=True, used=verdict.prompt_tokens + verdict.completion_tokens, told=told)
        elif isinstance(verdict, Again):
            limited, down, wait = verdict.limited, verdict.down, verdict.wait
            gate.report(given, limited=limited, failed=down, reached=heard.reached, wait=wait, told=told)
        else:
            gate.withdraw(given)
        self.outages.look(gate, normalised(spec.base_url))
        self.pump_soon(gate)

    def close(self) -> None:
        """Come back no more."""
        for timer in self._timers.values():
            timer.cancel()

    def _pump_due(self, line: Line) -> bool:
        """True when nothing is due any more."""
        while line.due:
            flight = line.due[0]
            wait = line.gate.wait_again(flight.tokens)
            if wait is None or wait > 0:
                self._later(line.gate, wait)
                return False
            line.due.popleft()
            if flight.place != "over" and flight.given is not None and self._affords(flight):
                flight.given = line.gate.renew(flight.given)
                self._go(flight)
        return True

    def _pump_waiting(self, line: Line) -> bool:
        """False when other lines of the gate have to wait as well."""
        gate, spec = line.gate, line.spec
        while line.waiting:
            flight = line.waiting[0]
            if flight.place == "over":
                line.waiting.popleft()
                continue
            if gate.counts_tokens and not flight.tokens:
                flight.tokens = float(token_bound(flight.call))
            wait = gate.wait(spec.role, spec.concurrency, flight.tokens)
            if wait is None:
                break
            if wait > 0:
                self._later(gate, wait)
                return False
            line.waiting.popleft()
            if self._affords(flight):
                flight.given = gate.enter(spec.role, flight.tokens)
                self._go(flight)
        return True

    def _later(self, gate: Gate, wait: float | None) -> None:
        """Pump in `wait` seconds; None waits for another call, whose end pumps."""
        earlier = self._timers.pop(id(gate), None)
        if earlier is not None:
            earlier.cancel()
        if wait is not None:
            self._timers[id(gate)] = asyncio.get_running_loop().call_later(wait, self.pump, gate)
