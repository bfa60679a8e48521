"""What a server says of each text of a list: its vector, or what a moderation finds in it."""

import base64
import binascii
import json
import math
import sys
from array import array
from collections.abc import Mapping
from typing import Any

from pipeline.llm.broken import Broken
from pipeline.llm.request import Kind, Moderation


def read_vectors(items: list[Any]) -> tuple[bytes, ...]:
    """The vectors of an embeddings reply, in the order of the texts.

    Args:
        items: its `data`; each vector a list of numbers, or base64 of little-endian float32.

    Raises:
        Broken: an item is no vector, or they have different lengths.
    """
    vectors = [_packed(item) for item in _in_order(items)]
    sizes = sorted({len(vector) // 4 for vector in vectors})
    if len(sizes) > 1 or sizes[:1] == [0]:
        raise Broken(f"vectors of {' and '.join(map(str, sizes))} numbers")
    return tuple(vector if _is_direction(vector) else b"" for vector in vectors)


def read_moderations(items: list[Any]) -> tuple[Moderation, ...]:
    """The `results` of a moderations reply; Broken when one of them cannot be read."""
    return tuple(_moderation(item) for item in items)


def require_answer(asked: tuple[Kind, int] | None, vectors: int, moderations: int) -> None:
    """Raise Broken unless a reply says of each text what was asked, or nothing of any where a reply was wanted.

    Args:
        asked: what was asked of how many texts; None when a reply was.
        vectors: how many came.
        moderations: how many came.
    """
    kind, texts = asked or (None, 0)
    if (vectors, moderations) == (texts if kind == "embeddings" else 0, texts if kind == "moderations" else 0):
        return
    if asked is None:
        raise Broken("a body without choices")
    came = vectors + moderations
    raise Broken(f"{came} results for {texts} texts" if came else f"a body without what was asked for ({kind})")


def compact(body: str) -> str:
    """An embeddings reply as it is stored: its lists of numbers as base64 of float32, a quarter of their size."""
    data = json.loads(body)
    for item in data["data"]:
        if not isinstance(item["embedding"], str):
            item["embedding"] = base64.b64encode(_packed(item)).decode()
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"))


def shortened(body: str) -> str:
    """A reply for people to read: of each vector only how long its base64 is."""
    try:
        data = json.loads(body)
        for item in data["data"]:
            item["embedding"] = f"({len(item['embedding']):,} characters)"
    except (ValueError, KeyError, TypeError):  # no reply with vectors
        return body
    return json.dumps(data, ensure_ascii=False)


def _in_order(items: list[Any]) -> list[Any]:
    """The items by their index, where each has one of its own."""
    places = {item["index"]: item for item in items if isinstance(item, dict) and isinstance(item.get("index"), int)}
    return [places[at] for at in range(len(items))] if set(places) == set(range(len(items))) else items


def _packed(item: Any) -> bytes:
    """A vector as little-endian float32; null and what float32 cannot hold become NaN and infinity."""
    told = item.get("embedding") if isinstance(item, dict) else None
    if isinstance(told, str):
        try:
            packed = base64.b64decode(told, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Broken("a vector that is not base64") from error
        if len(packed) % 4:
            raise Broken("half a vector")
        return packed
    if not isinstance(told, list) or not all(
        value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in told
    ):
        raise Broken("a body without vectors")
    numbers = array("f", [math.nan if value is None else _float32(value) for value in told])
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _float32(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf
    return number if abs(number) < 3.4e38 else math.copysign(math.inf, number) if number == number else number


def _is_direction(vector: bytes) -> bool:
    """Whether all its numbers are finite and one of them is not 0."""
    import numpy as np

    numbers = np.frombuffer(vector, "<f4")
    return bool(np.isfinite(numbers).all() and numbers.any())


def _moderation(item: Any) -> Moderation:
    if not isinstance(item, dict):
        raise Broken("a result that is no object")
    categories, scores = item.get("categories"), item.get("category_scores") or {}
    if not isinstance(categories, Mapping) or not isinstance(scores, Mapping):
        raise Broken("a result without categories")
    found = {str(name): bool(value) for name, value in categories.items() if isinstance(value, bool | None)}
    sure = {str(name): float(value) for name, value in scores.items() if value is not None and _is_score(value)}
    if len(found) < len(categories) or len(sure) < sum(value is not None for value in scores.values()):
        raise Broken("a result with a category that is neither true nor false, or a score that is no number")
    flagged = item.get("flagged")
    return Moderation(
        flagged=flagged if isinstance(flagged, bool) else any(found.values()), categories=found, scores=sure
    )


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
