"""The LLM that stages are lent: ordered replies over whatever finds and sends calls."""

import queue
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from typing import Protocol

from pipeline.llm.body import Call, compose
from pipeline.llm.caller import unknown_role
from pipeline.llm.models import ModelSpec
from pipeline.llm.request import Profile, Reply, Request

_LISTEN = 0.25
"""Seconds of waiting at a stretch: polars handles SIGINT in a way that restarts a wait, so that only between two waits
does Python learn of Ctrl-C; and a batch may be hours away."""


class Exchange(Protocol):
    """Where calls are found and made: a Caller, or something that hands them to Callers elsewhere."""

    def find(self, call: Call) -> Reply | None:
        """The reply, when the ledger holds it; counts it as reused."""
        ...

    def send(self, call: Call) -> Future[Reply]:
        """Have the call made; see Caller.send for what the future may raise."""
        ...

    def awaits(self, key: str) -> None:
        """One who asks waits for this reply, and brings no more calls until it has it."""
        ...

    def release(self, keys: Sequence[str]) -> None:
        """These calls are no longer wanted by one who asked for them; may do nothing."""
        ...


class Client:
    """Implements the LLM protocol for one entry of a recipe; thread-safe."""

    def __init__(self, exchange: Exchange, specs: Mapping[str, ModelSpec], entry: str) -> None:
        self._exchange, self._specs, self._entry = exchange, specs, entry

    def profile(self, role: str) -> Profile:
        """What is known of the model in this role; UsageError for a role the recipe does not define."""
        if role not in self._specs:
            raise unknown_role(role, self._specs)
        return self._specs[role].profile

    def ask(self, requests: Iterable[Request], window: int) -> Iterator[Reply]:
        """Replies in the order of the requests; see the LLM protocol for the rule of the window.

        Replies that the ledger holds are read in the asking thread and never wait for another. The first call that
        the endpoint refuses for good ends it all: the error is raised as soon as it is known. However it ends, calls
        already sent are awaited, so that they are in the ledger; calls still waiting to be sent are dropped.
        """
        if window < 1:
            raise ValueError("window must be at least 1")
        source = iter(requests)
        asked: deque[Reply | _Asked] = deque()
        arrivals = _Arrivals()
        try:
            exhausted = False
            while True:
                while not exhausted and len(asked) < window:
                    request = next(source, None)
                    if request is None:
                        exhausted = True
                    else:
                        self._begin(request, asked, arrivals)
                if not asked:
                    return
                head = asked[0]
                reply = head if isinstance(head, Reply) else self._await(head, arrivals)
                asked.popleft()
                yield reply
        finally:
            self._end([item for item in asked if not isinstance(item, Reply)])

    def _begin(self, request: Request, asked: "deque[Reply | _Asked]", arrivals: "_Arrivals") -> None:
        spec = self._specs.get(request.role)
        if spec is None:
            raise unknown_role(request.role, self._specs)
        call = compose(spec, request, self._entry)
        reply = self._exchange.find(call)
        if reply is not None:
            asked.append(reply)
            return
        begun = _Asked(call.key)
        asked.append(begun)  # before it is sent: Ctrl-C may come between the two, and then it has to be released too
        begun.future = self._exchange.send(call)
        begun.future.add_done_callback(arrivals.note)

    def _await(self, asked: "_Asked", arrivals: "_Arrivals") -> Reply:
        assert asked.future is not None
        if not asked.future.done():
            self._exchange.awaits(asked.key)
        return arrivals.result(asked.future)

    def _end(self, left: "list[_Asked]") -> None:
        """Nobody wants what is left; wait for what was sent."""
        if left:
            self._exchange.release([asked.key for asked in left if asked.future is None or not asked.future.done()])
            wait([asked.future for asked in left if asked.future is not None])


class _Asked:
    """A call somebody waits for; without a future until it is handed over."""

    __slots__ = ("future", "key")

    def __init__(self, key: str) -> None:
        self.key = key
        self.future: Future[Reply] | None = None


class _Arrivals:
    """Notes each reply as it comes, in whatever order, so that a failure anywhere in the window is seen at once."""

    def __init__(self) -> None:
        self._came: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def note(self, future: Future[Reply]) -> None:
        """A call has ended."""
        error = future.exception()
        self._came.put(None if isinstance(error, CancelledError) else error)

    def result(self, future: Future[Reply]) -> Reply:
        """Wait for this reply; raises the first failure of any call."""
        while not future.done():
            try:
                error = self._came.get(timeout=_LISTEN)
            except queue.Empty:
                continue
            if error is not None:
                raise error
        return future.result()
