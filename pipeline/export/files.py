"""The export folder: whole or not at all, and not written again when nothing has changed."""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.crash import crash_point
from pipeline.errors import IncompleteError, UsageError
from pipeline.export.card import Card, card_text, license_page
from pipeline.export.glue import dataset_info
from pipeline.export.sheets import EXPORTS, JSON_FILES, write_files
from pipeline.export.survey import survey_of
from pipeline.stage import Stream
from pipeline.store import kept_hashes, read_manifest, replace_folder, sha256_of, stream, write_json

_MANIFEST = "manifest.json"
_SUMS = "SHA256SUMS"
_LASTING = ("in", "derived", "kept", "dropped", "reasons", "fixed", "notes")
"""What of an entry's manifest enters the card; never a time, a path or a price."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """A finished export.

    Attributes:
        rows: records that were to be exported.
        files: file -> `rows` written, `left_out` (reason -> `rows` and `ids`), `lost` and `columns`; as in report.json.
        unchanged: it was there already, and was left as it is.
    """

    folder: Path
    rows: int
    files: Mapping[str, Mapping[str, Any]]
    unchanged: bool = False

    def summary(self, folder: str | None = None) -> dict[str, Any]:
        """Rows, file names and what people should be told, as JSON values; `folder` instead of the path as it is."""
        notes = [
            f"{name} leaves out {found['rows']:,} rows: {reason}"
            for name, facts in self.files.items()
            for reason, found in facts["left_out"].items()
        ]
        place = str(self.folder) if folder is None else folder
        return {"folder": place, "rows": self.rows, "files": list(self.files), "notes": notes}


def export_run(run_folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Export what a finished run kept to `<run>/export`; `settings` as a recipe's `export:` has them.

    Returns:
        `folder`, `rows`, `files` and `notes`.

    Raises:
        IncompleteError: an entry of the run is not finished.
    """
    # Imported late: they read recipes, and with them every stage.
    from pipeline.fingerprint import code_hash
    from pipeline.run import read_run

    facts = read_run(run_folder)
    waiting = [entry["name"] for entry in facts["entries"] if "manifest" not in entry]
    if waiting:
        hint = f"run it first: seedmill run {facts['recipe']} --run {facts['run']}"
        raise IncompleteError(f"run '{facts['run']}' cannot be exported: entry '{waiting[0]}' is not finished", hint)
    last = facts["entries"][-1]
    hashes = kept_hashes(last["manifest"])
    return write_export(
        stream(run_folder / last["folder"], last["manifest"]),
        run_folder / "export",
        settings.get("formats") or EXPORTS,
        facts,
        fingerprint=_digest([code_hash(), hashes]),
        title=settings.get("pretty_name"),
        license=settings.get("license"),
    ).summary()


def write_export(
    records: Stream,
    folder: Path,
    formats: Sequence[str] = EXPORTS,
    facts: Mapping[str, Any] | None = None,
    *,
    fingerprint: str,
    title: str | None = None,
    license: str | None = None,
) -> Export:
    """Export the records to `folder`, replacing an older export there at once.

    Nothing in the folder depends on when, where or under what run name it is written.

    Args:
        records: the final ones; walked twice.
        formats: some of EXPORTS.
        facts: the run as `pipeline.run.read_run` gives it: `recipe`, `text`, `models`, and `entries` with manifests.
        fingerprint: of everything the records depend on; an export made with the same one is left as it is.
        title: name of the dataset for people; the recipe's name when not given.
        license: licence of the whole, when the publisher states one.

    Raises:
        UsageError: an unknown export format.
    """
    unknown = [name for name in formats if name not in EXPORTS]
    if unknown or not formats:
        raise UsageError(f"there is no export format '{', '.join(unknown)}'", f"export formats: {', '.join(EXPORTS)}")
    facts = facts or {}
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", Path(str(facts.get("recipe") or "dataset")).stem)
    mark = _digest([fingerprint, list(formats), title, license, stem, _lasting(facts)])
    _recover(folder)
    if (done := _unchanged(folder, mark)) is not None:
        return done
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        export = _write(records, temporary, folder, formats, stem, _Draft(title or stem, license, facts))
        _seal(temporary, mark, export)
        crash_point("before-export-rename")
        replace_folder(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return export


@dataclass(frozen=True)
class _Draft:
    """What the card says beside what is counted."""

    title: str
    license: str | None
    facts: Mapping[str, Any]


def _write(records: Stream, into: Path, folder: Path, formats: Sequence[str], stem: str, draft: _Draft) -> Export:
    survey = survey_of(records)
    reports, table = write_files(records.records(), into, formats, survey)
    crash_point("mid-export")
    export = Export(folder=folder, rows=survey.rows, files={name: asdict(report) for name, report in reports.items()})
    card = Card(
        title=draft.title,
        survey=survey,
        schema=None if table is None else table.schema,
        arrow_bytes=0 if table is None else table.arrow_bytes,
        download_bytes=0 if table is None else sum(path.stat().st_size for path in table.files),
        files=export.files,
        facts=draft.facts,
        license=draft.license,
    )
    (into / "README.md").write_text(card_text(card), encoding="utf-8", newline="\n")
    if (page := license_page(card)) is not None:
        (into / "LICENSE.md").write_text(page, encoding="utf-8", newline="\n")
    columns = {name: reports[file].columns for name, (file, _) in JSON_FILES.items() if name in formats}
    info = dataset_info(stem, columns, survey.kind, tool_turns="messages.tool_calls" in survey.used)
    write_json(into / "dataset_info.json", info)
    write_json(into / "report.json", {"rows": survey.rows, "kind": survey.kind, "files": export.files})
    return export


def _seal(folder: Path, mark: str, export: Export) -> None:
    """Write the checksums and, last, the manifest."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    sums = "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names)
    (folder / _SUMS).write_text(sums, encoding="utf-8", newline="\n")
    sizes = {name: (folder / name).stat().st_size for name in (*names, _SUMS)}
    write_json(folder / _MANIFEST, {"fingerprint": mark, "sizes": sizes, "summary": export.summary(folder="export")})


def _recover(folder: Path) -> None:
    """After a kill between the two renames of a replacement the older export stands aside: put it back."""
    aside = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and read_manifest(aside) is not None:
        aside.rename(folder)


def _unchanged(folder: Path, mark: str) -> Export | None:
    """The export that is there, if it has this mark and all its files."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.get("fingerprint") != mark:
        return None
    paths = [(folder / name, size) for name, size in manifest["sizes"].items()]
    if not all(path.is_file() and path.stat().st_size == size for path, size in paths):
        return None
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return Export(folder=folder, rows=report["rows"], files=report["files"], unchanged=True)


def _lasting(facts: Mapping[str, Any]) -> list[Any]:
    """What of the facts the card is written from."""
    models = {role: [m.get("model"), m.get("small")] for role, m in (facts.get("models") or {}).items()}
    entries = [
        [entry["name"], entry["stage"], {key: (entry.get("manifest") or {}).get(key) for key in _LASTING}]
        for entry in facts.get("entries", ())
    ]
    return [facts.get("text"), models, entries]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
