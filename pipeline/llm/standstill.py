"""Why no call goes on right now, in words for whoever watches: so that a long pause never looks like a crash."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.llm.flight import Line

NOTEWORTHY = 2.0
"""Seconds; shorter pauses are part of the normal course of things."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """Something that is waited for.

    Attributes:
        why: fits behind "waiting 32 s: ".
        seconds: until it is over, as far as one knows.
    """

    why: str
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"why": self.why, "seconds": None if self.seconds is None else round(self.seconds, 1)}


class Noticeboard:
    """Where anyone who waits for something long says so, each under a name of its own; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: dict[str, tuple[str, float | None]] = {}

    def put(self, name: str, why: str, seconds: float | None = None) -> None:
        """Say what is waited for, and for how long if that is known; replaces what stands under that name."""
        with self._lock:
            self._notes[name] = (why, None if seconds is None else time.monotonic() + seconds)

    def remove(self, name: str) -> None:
        """It is over."""
        with self._lock:
            self._notes.pop(name, None)

    def read(self) -> Standstill | None:
        """What was put up first and still stands."""
        with self._lock:
            for why, end in self._notes.values():
                return Standstill(why=why, seconds=None if end is None else max(0.0, end - time.monotonic()))
        return None


def standstill(lines: Iterable[Line], *, on_the_wire: bool) -> Standstill | None:
    """What the calls of these lines wait for, when it is anything but a reply; from any thread.

    Args:
        lines: all of them.
        on_the_wire: some attempt is under way.
    """
    lines, now = list(lines), time.monotonic()
    pauses = [(line.gate.paused_until - now, line) for line in lines if line.waiting or line.resting or line.due]
    longest, line = max(pauses, key=lambda pause: pause[0], default=(0.0, None))
    if line is not None and longest > NOTEWORTHY:
        return Standstill(why=f"the server asked for it{_because(line)}", seconds=longest)
    if on_the_wire:
        return None
    # Copies, since the event loop changes these while we look.
    rests = [(timer.when() - now, line) for line in lines for timer in list(line.resting.values())]
    soonest, line = min(rests, key=lambda rest: rest[0], default=(0.0, None))
    if line is None or soonest < NOTEWORTHY:
        return None
    return Standstill(why=f"to try again{_because(line)}", seconds=soonest)


def _because(line: Line) -> str:
    return f" ({line.trouble})" if line.trouble else ""
