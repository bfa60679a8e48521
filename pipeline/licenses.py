"""Licences of records: how they are spelt, combined, and whether one may be stated over others (`licenses.yaml`).

A record's `license` is an expression: identifiers joined by AND, every one of which holds for it. `unknown` among them
stands for a parent or a model of which nothing is known; None for a record of which nothing is known at all.
"""

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

UNKNOWN = "unknown"

CONDITIONS = {
    "notice": "its notice or attribution stays with the rows",
    "share-alike": "what is made of it is passed on under the same licence",
    "non-commercial": "no commercial use",
    "no-derivatives": "nothing made of it may be passed on",
    "no-competing-models": "not for developing models that compete with the provider's",
    "no-improving-others": "not for improving other language models",
    "llama-name": "models trained on it are named Llama",
    "qwen-name": "models trained on it say that they were built with Qwen",
    "large-services": "very large services need a licence of their own",
    "use-policy": "a use policy goes along",
}
"""Every condition that licenses.yaml may name, in words."""


@functools.cache
def _facts() -> dict[str, Any]:
    import yaml

    text = Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
    facts: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return facts


@functools.cache
def known() -> dict[str, dict[str, Any]]:
    """The licences that something is known of, by identifier."""
    return {entry["id"]: entry for entry in _facts()["licenses"]}


@functools.cache
def _spellings() -> dict[str, str]:
    return {other: entry["id"] for entry in _facts()["licenses"] for other in entry.get("also", ())}


@functools.cache
def _sources() -> dict[str, dict[str, Any]]:
    return {
        name.lower(): entry
        for entry in _facts()["datasets"]
        for name in (*entry.get("ids", ()), *entry.get("files", ()))
    }


@functools.lru_cache(4096)  # rows may hold any text
def parts(expression: str | None) -> tuple[str, ...]:
    """The identifiers of an expression, each spelt as the Hub spells it, sorted; `unknown` for nothing."""
    found = {_identifier(part) for part in re.split(r"\s+AND\s+", expression or "") if part.strip()}
    return tuple(sorted(found)) or (UNKNOWN,)


def _identifier(text: str) -> str:
    name = re.sub(r"[\s_]+", "-", text.strip().lower())
    # "CC BY-NC 4.0 International" and "CC-BY-NC-4.0" are one licence.
    name = re.sub(r"(?<=[0-9])-(international|unported|license|licence)$", "", name)
    return _spellings().get(name, name)


def combined(expressions: Iterable[str | None]) -> str | None:
    """What holds for something made of things under these licences; None when none of them is known."""
    found = {part for expression in expressions for part in parts(expression)}
    return None if found <= {UNKNOWN} else " AND ".join(sorted(found))


@functools.lru_cache(4096)
def of_model(name: str | None) -> tuple[str, ...]:
    """The terms that come with what this model writes: `unknown` when nothing is known of it, and often none at all."""
    last = (name or "").rsplit("/", 1)[-1].lower()
    for entry in _facts()["models"]:
        if re.fullmatch(entry["match"], last) and not re.fullmatch(entry.get("except", r"(?!)"), last):
            return tuple(entry["terms"])
    return (UNKNOWN,)


def derived(licenses: Iterable[str | None], model: str | None, terms: Iterable[str] | None = None) -> str | None:
    """The licence of what a model made out of things under these licences; `terms` when somebody states the model's."""
    return combined([*licenses, *(of_model(model) if terms is None else terms)])


def of_source(source: str | None) -> str | None:
    """The licence of a known dataset, named by its id on the Hub or by a file name that only it has."""
    entry = _sources().get((source or "").lower())
    return None if entry is None else combined([entry["license"]])


def dataset_named(source: str | None) -> str | None:
    """The id on the Hub of a known dataset, named by it or by a file name that only it has."""
    entry = _sources().get((source or "").lower())
    return None if entry is None else str(entry["ids"][0])


def conditions(part: str) -> frozenset[str]:
    """What a licence asks for; one that nothing is known of asks for something of its own."""
    return frozenset(known()[part]["conditions"]) if part in known() else frozenset((f"terms of {part}",))


def unmet(stated: str, expression: str | None) -> tuple[str, ...]:
    """The parts of a record's licence whose conditions a licence stated for the whole does not carry on.

    A part of which nobody knows anything is not among them: that is for the card to say, and for nobody to judge.
    """
    over = parts(stated)
    carried = frozenset().union(*(conditions(part) for part in over))
    return tuple(part for part in parts(expression) if part != UNKNOWN and not _is_met(part, over, carried))


def _is_met(part: str, over: tuple[str, ...], carried: frozenset[str]) -> bool:
    if part in over:
        return True
    asked = conditions(part)
    if "no-derivatives" in asked:
        return False
    if "share-alike" in asked:
        return any(later in over for later in known()[part].get("later", ()))
    return asked <= carried


def selected(expression: str | None, only: Iterable[str]) -> bool:
    """Whether every part of a licence is among those wanted."""
    wanted = {part for name in only for part in parts(name)}
    return set(parts(expression)) <= wanted
