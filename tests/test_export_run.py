"""Exporting a run: from its last entry's directory, with its facts, when all of it is finished."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import IncompleteError, UsageError
from pipeline.export.files import export_run
from pipeline.record import Message, Record
from pipeline.stage import Outcome
from pipeline.store import StageWriter, kept_hashes, read_manifest

TURNS = (Message(role="user", content="Say hi"), Message(role="assistant", content="Hi"))


def make_run(folder: Path, kept: int = 3) -> Path:
    """A finished run of two entries, as the runner leaves it."""
    entries, hashes = [{"name": n, "stage": n, "folder": f"{i:02d}-{n}"} for i, n in enumerate(("read", "dedup"))], []
    for entry in entries:
        records = [Record(id=str(i), messages=TURNS, source=entry["name"]) for i in range(kept)]
        writer = StageWriter(folder / entry["folder"], 0)
        writer.add(Outcome.of(records, derived=kept))
        manifest = writer.commit({"previous": hashes, "seconds": 1.0, "models": {}})
        hashes = kept_hashes(manifest)
    facts = {
        "run": folder.name,
        "recipe": "recipes/demo.yaml",
        "text": "entries: []\n",
        "entries": entries,
        "models": {},
    }
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def test_a_finished_run_is_exported_once_and_says_so_in_its_manifest(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "r")
    summary = export_run(folder, {})
    names = ["alpaca.json", "sharegpt.json", "messages.jsonl", "data/train-*.parquet"]
    assert summary == {"folder": str(folder / "export"), "rows": 3, "files": names, "notes": [], "expectations": []}
    manifest: dict[str, Any] = read_manifest(folder / "export") or {}
    assert manifest["summary"] == summary | {"folder": "export"}
    assert {row["source"] for row in _parquet(folder)} == {"dedup"}
    inode = (folder / "export").stat().st_ino
    assert export_run(folder, {}) == summary
    assert (folder / "export").stat().st_ino == inode


def _parquet(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(folder / "export" / "data").to_pylist()  # type: ignore[no-any-return]


def test_the_recipes_settings_decide_formats_title_and_licence(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "r")
    summary = export_run(folder, {"formats": ["messages"], "pretty_name": "Our set", "license": "mit"})
    assert summary["files"] == ["messages.jsonl"]
    card = (folder / "export" / "README.md").read_text(encoding="utf-8")
    assert "# Our set\n" in card
    assert "\nlicense: mit\n" in card


def test_two_runs_of_other_names_and_places_export_the_same_bytes(tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "a"), make_run(tmp_path / "elsewhere" / "b")
    for folder in (first, second):
        export_run(folder, {})
    found = [
        {p.relative_to(f): p.read_bytes() for p in (f / "export").rglob("*") if p.is_file()} for f in (first, second)
    ]
    assert found[0] == found[1]


def test_new_rows_are_exported_anew(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "r")
    export_run(folder, {})
    shutil.rmtree(folder / "01-dedup")
    with pytest.raises(IncompleteError, match="'dedup' is not finished") as caught:
        export_run(folder, {})
    assert "seedmill run recipes/demo.yaml --run r" in (caught.value.hint or "")
    assert export_run(make_run(folder, kept=2), {})["rows"] == 2


def test_a_run_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run 'r'"):
        export_run(tmp_path / "r", {})
