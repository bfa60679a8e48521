"""Conversations in step: each record's calls written as one plain generator, many of them under way at once."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Generic, TypeVar, cast

from pipeline.llm.request import LLM, Reply, Request

T = TypeVar("T")

Flow = Generator[Request, Reply, T]
"""Yields requests, is sent their replies, returns its result. A flow never sees an `unavailable` reply."""


class Unavailable:
    """The result of a flow whose model call outlasted its deadline."""


UNAVAILABLE = Unavailable()


class _Slot(Generic[T]):
    """One started flow and, once it has ended, its result."""

    def __init__(self, flow: Flow[T]) -> None:
        self.flow = flow
        self.done = False
        self.result: T | Unavailable = UNAVAILABLE

    def advance(self, reply: Reply | None) -> Request | None:
        """Step the flow; the next request, or None when it has ended."""
        if reply is not None and reply.outcome == "unavailable":
            self.flow.close()
            self.done = True
            return None
        try:
            return next(self.flow) if reply is None else self.flow.send(reply)
        except StopIteration as stop:
            self.result, self.done = cast(T, stop.value), True
            return None


def converse(llm: LLM, flows: Iterable[Flow[T]], window: int) -> Iterator[T | Unavailable]:
    """Run the flows over `llm`, at most `window` requests ahead; results in the order in which the flows started.

    A request slot goes to the started flow that has waited longest; a new flow is started only when none is ready.
    Since replies arrive in the order of their requests, which request comes next, and all that the flows share, is a
    function of the replies alone, never of timing.
    """
    source = iter(flows)
    started: deque[_Slot[T]] = deque()
    ready: deque[tuple[_Slot[T], Request]] = deque()
    asked: deque[_Slot[T]] = deque()
    exhausted = False

    def requests() -> Iterator[Request]:
        nonlocal exhausted
        while True:
            while not ready:
                if len(started) >= 4 * window and started[0].done:
                    return  # many flows needed no call: hand their results out before starting more
                flow = next(source, None)
                if flow is None:
                    exhausted = True
                    return
                slot = _Slot(flow)
                started.append(slot)
                first = slot.advance(None)
                if first is not None:
                    ready.append((slot, first))
            slot, request = ready.popleft()
            asked.append(slot)
            yield request

    def finished() -> Iterator[T | Unavailable]:
        while started and started[0].done:
            yield started.popleft().result

    # `requests` ends whenever no flow is ready, although some may still wait for a reply; then it is begun anew.
    while ready or not exhausted:
        with closing(cast(Generator[Reply, None, None], llm.ask(requests(), window))) as replies:
            for reply in replies:
                slot = asked.popleft()
                following = slot.advance(reply)
                if following is not None:
                    ready.append((slot, following))
                yield from finished()
        yield from finished()
