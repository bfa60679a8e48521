"""The lines and paragraphs of a text."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.measures.characters import BREAK, SPACE, Letters, kind_of
from pipeline.measures.grams import clear, tally
from pipeline.measures.work import Work

_PRIME = 0x100000001B3

_BULLETS = np.array([ord(c) for c in "•-*·●○▪‣"], np.uint32)
_DOT, _ELLIPSIS, _NEW_LINE, _RETURN = 0x2E, 0x2026, 0x0A, 0x0D


@njit(cache=True, nogil=True)
def measure_lines(work: Work, count: int, table: Letters, row: NDArray[np.float64]) -> None:
    """Fill mean and longest line, the shares of bullet and ellipsis lines, and of lines and paragraphs seen before."""
    lines, longest, bullets, ellipses, filled, at = 0, 0, 0, 0, 0, 0
    codes = work.codes
    while at < count:
        end = at
        while end < count and not kind_of(codes[end], table.kinds) & BREAK:
            end += 1
        first, last = _stripped(codes, at, end, table)
        lines, longest = lines + 1, max(longest, end - at)
        if first < last:
            bullets += _is_bullet(codes[first])
            ellipses += _ends_in_ellipsis(codes, first, last)
            filled = _keep(work, filled, first, last)
        at = end + (2 if end + 1 < count and codes[end] == _RETURN and codes[end + 1] == _NEW_LINE else 1)
    row[0] = count / lines if lines else 0.0
    row[1] = longest
    row[2] = bullets / filled if filled else 0.0
    row[3] = ellipses / filled if filled else 0.0
    row[4], row[5] = _repeated(work, filled, count)
    row[6], row[7] = _repeated(work, _paragraphs(work, count, table), count)


@njit(cache=True, nogil=True)
def _paragraphs(work: Work, count: int, table: Letters) -> int:
    """Hash the pieces between blank lines; returns how many there are."""
    found, at = 0, 0
    codes = work.codes
    while at < count:
        end = at
        while end < count and not (codes[end] == _NEW_LINE and end + 1 < count and codes[end + 1] == _NEW_LINE):
            end += 1
        first, last = _stripped(codes, at, end, table)
        if first < last:
            found = _keep(work, found, first, last)
        at = end + 2
    return found


@njit(cache=True, nogil=True)
def _keep(work: Work, filled: int, first: int, last: int) -> int:
    value = np.uint64(last - first)
    for k in range(first, last):
        value = (value ^ np.uint64(work.codes[k])) * np.uint64(_PRIME)
    work.hashes[filled], work.lengths[filled] = value, last - first
    return filled + 1


@njit(cache=True, nogil=True)
def _stripped(codes: NDArray[np.uint32], first: int, last: int, table: Letters) -> tuple[int, int]:
    while first < last and kind_of(codes[first], table.kinds) & SPACE:
        first += 1
    while first < last and kind_of(codes[last - 1], table.kinds) & SPACE:
        last -= 1
    return first, last


@njit(cache=True, nogil=True)
def _is_bullet(code: int) -> bool:
    for bullet in _BULLETS:  # noqa: SIM110 - a loop is what numba compiles
        if bullet == code:
            return True
    return False


@njit(cache=True, nogil=True)
def _ends_in_ellipsis(codes: NDArray[np.uint32], first: int, last: int) -> bool:
    if codes[last - 1] == _ELLIPSIS:
        return True
    dots = 0
    for k in range(max(first, last - 3), last):
        dots += codes[k] == _DOT
    return dots == 3


@njit(cache=True, nogil=True)
def _repeated(work: Work, found: int, count: int) -> tuple[float, float]:
    """The share of the pieces that occurred before, and the share of the text's characters in them."""
    if found == 0:
        return 0.0, 0.0
    distinct = tally(work.hashes, found, work)
    characters = 0
    for i in range(found - 1, -1, -1):
        if work.seen[work.slots[i]] > 1:
            characters += work.lengths[i]
            work.seen[work.slots[i]] -= 1
    clear(work, found)
    return (found - distinct) / found, characters / count
