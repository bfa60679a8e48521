"""The limits of a run's models: what the recipe gives their gates, and what somebody changes on the way."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import jsonschema

from pipeline.errors import UsageError
from pipeline.llm.flight import Line, Pauses
from pipeline.llm.gate import Gate
from pipeline.llm.models import MODEL_SCHEMA, ModelSpec

RATES = ("requests_per_minute", "tokens_per_minute")

LIMITS = ("concurrency", *RATES)
"""What may be changed while a run is under way: names as in a recipe's `models:` block."""

Changes = Mapping[str, Mapping[str, Any]]
"""By role, the new value of each limit; None lifts a rate."""


def read_changes(changes: Mapping[str, Mapping[str, Any]], roles: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Changes as somebody wishes them, checked; the role `*` stands for all of `roles`.

    Raises:
        UsageError: there is no such role or limit, or a value cannot be.
    """
    known, checked = list(roles), dict[str, dict[str, Any]]()
    for role, limits in changes.items():
        if role not in ("*", *known):
            raise UsageError(f"this run has no model role '{role}'", f"its roles: {', '.join(known)}")
        for name, value in limits.items():
            if name not in LIMITS:
                raise UsageError(f"'{name}' cannot be set while a run is under way", f"what can: {', '.join(LIMITS)}")
            lifts = value is None and name in RATES
            if not lifts and not jsonschema.Draft202012Validator(MODEL_SCHEMA["properties"][name]).is_valid(value):
                kind = "a whole number from 1" if name not in RATES else "a number above 0, or none"
                raise UsageError(f"{name} cannot be {'none' if value is None else repr(value)}", f"it is {kind}")
            for one in known if role == "*" else [role]:
                checked.setdefault(one, {})[name] = value
    return checked


def lines_of(specs: Mapping[str, ModelSpec], pauses: Pauses) -> dict[str, Line]:
    """A line per role; roles that ask one model with one key share a gate and the strictest of their rates."""
    groups: dict[tuple[str | None, ...], list[ModelSpec]] = {}
    for spec in specs.values():
        groups.setdefault((spec.base_url, spec.model, spec.api_key_env), []).append(spec)
    lines = {}
    for members in groups.values():
        gate = Gate(**_strictest(members), first_probe=pauses.probe)
        for spec in members:
            lines[spec.role] = Line(spec, gate)
    return lines


def change(lines: Mapping[str, Line], changes: Changes) -> None:
    """Keep other limits from now on; calls under way go on. Roles that this run does not ask are passed over."""
    for role in changes.keys() & lines.keys():
        line = lines[role]
        line.spec = replace(line.spec, **changes[role])
    for gate in {id(line.gate): line.gate for line in lines.values()}.values():
        gate.allow(**_strictest(line.spec for line in lines.values() if line.gate is gate))


def _strictest(specs: Iterable[ModelSpec]) -> dict[str, Any]:
    """The limits of a gate: as many calls in flight as the role that may have most, the least of the rates given."""
    members = list(specs)
    given = {name: [rate for s in members if (rate := getattr(s, name)) is not None] for name in RATES}
    rates = {name: min(found, default=None) for name, found in given.items()}
    return {"concurrency": max(spec.concurrency for spec in members), **rates}
