"""What a recipe is going to use: a pilot's measurements projected to the whole, and shown."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.llm.models import ModelSpec
from pipeline.llm.purse import dollars
from pipeline.llm.reading import read_stored
from pipeline.llm.usage import cost_of
from pipeline.pilot import Keys, Leg
from pipeline.projection import Estimate, crowding, of_rows, of_yield
from pipeline.report.rows import table

METRICS = ("calls", "prompt_tokens", "completion_tokens", "cost", "seconds")
"""What is measured of each unit; `seconds` is the time that its calls took one after the other."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What one entry is going to use.

    Attributes:
        rows: that come in, or a pool's target.
        piloted: rows, or calls of a pool, that the pilot measured.
        cost: US dollars; None when a price is not known.
        seconds: of waiting for models, with as many calls at once as may be.
    """

    entry: str
    rows: float
    piloted: int
    calls: Estimate
    prompt_tokens: Estimate
    completion_tokens: Estimate
    cost: Estimate | None
    seconds: Estimate


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """The whole recipe.

    Attributes:
        entries: those that ask a model, in order.
        total: all of them together; its `entry` is empty.
        pilot: what the pilot used: `calls` and `cost`; the real run finds these in the ledger.
        assumptions: what the intervals stand on.
    """

    entries: tuple[Forecast, ...]
    total: Forecast
    pilot: Mapping[str, float | None]
    assumptions: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; infinity is null."""
        return _finite(asdict(self))  # type: ignore[no-any-return]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


Stored = Callable[[str], Mapping[str, Any] | None]
"""Ledger key -> a finished call as it is stored, or None."""

Use = dict[str, float]


class Measured:
    """What calls used, each counted once, for the first who made it. A call without a known cost makes all unknown."""

    def __init__(self, read: Stored, specs: Mapping[str, ModelSpec]) -> None:
        self._read, self._specs = read, specs
        self._seen: set[str] = set()
        self.priced = True

    def __call__(self, keys: Keys) -> Use:
        """The sums over some calls."""
        use = dict.fromkeys(METRICS, 0.0)
        for key, role in keys.items():
            call = None if key in self._seen else self._read(key)
            self._seen.add(key)
            if call is None:
                continue
            reading = read_stored(call["reply"], call["outcome"])
            cost = cost_of(reading, self._specs[role].price)
            self.priced = self.priced and cost is not None
            found = (1, reading.prompt_tokens, reading.completion_tokens, cost or 0.0, call["ms"] / 1000)
            for name, value in zip(METRICS, found, strict=True):
                use[name] += value
        return use


def outlook(
    legs: Sequence[Leg],
    measured: Measured,
    at_once: Mapping[str, int],
    assumptions: Sequence[str],
    late: Mapping[str, int],
) -> Outlook:
    """Project a pilot.

    Args:
        legs: as `Pilot.legs` gives them.
        measured: looks up what calls used.
        at_once: entry -> calls that are under way at once.
        assumptions: of the pilot.
        late: entry -> calls of the pilot whose reply came when its target was reached.
    """
    uses = [
        {entry: [measured(unit.asked.get(entry, {})) for unit in leg.units] for entry in leg.entries} for leg in legs
    ]
    entries: list[Forecast] = []
    totals = dict.fromkeys(METRICS, Estimate())
    for leg, of_entry in zip(legs, uses, strict=True):
        whole = dict.fromkeys(METRICS, Estimate())
        for entry in leg.entries:
            found = {name: _projected(leg, of_entry[entry], name, entry, late.get(entry, 0)) for name in METRICS}
            found["seconds"] = found["seconds"].times(1 / max(1, at_once[entry]))
            entries.append(_forecast(entry, *_rows(leg, entry), found, measured))
            whole["seconds"] = whole["seconds"] + found["seconds"]
        for name in METRICS[:-1]:
            # Of the rows' sums over all entries, for a row that needs much in one may need much in the next.
            sums = [
                sum(of_entry[e][i][name] * leg.share.get(e, 1.0) for e in leg.entries) for i in range(len(leg.units))
            ]
            alone = leg.entries[0] if leg.pool else ""
            whole[name] = _projected(leg, [{name: value} for value in sums], name, alone, late.get(alone, 0))
        totals = {name: totals[name] + whole[name] for name in METRICS}
    used = [use for of_entry in uses for found in of_entry.values() for use in found]
    pilot: dict[str, float | None] = {"calls": sum(use["calls"] for use in used)}
    pilot["cost"] = sum(use["cost"] for use in used) if measured.priced else None
    total = _forecast("", 0.0, 0, totals, measured)
    return Outlook(entries=tuple(entries), total=total, pilot=pilot, assumptions=(*_STANDING, *assumptions))


