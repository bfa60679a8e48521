"""What models cost: published prices from a data file, looked up by server and model."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import yaml

RATES = ("input", "cached_input", "output")
"""The prices of a token, in US dollars per million."""

_PRICE = {"type": "number", "minimum": 0}

PRICE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["input", "output"],
    "properties": {
        **dict.fromkeys(RATES, _PRICE),
        "batch": {"type": "number", "minimum": 0, "maximum": 1},
        "up_to": {"type": "integer", "minimum": 1},
    },
}
"""JSON Schema of `models.<role>.price` in a recipe; `prices.yaml` says what each part means."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """The price of one model as its provider publishes it.

    Attributes:
        hosts: host names of the servers that charge it.
        match: regular expression for the whole of the model's name.
        price: US dollars per million tokens, as `models.<role>.price` has them.
        source: where it is published.
        as_of: when it stood there.
        note: what a reader of costs should know.
    """

    hosts: tuple[str, ...]
    match: str
    price: Mapping[str, float]
    source: str
    as_of: str
    note: str | None


@functools.cache
def published_prices() -> tuple[Published, ...]:
    """The prices of `prices.yaml`, in its order, in US dollars."""
    text = (resources.files("pipeline.llm") / "prices.yaml").read_text(encoding="utf-8")
    return tuple(_published(group, model) for group in yaml.safe_load(text) for model in group["models"])


def _published(group: Mapping[str, Any], model: Mapping[str, Any]) -> Published:
    usd = 1.0 if group.get("currency", "USD") == "USD" else float(group["usd"])
    price = {name: value * usd if name in RATES else value for name, value in model.items() if name != "match"}
    return Published(
        hosts=tuple(group["hosts"]),
        match=model["match"],
        price=price,
        source=group["source"],
        as_of=str(group["as_of"]),
        note=group.get("note"),
    )


@functools.cache
def published(base_url: str, model: str) -> Published | None:
    """The published price of a model on a server; None when we know of none, which is not the same as free."""
    host = (urlsplit(base_url).hostname or "").lower()
    for item in published_prices():
        if host in item.hosts and re.fullmatch(item.match, model):
            return item
    return None
