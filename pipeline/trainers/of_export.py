"""An export held against trainers as soon as it is there: `export: {check: ...}` of a recipe."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.trainers import TRAINERS
from pipeline.trainers.checking import Verdict, as_json, check_files, cut_at, trainers_named
from pipeline.trainers.finding import EFFECTS
from pipeline.trainers.told import counted, sentence

_NAMES = {"type": "array", "minItems": 1, "items": {"enum": [*TRAINERS, "all"]}}

CHECK_SCHEMA: dict[str, Any] = {
    "anyOf": [
        _NAMES,
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["for"],
            "properties": {
                "for": _NAMES,
                "cutoff": {"type": "integer", "minimum": 1},
                "tokenizer": {"type": "string"},
                "fail": {"type": "boolean"},
            },
        },
    ]
}
"""Trainers; or trainers with `--cutoff`, `--tokenizer` and whether the run fails where a row would not be trained on as
it stands there."""


def check_export(folder: Path, settings: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Check the files of an export.

    Returns:
        `good`, `fail` (whether a run that is not good should fail), `verdicts` as JSON values, `notes` for people.
    """
    wanted: Mapping[str, Any] = settings if isinstance(settings, Mapping) else {"for": settings}
    cut = cut_at(wanted.get("cutoff"), wanted.get("tokenizer"))
    judged = check_files([str(folder)], trainers_named(wanted["for"]), cut)
    verdicts = [item for item in judged if isinstance(item, Verdict)]
    return {
        "good": all(verdict.good for verdict in verdicts),
        "fail": bool(wanted.get("fail", False)),
        "verdicts": [as_json(verdict, cut) for verdict in verdicts],
        "notes": [note for verdict in verdicts for note in _notes(verdict)],
    }


def _notes(verdict: Verdict) -> list[str]:
    place = f"{verdict.trainer.title}: {verdict.survey.path.name}"
    told = [f"{place}: {finding.reason.replace('-', ' ')}: {finding.detail}" for finding in verdict.of_file]
    if not verdict.refused:
        told += [f"{place}: {sentence(verdict, effect)}" for effect in EFFECTS[:3] if verdict.reasons[effect]]
    return told or [f"{place}: all of {counted(verdict.rows)} would be trained on as they are"]
