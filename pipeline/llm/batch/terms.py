"""What a server's batches take: limits of a file, the spelling of its lines, and how long we wait for what."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from pipeline.llm.body import PATHS
from pipeline.llm.models import ModelSpec
from pipeline.llm.reading import Reading
from pipeline.llm.request import Kind
from pipeline.llm.usage import cost_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How batches are made for one model.

    The defaults are the tightest of the documented limits (a file of 50,000 requests, 100 MB), for servers we do not
    know; `servers.yaml` knows better for some, and `models.<role>.batch` of a recipe has the last word.

    Attributes:
        lines: requests in one file at most.
        bytes: size of one file at most.
        prefix: what stands before `/chat/completions` in a line's `url`.
        completion_window: time the server is given, as it writes it.
        least: requests that must be waiting before `mode: auto` makes a batch of them.
        attempts: how often a line that failed or expired is sent in all.
        poll: seconds between two looks at a batch; the first ones come sooner.
    """

    lines: int = 50_000
    bytes: int = 100_000_000
    prefix: str = "/v1"
    completion_window: str = "24h"
    least: int = 1_000
    attempts: int = 3
    poll: float = 60.0

    def url(self, kind: Kind) -> str:
        """A line's `url`, which is the batch's `endpoint` as well."""
        return f"{self.prefix}{PATHS[kind]}"

    def halved(self, lines: int) -> "Terms":
        """Terms under which `lines` requests make two files."""
        return replace(self, lines=max(1, lines // 2))


_NAMES = tuple(f.name for f in fields(Terms))


def terms_of(spec: ModelSpec) -> Terms:
    """The terms for a model."""
    known: Mapping[str, Any] = spec.kind.batch
    return Terms(**{name: value for name, value in {**known, **spec.batch}.items() if name in _NAMES})


def batch_factor(price: Mapping[str, float]) -> float:
    """What a call costs in a batch, as a share of what it costs alone; 1.0 when the price does not say."""
    return price.get("batch", 1.0)


def batch_cost(reading: Reading, price: Mapping[str, float] | None) -> float | None:
    """US dollars for a reply that came in a batch; None when the price is unknown."""
    cost = cost_of(reading, price)
    return None if cost is None or price is None else cost * batch_factor(price)
