"""Everything in an export folder but its checksums: row files, card, licences, pictures, descriptions."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.crash import crash_point
from pipeline.errors import DataError
from pipeline.expect import Verdict, verdicts
from pipeline.export import plots
from pipeline.export.card import Card, card_text
from pipeline.export.clusters import Walk, near_roots
from pipeline.export.figures import length_bins, score_bins
from pipeline.export.findings import findings
from pipeline.export.front import Split
from pipeline.export.glue import dataset_info
from pipeline.export.licensing import license_page, refuse_overstated
from pipeline.export.parting import Parting, parted
from pipeline.export.selection import Selection
from pipeline.export.settings import Settings
from pipeline.export.sheets import JSON_FILES, FileReport, file_of, write_files
from pipeline.export.survey import Survey
from pipeline.export.table import Table
from pipeline.report import funnel
from pipeline.stage import Stream
from pipeline.store import write_json

_MOST_SCORES = 8


@dataclass(frozen=True, kw_only=True)
class Export:
    """A finished export.

    Attributes:
        rows: records that were to be exported.
        files: file -> `format`, `split`, `rows` written, `left_out` (reason -> `rows` and `ids`), `lost` and `columns`;
            as in report.json.
        not_selected: licence -> rows that were left out for it, and their ids.
        verdicts: of the recipe's expectations.
        notes: what else people should be told.
        unchanged: it was there already, and was left as it is.
    """

    folder: Path
    rows: int
    files: Mapping[str, Mapping[str, Any]]
    not_selected: Mapping[str, Mapping[str, Any]]
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = ()
    unchanged: bool = False

    def summary(self, folder: str | None = None) -> dict[str, Any]:
        """Rows, file names and what people should be told, as JSON values; `folder` instead of the path as it is."""
        notes = [
            f"{name} leaves out {found['rows']:,} rows: {reason}"
            for name, facts in self.files.items()
            for reason, found in facts["left_out"].items()
        ]
        notes += [f"{found['rows']:,} rows under {name} left out" for name, found in self.not_selected.items()]
        place = str(self.folder) if folder is None else folder
        return {
            "folder": place,
            "rows": self.rows,
            "files": list(self.files),
            "notes": [*notes, *self.notes],
            "expectations": [verdict.as_json() for verdict in self.verdicts],
        }

    def report(self) -> dict[str, Any]:
        """What report.json holds beside the kind of the set."""
        return {
            "rows": self.rows,
            "files": self.files,
            "not_selected": self.not_selected,
            "expectations": [verdict.as_json() for verdict in self.verdicts],
            "notes": list(self.notes),
        }


def export_of(folder: Path, report: Mapping[str, Any], *, unchanged: bool) -> Export:
    """The export that a report.json tells of."""
    return Export(
        folder=folder,
        rows=report["rows"],
        files=report["files"],
        not_selected=report["not_selected"],
        verdicts=tuple(Verdict(**verdict) for verdict in report["expectations"]),
        notes=tuple(report["notes"]),
        unchanged=unchanged,
    )


def write_all(records: Stream, into: Path, settings: Settings, stem: str, facts: Mapping[str, Any]) -> Export:
    """Fill the folder `into`, which is there and empty.

    Args:
        stem: stem of the names in dataset_info.json, and the title when the settings give none.
    """
    selection = Selection(records, settings.only_licenses)
    walk = Walk() if settings.split or "duplicates" in settings.expect else None
    survey = _surveyed(selection, walk)
    if not survey.rows and selection.left_out:
        there = "; ".join(f"{entry['rows']:,} under {name}" for name, entry in selection.left_out.items())
        raise DataError(f"no row is under {', '.join(settings.only_licenses)} alone: {there}", "see 'only_licenses'")
    refuse_overstated(survey, settings.license)
    parting = parted(walk, settings.split) if walk is not None and settings.split else Parting()
    found = findings(survey, facts, _duplicates(walk))
    reports, tables = write_files(selection.records(), into, settings, survey, parting.names, parting.split)
    crash_point("mid-export")
    export = Export(
        folder=into,
        rows=survey.rows,
        files={name: asdict(report) for name, report in reports.items()},
        not_selected=selection.left_out,
        verdicts=tuple(verdicts(settings.expect, found)),
        notes=parting.notes,
    )
    _write_pages(into, export, survey, tables, settings, settings.title or stem, facts)
    _write_descriptions(into, export, survey, reports, parting.names, stem)
    return export


def _surveyed(selection: Selection, walk: Walk | None) -> Survey:
    survey = Survey()
    for block in selection.blocks():
        survey.add(block)
        if walk is not None:
            walk.add(block)
    return survey


def _duplicates(walk: Walk | None) -> Callable[[], float]:
    """The share of rows that are near-duplicates of an earlier one."""

    def share() -> float:
        roots = near_roots(walk.sketches if walk is not None else [])
        return float(np.mean(roots != np.arange(len(roots)))) if len(roots) else 0.0

    return share


def _write_pages(
    into: Path,
    export: Export,
    survey: Survey,
    tables: list[Table],
    settings: Settings,
    title: str,
    facts: Mapping[str, Any],
) -> None:
    card = Card(
        title=title,
        survey=survey,
        schema=tables[0].schema if tables else None,
        splits=[
            Split(
                name=table.split,
                rows=table.rows,
                arrow_bytes=table.arrow_bytes,
                download_bytes=sum(path.stat().st_size for path in table.files),
            )
            for table in tables
        ],
        files=export.files,
        facts=facts,
        license=settings.license,
        not_selected=export.not_selected,
        verdicts=export.verdicts,
        notes=export.notes,
        pictures=_draw(into, survey, facts),
    )
    (into / "README.md").write_text(card_text(card), encoding="utf-8", newline="\n")
    if (page := license_page(survey, settings.license)) is not None:
        (into / "LICENSE.md").write_text(page, encoding="utf-8", newline="\n")


def _draw(into: Path, survey: Survey, facts: Mapping[str, Any]) -> frozenset[str]:
    """Draw what there is to be seen; the names of the pictures."""
    drawn: dict[str, bytes] = {}
    lengths = [("Length of questions", survey.questions), ("Length of answers", survey.answers)]
    if panels := [(title, length_bins(found)) for title, found in lengths if found]:
        drawn["plots/lengths.png"] = plots.histograms(panels, "rows by characters, up to")
    names = plots.labels(sorted(survey.scores))
    if names:
        shown = sorted(names)[:_MOST_SCORES]
        panels = [(f"Score {names[name]}", score_bins(survey.scores[name])) for name in shown]
        drawn["plots/scores.png"] = plots.histograms(panels, "rows by score")
    kept = [(step.name, step.kept) for step in funnel.steps(facts)] if facts.get("entries") else []
    if kept:
        drawn["plots/funnel.png"] = plots.steps("Rows after each entry", kept)
    if drawn:
        (into / "plots").mkdir()
    for name, data in drawn.items():
        (into / name).write_bytes(data)
    return frozenset(drawn)


def _write_descriptions(
    into: Path, export: Export, survey: Survey, reports: Mapping[str, FileReport], splits: tuple[str, ...], stem: str
) -> None:
    info: dict[str, Any] = {}
    for split in splits:
        files = {name: file_of(file, split) for name, (file, _) in JSON_FILES.items()}
        columns = {name: reports[file].columns for name, file in files.items() if file in reports}
        described = dataset_info(stem, columns, survey.kind, tool_turns="messages.tool_calls" in survey.used)
        ending = "" if split == "train" else f"_{split}"
        info |= {f"{name}{ending}": {**e, "file_name": file_of(e["file_name"], split)} for name, e in described.items()}
    write_json(into / "dataset_info.json", info)
    write_json(into / "report.json", {"kind": survey.kind, **export.report()})
