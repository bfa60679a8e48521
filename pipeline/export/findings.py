"""What an export's expectations are held against, from its survey and its run's books."""

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.expect import Findings
from pipeline.export.figures import spread
from pipeline.export.survey import Survey
from pipeline.licenses import selected

_LISTED = 3
_LOOKS_FOR_BENCHMARKS = "decontaminate"


def findings(survey: Survey, facts: Mapping[str, Any], duplicates: Callable[[], float]) -> Findings:
    """The figures; `duplicates` is only called when somebody asks for that share."""
    rows = survey.rows or 1
    means = {name: found.mean for name, values in survey.scores.items() if (found := spread(values)) is not None}
    medians = {"question": spread(survey.questions), "answer": spread(survey.answers)}
    return Findings(
        rows=survey.rows,
        answered=survey.answered,
        languages={name: count / rows for name, count in survey.languages.items() if name},
        scores=means,
        lengths={name: None if found is None else found.median for name, found in medians.items()},
        duplicates=duplicates,
        contaminated=survey.contaminated if _looked(facts) else None,
        reasons=_reasons(facts),
        unwanted=lambda wanted: _unwanted(survey, wanted),
    )


def _looked(facts: Mapping[str, Any]) -> bool:
    return any(entry["stage"] == _LOOKS_FOR_BENCHMARKS for entry in facts.get("entries", ()))


def _reasons(facts: Mapping[str, Any]) -> dict[str, float]:
    """Reason -> share of all records of the run that were dropped for it."""
    manifests = [entry.get("manifest") or {} for entry in facts.get("entries", ())]
    total = sum(manifest.get("derived", 0) for manifest in manifests) or 1
    found: dict[str, int] = {}
    for manifest in manifests:
        for reason, count in (manifest.get("reasons") or {}).items():
            found[reason] = found.get(reason, 0) + count
    return {reason: count / total for reason, count in found.items()}


def _unwanted(survey: Survey, wanted: list[str]) -> list[str]:
    others = {name: origin for name, origin in survey.origins.items() if not selected(name, wanted)}
    return [
        f"{origin.rows:,} under {name or 'an unknown licence'} ({', '.join(origin.ids[:_LISTED])})"
        for name, origin in sorted(others.items(), key=lambda item: -item[1].rows)
    ]
