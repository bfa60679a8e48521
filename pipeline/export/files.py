"""The export folder: whole or not at all, and not written again when nothing has changed."""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.crash import crash_point
from pipeline.errors import IncompleteError
from pipeline.export.folder import Export, export_of, write_all
from pipeline.export.made import TOLD
from pipeline.export.settings import Settings, settings_of
from pipeline.stage import Stream
from pipeline.store import kept_hashes, read_manifest, replace_folder, sha256_of, stream, write_json

_MANIFEST = "manifest.json"
_SUMS = "SHA256SUMS"
_LASTING = ("in", "derived", "kept", "dropped", "reasons", "fixed", "notes", "tables")
"""What of an entry's manifest enters the card; never a time, a path or a price."""


def export_run(
    run_folder: Path, settings: Mapping[str, Any], expect: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Export what a finished run kept to `<run>/export`; `settings` as a recipe's `export:` has them.

    Returns:
        `folder`, `rows`, `files`, `notes` and the `expectations`, which may have failed.

    Raises:
        IncompleteError: an entry of the run is not finished.
        DataError: the licence that `settings` states drops a condition of some rows.
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
    records = stream(run_folder / last["folder"], last["manifest"])
    mark = _digest([code_hash(), hashes])
    return write_export(
        records, run_folder / "export", settings_of(settings, expect), facts, fingerprint=mark
    ).summary()


def write_export(
    records: Stream,
    folder: Path,
    settings: Settings | None = None,
    facts: Mapping[str, Any] | None = None,
    *,
    fingerprint: str,
) -> Export:
    """Export the records to `folder`, replacing an older export there at once.

    Nothing in the folder depends on when, where or under what run name it is written.

    Args:
        records: the final ones; walked several times.
        facts: the run as `pipeline.run.read_run` gives it: `recipe`, `text`, `models`, and `entries` with manifests.
        fingerprint: of everything the records depend on; an export made with the same one is left as it is.

    Raises:
        DataError: the licence that `settings` states drops a condition of some rows.
    """
    settings, facts = settings or Settings(), facts or {}
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", Path(str(facts.get("recipe") or "dataset")).stem)
    mark = _digest([fingerprint, settings.as_json(), stem, _lasting(facts)])
    _recover(folder)
    if (done := _unchanged(folder, mark)) is not None:
        return done
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        export = replace(write_all(records, temporary, settings, stem, facts), folder=folder)
        _seal(temporary, mark, export)
        crash_point("before-export-rename")
        replace_folder(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
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
    return export_of(folder, report, unchanged=True)


def _lasting(facts: Mapping[str, Any]) -> list[Any]:
    """What of the facts the card is written from."""
    models = {role: [m.get("model"), m.get("small")] for role, m in (facts.get("models") or {}).items()}
    entries = [
        [entry["name"], entry["stage"], *_books(entry.get("manifest") or {})] for entry in facts.get("entries", ())
    ]
    return [facts.get("text"), models, entries]


def _books(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    settings = manifest.get("settings") or {}
    return [{key: manifest.get(key) for key in _LASTING}, {key: settings.get(key) for key in TOLD}]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