_STANDING = (
    "replies are about as long, and rows are kept about as often, as in the pilot",
    "nothing is asked twice: equal calls and what the ledger holds already make it cheaper",
    "replies that are lost on the way and asked again are not counted",
)


def _projected(leg: Leg, uses: Sequence[Use], name: str, entry: str, late: int) -> Estimate:
    seen = [use[name] for use in uses]
    if not leg.pool:
        share = leg.share.get(entry, 1.0)
        return of_rows(seen, leg.population).times(share).at_least(sum(seen) if share == 1.0 else 0.0)
    each = sum(seen) / len(seen) if seen else 0.0
    if leg.whole:
        exact = sum(seen)
        return Estimate(value=exact, low=exact, high=exact + late * each)
    yields = [unit.made for unit in leg.units]
    found = of_yield(seen, yields, leg.population)
    more = crowding(leg.repeats, sum(yields), leg.population)
    found = Estimate(value=found.value * more.value, low=found.low * more.low, high=found.high * more.high)
    found = found.at_least(sum(seen))
    # When the target is reached, up to a window of further calls is under way: paid, though nobody looks at them.
    over = (leg.window - 1) * each
    return Estimate(value=found.value + over, low=found.low, high=found.high + over + each)


def _rows(leg: Leg, entry: str) -> tuple[float, int]:
    """Rows that are going to come into an entry, and that came into it in the pilot; of a pool target and calls."""
    if leg.pool:
        return leg.population, len(leg.units)
    piloted = leg.rows[entry]
    return piloted / max(1, len(leg.units)) * leg.population * leg.share[entry], piloted


def _forecast(entry: str, rows: float, piloted: int, found: Mapping[str, Estimate], measured: Measured) -> Forecast:
    cost = found["cost"] if measured.priced else None
    rest = {name: found[name] for name in METRICS if name != "cost"}
    return Forecast(entry=entry, rows=rows, piloted=piloted, cost=cost, **rest)


def as_text(found: Outlook) -> str:
    """The outlook as a table, with what it stands on."""
    header = ("entry", "rows", "piloted", "calls", "prompt tokens", "completion tokens", "cost", "waiting for models")
    rows = [_cells(item, f"{item.rows:,.0f}", f"{item.piloted:,}") for item in found.entries]
    lines = [table(header, [*rows, _cells(found.total, "", "", "total")], left=1)]
    lines.append(
        "in brackets: 95% intervals (Student's t over the piloted rows; of a pool, the ratio to what its calls made)"
    )
    lines += [f"assumed: {assumption}" for assumption in found.assumptions]
    cost = found.pilot["cost"]
    paid = "at an unknown price" if cost is None else f"for {dollars(cost)}"
    lines.append(f"the pilot made {found.pilot['calls']:,.0f} of these calls {paid}; the run finds them in the ledger")
    return "\n".join(lines)


def _cells(item: Forecast, units: str, piloted: str, name: str | None = None) -> tuple[str, ...]:
    counts = (_shown(getattr(item, metric), _count) for metric in METRICS[:3])
    cost = "unknown" if item.cost is None else _shown(item.cost, dollars)
    return (name or item.entry, units, piloted, *counts, cost, _shown(item.seconds, _duration))


def _shown(found: Estimate, text: Callable[[float], str]) -> str:
    value, low, high = (text(x) if math.isfinite(x) else "?" for x in (found.value, found.low, found.high))
    return value if low == high else f"{value} ({low}-{high})"


def _count(value: float) -> str:
    if value < 10_000:
        return f"{value:,.0f}"
    return f"{value / 1e3:,.0f}k" if value < 1e7 else f"{value / 1e6:,.0f}M"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
