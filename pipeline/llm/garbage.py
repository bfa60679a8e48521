"""Python's garbage collector while many calls are under way."""

import gc
import threading

_THRESHOLDS = (50_000, 20, 100)
"""New objects before the youngest are looked through, and how often that is done before older ones are. A call is some
forty objects for as long as it is under way, and a thousand calls always are: at Python's own thresholds (700, 10, 10)
they are looked through again and again and nothing is found, which takes a sixth of a call's processor time."""

_lock = threading.Lock()
_relaxed: list[tuple[int, int, int]] = []
"""The thresholds that each who relaxed them found; the first are those of the process."""


def relax() -> None:
    """Collect more rarely, until `restore` has been called as often."""
    with _lock:
        _relaxed.append(gc.get_threshold())
        gc.set_threshold(*_THRESHOLDS)


def restore() -> None:
    """End what one `relax` began; the last one brings the process's thresholds back."""
    with _lock:
        found = _relaxed.pop()
        if not _relaxed:
            gc.set_threshold(*found)
