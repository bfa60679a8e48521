"""Exact duplicates: texts that are equal once Unicode forms and white space are evened out."""

import hashlib
import unicodedata

import numpy as np
import polars as pl
from numpy.typing import NDArray


def digests(texts: pl.Series) -> NDArray[np.uint64]:
    """128 bits of BLAKE2b of each text's normal form, shape (texts, 2); zeros for a text without any visible character.

    The normal form is NFKC (full and half width become one) with every run of white space a single space; letter case
    and punctuation count.
    """
    joined = b"".join(_digest(text) for text in texts)
    return np.frombuffer(joined, np.uint64).reshape(len(texts), 2)


def _digest(text: str) -> bytes:
    normal = " ".join((text if text.isascii() else unicodedata.normalize("NFKC", text)).split())
    return hashlib.blake2b(normal.encode(), digest_size=16).digest() if normal else bytes(16)


def first_equals(digests: NDArray[np.uint64], priority: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each text, the one with the same digest that comes first in the order of priority, often itself.

    Texts whose digest is zero equal nothing but themselves.

    Args:
        digests: shape (texts, 2).
        priority: every text's row once, the one to keep first.
    """
    first = np.arange(len(digests))
    rows = priority[digests[priority].any(axis=1)]
    high, low = digests[rows].T
    order = np.lexsort((low, high))  # stable, so each run of equals starts with the first by priority
    new = np.ones(len(rows), bool)
    new[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    begins = np.flatnonzero(new)
    first[rows[order]] = rows[order[begins]][np.cumsum(new) - 1]
    return first
