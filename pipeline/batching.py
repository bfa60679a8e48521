"""Which entries may ask by batch, and how far ahead they then ask."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from pipeline.errors import UsageError
from pipeline.llm.batch.terms import terms_of
from pipeline.llm.models import ModelSpec
from pipeline.recipe import Entry
from pipeline.stage import Stage

_FARTHEST = 50_000
"""Requests pulled ahead at most: what the largest file of a batch holds, and what stays in memory meanwhile."""


def require_batchable(entry: Entry, specs: Mapping[str, ModelSpec]) -> None:
    """Raise UsageError when what an entry asks depends on the replies before, and it would ask by batch."""
    role = next((r for r in entry.model_roles if r in specs and specs[r].mode == "batch"), None)
    if role is not None and not _batchable(entry.stage):
        other = "online" if role != "online" else "direct"
        raise UsageError(
            f"entry {entry.name} cannot ask by batch (models.{role}.mode is batch): what it asks depends on the "
            "replies before",
            f"set models.{role}.mode to auto, so that this entry asks online and the others by batch; or define "
            f"another role with 'mode: online' and name it in this entry, as in 'model: {other}'",
        )


def reach(entry: Entry, specs: Mapping[str, ModelSpec]) -> Stage:
    """The entry's stage as it is run: when it asks by batch, as far ahead as a file holds.

    Only for stages of which the window changes nothing; in fingerprint and manifest it stays what the recipe says.
    """
    ahead = [terms_of(specs[r]).lines for r in entry.model_roles if r in specs and specs[r].mode != "online"]
    if not ahead or not _batchable(entry.stage):
        return entry.stage
    stage = cast(Any, entry.stage)
    return cast(Stage, replace(stage, window=max(stage.window, min(_FARTHEST, max(ahead)))))


def _batchable(stage: Stage) -> bool:
    return bool(getattr(stage, "batchable", False))
