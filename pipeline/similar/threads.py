"""Spread work that releases the interpreter's lock over the processors of this machine."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(function: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """`function` of every item, in order; worth it for numpy, numba and polars, which let go of the lock."""
    if len(items) < 2 or processors() < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(processors()) as pool:
        return list(pool.map(function, items))
