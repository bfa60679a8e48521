"""Eight bytes at a time, for compiled loops over text: most of a text is characters that need no thought."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_SPACES = np.uint64(0x2020202020202020)
_QUOTES = np.uint64(0x2222222222222222)
_SLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)


@intrinsic
def load(context: Any, data: Any, at: Any) -> Any:
    """The eight bytes of an array from `at` on, as a little-endian word; the caller sees to the bounds."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load(_place(context, builder, signature, values), align=1)

    return types.uint64(data, at), generate


@intrinsic
def store(context: Any, data: Any, at: Any, word: Any) -> Any:
    """Write a word as eight bytes from `at` on; the caller sees to the bounds."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store(values[2], _place(context, builder, signature, values), align=1)
        return context.get_dummy_value()

    return types.void(data, at, types.uint64), generate


def _place(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    array = cgutils.create_struct_proxy(signature.args[0])(context, builder, values[0])
    return builder.bitcast(builder.gep(array.data, [values[1]]), ir.IntType(64).as_pointer())


@intrinsic
def _trailing_zeros(context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@njit(cache=True, nogil=True)
def special(word: np.uint64) -> np.uint64:
    """Marks the bytes of a word that JSON text may not hold as they are: quotation mark, backslash, control characters.

    The lowest mark is exact; those above it may be wrong.
    """
    quotes, slashes = word ^ _QUOTES, word ^ _SLASHES
    below = (word - _SPACES) & ~word
    return (below | ((quotes - _ONES) & ~quotes) | ((slashes - _ONES) & ~slashes)) & _HIGH


@njit(cache=True, nogil=True)
def high(word: np.uint64) -> np.uint64:
    """Marks the bytes that are not ASCII."""
    return word & _HIGH


@njit(cache=True, nogil=True)
def unmarked(marks: np.uint64) -> np.int64:
    """How many bytes stand before the first mark; 8 when there is none."""
    return np.int64(_trailing_zeros(marks) >> np.uint64(3))
