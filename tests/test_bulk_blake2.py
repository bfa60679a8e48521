"""The compiled BLAKE2b is hashlib's."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.bulk.blake2 import digests


def told(parts: list[bytes], size: int) -> list[bytes]:
    data = np.frombuffer(b"".join(parts), np.uint8)
    return [bytes(row) for row in digests(data, np.cumsum([0, *map(len, parts)]), size)]


@pytest.mark.parametrize("size", [1, 10, 20, 32, 64])
def test_around_the_ends_of_blocks(size: int) -> None:
    parts = [bytes(k % 251 for k in range(length)) for length in (0, 1, 7, 8, 127, 128, 129, 255, 256, 257, 1000)]
    assert told(parts, size) == [hashlib.blake2b(part, digest_size=size).digest() for part in parts]


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=20), st.integers(1, 64))
@settings(deadline=None)
def test_any_bytes(parts: list[bytes], size: int) -> None:
    assert told(parts, size) == [hashlib.blake2b(part, digest_size=size).digest() for part in parts]
