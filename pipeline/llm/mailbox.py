"""Calls from other threads onto an event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

Post = Callable[..., None]
"""Calls a function with arguments on the event loop; from any thread, in order."""


class Mailbox:
    """Has functions called on a loop, in order; waking a loop is dear, so one waking serves all that have come."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._inbox: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def post(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call it on the loop; from any thread."""
        with self._lock:
            awake = bool(self._inbox)
            self._inbox.append((function, arguments))
        if not awake:
            # When the loop is closed, what the ledger's threads still had to say concerns nobody.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        with self._lock:
            came, self._inbox = self._inbox, []
        for function, arguments in came:
            try:
                function(*arguments)
            except Exception as error:  # a bug; the others must not wait for ever because of it
                self._loop.call_exception_handler({"message": f"{function} failed", "exception": error})
