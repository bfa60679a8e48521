"""Rules and bounds as they are named on a command line, as filter entries; a share of the rows becomes a bound."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import yaml

from filters.statistics import HIGH, LOW
from pipeline.errors import UsageError
from pipeline.profile.store import Profile
from pipeline.signals import FIELDS
from pipeline.stages.filter import Filter
from pipeline.yaml_tree import suggest

_FORM = "for example: --at-least output_chars=20, or --at-most output_chars=99% for the longest hundredth"
_PER_WORD = {"hash_ratio": "hash_count", "ellipsis_ratio": "ellipsis_count"}


def entries_of(
    profile: Profile, preset: str | None, settings: Sequence[str], at_least: Sequence[str], at_most: Sequence[str]
) -> dict[str, Filter]:
    """Name -> filter entry, in order: the preset with its changed settings, then one for each text that is bounded.

    Args:
        settings: `rule.setting=value` (value as YAML), `rule=null` to take a rule of the preset out.
        at_least: `signal=bound`, or `signal=P%`: drop the lowest P per cent.
        at_most: `signal=bound`, or `signal=P%`: drop all above what P per cent have at most.

    Raises:
        UsageError: a name or a value is not valid.
    """
    entries: dict[str, Filter] = {}
    rules = _rules(settings)
    if preset is not None or rules:
        entries["filter"] = Filter(preset=preset, rules=rules)
    bounds: dict[str, dict[str, Any]] = {}
    for side, wanted in (("at_least", at_least), ("at_most", at_most)):
        for item in wanted:
            field, measure, bound = _bound(profile, item, side)
            rule = bounds.setdefault(field, {"statistics": {"field": field, "min_chars": 1}})["statistics"]
            rule.setdefault(side, {})[measure] = int(bound) if bound.is_integer() else bound
    for field, chosen in bounds.items():
        entries[f"bounds-of-{field}"] = Filter(rules=chosen)
    return entries


def _rules(settings: Sequence[str]) -> dict[str, Any]:
    rules: dict[str, Any] = {}
    for setting in settings:
        target, separator, text = setting.partition("=")
        keys = target.split(".")
        if not separator or not all(keys):
            hint = "for example: --set length.max_words=500, or --set ending=null to leave a rule out"
            raise UsageError(f"--set {setting}: not of the form rule.setting=value", hint)
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(
                f"--set {setting}: the value is not YAML", "for example: --set length.max_words=500"
            ) from error
        node = rules
        for name in keys[:-1]:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise UsageError(f"--set {setting}: '{name}' is not a group of settings")
        node[keys[-1]] = value
    return rules


def _bound(profile: Profile, item: str, side: str) -> tuple[str, str, float]:
    """Field, measure and bound of `signal=value` or `signal=P%`."""
    option = "--" + side.replace("_", "-")
    signal, separator, text = item.partition("=")
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)(%?)", text)
    if not separator or match is None:
        raise UsageError(f"{option} {item}: not of the form signal=number or signal=number%", _FORM)
    field, _, measure = signal.partition("_")
    measures = LOW if side == "at_least" else HIGH
    if field not in FIELDS or measure not in measures:
        hint = suggest(signal, [f"{name}_{known}" for name in FIELDS for known in measures])
        if measure == "words":
            limit = "min_words" if side == "at_least" else "max_words"
            hint = f"name {field}_word_count, or bound jieba's words with --set length.{limit}=NUMBER"
        raise UsageError(f"{option} {item}: no signal '{signal}' can be bounded from this side", hint)
    number = float(match[1])
    if not match[2]:
        return field, measure, number
    if not 0 <= number <= 100:
        raise UsageError(f"{option} {item}: a share of the rows is between 0% and 100%", _FORM)
    return field, measure, quantile(profile, field, measure, number / 100)


def quantile(profile: Profile, field: str, measure: str, share: float) -> float:
    """The number that the share of the texts that are there is below or at; a number that one of them has."""
    column = pl.col(f"{field}_{_PER_WORD.get(measure, measure)}")
    value = column / pl.col(f"{field}_word_count") if measure in _PER_WORD else column
    scope = "record" if field == "text" else "turn"
    there = profile.table(scope).filter(pl.col(f"{field}_chars") > 0).select(value.cast(pl.Float64)).collect()
    values = there.to_series().to_numpy()
    values = values[np.isfinite(values)]
    if not len(values):
        raise UsageError(f"no row has a text in '{field}', so there is no share of them", "name another signal")
    return float(np.quantile(values, share, method="lower"))
