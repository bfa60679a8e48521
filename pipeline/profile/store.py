"""A profile on disk: signals of every record and answer, findings of every check; whole or absent."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.fingerprint import code_hash
from pipeline.profile.needs import RECORD_COLUMNS, TURN_COLUMNS, signals_of
from pipeline.record import SCHEMA_VERSION
from pipeline.signals import FIELDS
from pipeline.store import ShardWriter, read_manifest, sha256_of

FOLDER = "profile"
SHOWN_CHARS = 160
"""How much of a question and of an answer is kept to be shown."""

_KINDS: dict[str, type[pl.DataType]] = {
    "row": pl.UInt32,
    "turn": pl.Int32,
    "turns": pl.UInt32,
    "final": pl.Boolean,
    "tooled": pl.Boolean,
    "excused": pl.Boolean,
    "id": pl.String,
    "n_turns": pl.UInt32,
    "roles": pl.String,
}
SHOWN: dict[str, type[pl.DataType]] = {"question": pl.String, "answer": pl.String}


def _kind(name: str) -> type[pl.DataType]:
    if name.endswith("_language"):
        return pl.String
    return _KINDS.get(name, pl.Int64 if name in [f"{field}_words" for field in FIELDS] else pl.Float64)


SCHEMAS = {
    "turn": pl.Schema({name: _kind(name) for name in (*TURN_COLUMNS, *signals_of("turn"))}),
    "record": pl.Schema({name: _kind(name) for name in (*RECORD_COLUMNS, *signals_of("record"))} | SHOWN),
}
"""Columns of turns-*.parquet and records-*.parquet, by scope."""


def findings_schema(measured: Iterable[str]) -> pl.Schema:
    """Columns of a check's file: where it found something, the numbers it measured there, the evidence as JSON text."""
    numbers = dict.fromkeys(measured, pl.Float64)
    return pl.Schema({"row": pl.UInt32, "turn": pl.Int32, **numbers, "evidence": pl.String})


def findings_writer(folder: Path, key: str, measured: Iterable[str]) -> ShardWriter:
    """One file for a check's findings, `<key>-00000.parquet`."""
    return ShardWriter(folder, key, findings_schema(measured), shard_rows=1 << 40)


def fingerprint(files: Sequence[Path], format: str) -> str:
    """sha256 over what a profile is computed from: the files' content, how they are read, and our code."""
    parts = [SCHEMA_VERSION, code_hash(), format, [[path.name, sha256_of(path)] for path in files]]
    return sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Profile:
    """A finished profile.

    Attributes:
        folder: where it is.
        manifest: its fingerprint, files and counts.
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def records(self) -> int:
        """Records that could be read."""
        return int(self.manifest["records"])

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The distributions, computed when the profile was made."""
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))
        return found

    def shards(self, scope: str) -> list[Path]:
        """The files of one scope's columns, in order."""
        return sorted(self.folder.glob(f"{scope}s-*.parquet"))

    def table(self, scope: str) -> pl.LazyFrame:
        """The columns of every answer ("turn") or record ("record"), in order."""
        return pl.scan_parquet(self.shards(scope), glob=False)

    def shown(self, rows: Iterable[int]) -> dict[int, dict[str, str]]:
        """Row -> its id and the beginnings of its question and answer."""
        wanted = pl.col("row").is_in(list(rows))
        told = self.table("record").filter(wanted).select("row", "id", "question", "answer").collect()
        return {row.pop("row"): row for row in told.iter_rows(named=True)}

    def has_findings(self, key: str) -> bool:
        """Whether a check's findings are stored."""
        return self._findings(key).exists()

    def findings(self, key: str) -> pl.LazyFrame:
        """What a check found; see `findings_schema`."""
        return pl.scan_parquet(self._findings(key), glob=False)

    def _findings(self, key: str) -> Path:
        return self.folder / "checks" / f"{key}-00000.parquet"


def stored(folder: Path, fingerprint: str) -> Profile | None:
    """The profile in a folder when it is whole and of this fingerprint."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.get("fingerprint") != fingerprint:
        return None
    return Profile(folder, manifest)
