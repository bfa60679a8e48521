"""Waiting for a batch's server: requests tried again, and pauses that end when we leave."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.llm.batch.server import Later
from pipeline.llm.flight import Pauses

T = TypeVar("T")


class OutOfTime(Exception):
    """The server did not answer for longer than a call is worth waiting for."""


class Away(Exception):
    """We leave; what the server has stays there."""


class Patience:
    """Waits on behalf of one batch. Used on the event loop.

    Attributes:
        deadline: seconds after which a request that does not work is given up.
        trouble: why the last request did not work, or empty.
    """

    def __init__(self, pauses: Pauses, deadline: float) -> None:
        self.pauses, self.deadline = pauses, deadline
        self.trouble = ""
        self._leaving = asyncio.Event()

    @property
    def leaving(self) -> bool:
        """Whether we are to come to an end."""
        return self._leaving.is_set()

    def leave(self) -> None:
        """Wait no more."""
        self._leaving.set()

    async def rest(self, seconds: float) -> None:
        """Wait; raises Away when we leave meanwhile."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._leaving.wait()
        except TimeoutError:
            return
        raise Away

    async def rest_after(self, later: Later, tries: int, began: float) -> None:
        """Wait before another attempt; raises OutOfTime when there is to be none."""
        pause = self.pauses.pause(tries, random.random()) if later.wait is None else later.wait
        if time.monotonic() + pause > began + self.deadline:
            raise OutOfTime(str(later)) from later
        self.trouble = str(later)
        await self.rest(pause)

    async def ask(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a blocking function off the loop, again and again until it works."""
        began, tries = time.monotonic(), 0
        while True:
            try:
                value = await asyncio.to_thread(function, *arguments)
            except Later as later:
                tries += 1
                await self.rest_after(later, tries, began)
            else:
                self.trouble = ""
                return value
