"""One version of a dataset, wherever it is: a run, an export, a folder or file of rows, a dataset on the Hub."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from pipeline.errors import DataError, UsageError
from pipeline.export.clusters import Walk, near_roots
from pipeline.export.survey import Survey
from pipeline.formats.columns import frame_of
from pipeline.formats.elements import Unreadable
from pipeline.formats.extras import own_license
from pipeline.formats.reading import examples
from pipeline.formats.turns import chat
from pipeline.licenses import of_source
from pipeline.record import Message, Record, digest, source_id
from pipeline.stages.read import Repeats

_BATCH_ROWS = 5_000
_SHOWN_LETTERS = 90
_NOT_ROWS = frozenset(("report.json", "dataset_info.json", "manifest.json", "run.json", "status.json", "control.json"))
_ROW_FILES = ("*.parquet", "*.jsonl", "*.jsonl.gz", "*.json", "*.json.gz")
_HUB = ("hf://datasets/", "hf:")


class Row(NamedTuple):
    """What is remembered of one row.

    Attributes:
        id: the run's or the row's own, else the one that a run would give it: `fix` keeps it.
        content, question: digests of everything a trainer sees, and of the first question.
        shown: the beginning of the question.
    """

    id: str
    content: str
    question: str
    shown: str


@dataclass(kw_only=True)
class Version:
    """One version, in figures.

    Attributes:
        name: as it was asked for.
        unreadable: rows that could not be read.
        duplicates: share of rows that are near-duplicates of an earlier one.
        reasons: reason -> records dropped for it, when the version is a run.
    """

    name: str
    rows: list[Row] = field(default_factory=list)
    survey: Survey = field(default_factory=Survey)
    unreadable: int = 0
    duplicates: float = 0.0
    reasons: Mapping[str, int] = field(default_factory=dict)


def load(name: str, outputs: Path) -> Version:
    """Read a version.

    Args:
        name: a run's name, a folder, a file, or `hf:user/name` (with `@revision`).
        outputs: where runs are.

    Raises:
        UsageError: there is no such thing.
        DataError: it holds no rows, or cannot be read.
    """
    version = Version(name=name)
    walk = Walk()
    records = _records(name, outputs, version)
    while batch := list(islice(records, _BATCH_ROWS)):
        version.rows += [_row(record) for record in batch]
        frame = frame_of(batch)
        version.survey.add(frame)
        walk.add(frame)
    if not version.rows:
        raise DataError(f"{name}: holds no rows", "name a run, an export folder, a file of rows, or hf:user/name")
    roots = near_roots(walk.sketches)
    version.duplicates = float(np.mean(roots != np.arange(len(roots))))
    return version


def _records(name: str, outputs: Path, version: Version) -> Iterator[Record]:
    for prefix in _HUB:
        if name.startswith(prefix):
            from pipeline.hub import fetch_repository

            repo, _, revision = name.removeprefix(prefix).lstrip("/").partition("@")
            return _of_files(_files(fetch_repository(repo, revision or None), name), version)
    path = Path(name)
    for folder in (path, outputs / name):
        if (folder / "run.json").is_file():
            return _of_run(folder, version)
    if path.is_dir():
        return _of_files(_files(path, name), version)
    if path.is_file():
        return _of_files([path], version)
    runs = sorted(found.parent.name for found in outputs.glob("*/run.json"))
    hint = f"runs there: {', '.join(runs)}" if runs else "name a run, an export folder, a file of rows, or hf:user/name"
    raise UsageError(f"there is no run, folder or file '{name}'", hint)


def _of_run(folder: Path, version: Version) -> Iterator[Record]:
    from pipeline.run import read_run
    from pipeline.store import stream

    finished = [entry for entry in read_run(folder)["entries"] if "manifest" in entry]
    if not finished:
        raise DataError(f"no entry of run '{folder.name}' is finished", f"see 'seedmill status {folder.name}'")
    reasons: dict[str, int] = {}
    for entry in finished:
        for reason, count in entry["manifest"]["reasons"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    version.reasons = dict(sorted(reasons.items()))
    return stream(folder / finished[-1]["folder"], finished[-1]["manifest"]).records()


def _files(folder: Path, name: str) -> list[Path]:
    """The files of a folder that hold its rows once: of an export its parquet files, else its first format."""
    for pattern in ("data/*.parquet", *_ROW_FILES, *(f"**/{pattern}" for pattern in _ROW_FILES)):
        found = [p for p in sorted(folder.glob(pattern)) if p.name not in _NOT_ROWS and not p.name.startswith(".")]
        if found and pattern.endswith("parquet"):
            return found
        if found:
            stem = found[0].name.split(".")[0].split("-")[0]
            return [path for path in found if path.name.split(".")[0].split("-")[0] == stem]
    raise DataError(f"{name}: holds no parquet or JSON files of rows", "name another folder, or a file")


def _of_files(paths: list[Path], version: Version) -> Iterator[Record]:
    repeats = Repeats()
    for path in paths:
        for item in examples(path):
            if isinstance(item, Unreadable):
                version.unreadable += 1
                continue
            for fields in item.records:
                known = {"source": path.name, "method": "read", **cast(Any, fields)}
                yield _told(Record(id=repeats.id_of(fields), **known), path.name)


def _told(record: Record, file: str) -> Record:
    """The record with what the columns beside it say of it: our own parquet files have them all."""
    extra = json.loads(record.extra) if record.extra else {}
    texts = {
        key: extra[key] for key in ("id", "language", "model", "prompt", "source") if isinstance(extra.get(key), str)
    }
    scores = {
        item["key"]: item["value"]
        for item in extra.get("scores") or ()
        if isinstance(item, dict) and isinstance(item.get("key"), str) and isinstance(item.get("value"), float | int)
    }
    return replace(
        record,
        **{key: value for key, value in texts.items() if key in ("id", "source") or getattr(record, key) is None},
        scores=record.scores or scores,
        license=record.license or own_license(record.extra) or of_source(record.source) or of_source(file),
    )


def _row(record: Record) -> Row:
    # Texts alone: whether the input stands apart, or a column of details, is a matter of the format.
    whole = [_turns(chat(record)), record.chosen and _turns(record.chosen), record.rejected and _turns(record.rejected)]
    asked = record.question
    shown = " ".join(asked.split())[:_SHOWN_LETTERS]
    return Row(record.id, digest(whole, record.label), source_id((), asked, None), shown)


def _turns(messages: tuple[Message, ...]) -> list[Any]:
    return [[m.role, m.content, m.thinking, json.loads(m.tool_calls) if m.tool_calls else None] for m in messages]
