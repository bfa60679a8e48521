"""Traditional and simplified Chinese as one script, for comparison only."""

import functools
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Variants = Literal["apart", "same"]

_TABLE = Path(__file__).with_name("traditional.txt")
_PLANES = 0x30000


@functools.cache
def simplified() -> dict[str, str]:
    """Each traditional character with its usual simplified form."""
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    return {line[0]: line[1] for line in lines if not line.startswith("#")}


@functools.cache
def single_table(variants: Variants) -> NDArray[np.uint32]:
    """What each code point below the table's length is compared as; empty when every one stands for itself."""
    if variants == "apart":
        return np.empty(0, np.uint32)
    table = np.arange(_PLANES, dtype=np.uint32)
    for traditional, simple in simplified().items():
        table[ord(traditional)] = ord(simple)
    return table
