"""A call under way, the line it stands in, and the pauses between its attempts."""

import asyncio
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from pipeline.errors import ModelError
from pipeline.llm.body import Call
from pipeline.llm.gate import Gate, Pass
from pipeline.llm.models import ModelSpec
from pipeline.llm.request import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """How long we wait for what, in seconds.

    Attributes:
        nobody: for the first answer of an endpoint, before it is taken for absent.
        first: about that long before the second attempt of a call; then twice as long each time.
        longest: at most that long between two attempts, unless the server asks for more.
        limited: at most that long after a 429: when the endpoint is asked again is the gate's decision.
        probe: before an endpoint that is down is asked again; then twice as long each time.
    """

    nobody: float = 10.0
    first: float = 0.5
    longest: float = 30.0
    limited: float = 1.0
    probe: float = 1.0

    def pause(self, attempts: int, jitter: float) -> float:
        """Seconds before the next attempt after so many; `jitter` in 0..1 spreads calls that failed together."""
        return min(self.longest, self.first * 2.0 ** min(attempts - 1, 10)) * (0.5 + 0.5 * jitter)


PAUSES = Pauses()


@dataclass(eq=False, slots=True)
class Line:
    """The calls of one role on their way, and where they go.

    Attributes:
        gate: shared by roles that ask the same model of the same server.
        waiting: never sent.
        resting: between two attempts, with the timer that ends the rest.
        due: rested, to be tried again before anything new is sent.
        reached: the server has answered at least once.
        trouble: why there is a pause, in a few words: what came with it, or the last failure.
        refused: why it refused us for good before it had answered anything; nothing more is asked of it.
    """

    spec: ModelSpec
    gate: Gate
    waiting: "deque[Flight]" = field(default_factory=deque)
    resting: "dict[Flight, asyncio.TimerHandle]" = field(default_factory=dict)
    due: "deque[Flight]" = field(default_factory=deque)
    reached: bool = False
    trouble: str = ""
    refused: ModelError | None = None


@dataclass(eq=False, slots=True)
class Flight:
    """One call from the first wish for it until its reply is durable.

    Attributes:
        futures: everybody who asked for it; all but the first joined later.
        tokens: about how many it will use; 0 where that does not matter.
        wanted: how many of `futures` still want the reply.
        place: `waiting` to be sent, `sent`, `resting` between two attempts (due ones included), `batched` (waiting for
            a batch or in one), or `over`.
        given: its place at the gate, while it has one.
        excused: seconds for which it was not tried because the endpoint was down; they do not eat its deadline.
        downtime: the gate's seconds of outage when this call was last tried.
        lost: attempts without a reply that may have been paid, as reasons.
        quote: US dollars that one attempt costs at worst; None when nobody knows.
        holds: that much is reserved for it.
    """

    call: Call
    line: Line
    futures: list[Future[Reply]]
    tokens: float = 0.0
    wanted: int = 1
    place: Literal["waiting", "sent", "resting", "batched", "over"] = "waiting"
    given: Pass | None = None
    sends: int = 0
    first_sent: float = 0.0
    excused: float = 0.0
    downtime: float = 0.0
    lost: list[str] = field(default_factory=list)
    quote: float | None = None
    holds: bool = False
