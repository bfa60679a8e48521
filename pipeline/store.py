"""A stage directory: parquet shards of kept records and drops, and a manifest; whole or absent."""

import contextlib
import hashlib
import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.crash import crash_point
from pipeline.record import DROP_SCHEMA, SCHEMA
from pipeline.stage import Outcome, Slice, Stream, added

SHARD_ROWS = 50_000
GROUP_ROWS = 2_000
"""Rows of a shard and of a row group inside it. Cut in input order whatever the blocks were, so that equal rows are
equal bytes; the default block is one row group, so that no worker decodes rows that it does not need."""

_OPTIONS: Mapping[str, Any] = {
    "compression": "zstd",
    "compression_level": 3,
    "version": "2.6",
    "use_dictionary": False,
    "write_statistics": False,
}
"""Texts hardly repeat, and zstd sees to what does: with dictionaries a file takes a quarter longer to write, and more
room. Nobody asks for a column's least and greatest value."""

_AHEAD = 32 * 1024 * 1024
"""Bytes of rows that wait to be written while the next ones are made."""

_OLDEST = pl.CompatLevel.oldest()


class ShardWriter:
    """Writes frames of one schema as `<prefix>-00000.parquet` ... in `folder`, with pinned parquet options.

    A thread compresses and writes, so that whoever makes the rows need not wait for it; a failure is raised by a later
    `add` or by `close`.
    """

    def __init__(self, folder: Path, prefix: str, schema: pl.Schema, shard_rows: int = SHARD_ROWS) -> None:
        self._folder, self._prefix, self._shard_rows = folder, prefix, shard_rows
        self._schema: pa.Schema = pl.DataFrame(schema=schema).to_arrow(compat_level=_OLDEST).schema
        self._waiting = pl.DataFrame(schema=schema)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"write-{prefix}")
        self._on_their_way: deque[tuple[Future[None], int]] = deque()
        self._writer: Any = None
        self._sink: Any = None
        self._in_shard = 0
        self.rows = 0
        self.files: list[Path] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Append rows, in order."""
        if frame.height == 0:
            return
        self.rows += frame.height
        self._waiting = pl.concat([self._waiting, frame]) if self._waiting.height else frame
        while self._waiting.height >= GROUP_ROWS:
            room = -(-(self._shard_rows - self._in_shard) // GROUP_ROWS)
            rows = min(room, self._waiting.height // GROUP_ROWS) * GROUP_ROWS
            self._hand_over(self._waiting.slice(0, rows))
            self._waiting = self._waiting.slice(rows)

    def _hand_over(self, frame: pl.DataFrame) -> None:
        """Have whole groups of one shard written; what went wrong with earlier ones is raised here."""
        table = frame.rechunk().to_arrow(compat_level=_OLDEST).combine_chunks()
        while self._on_their_way and sum(size for _, size in self._on_their_way) + table.nbytes > _AHEAD:
            self._on_their_way.popleft()[0].result()
        self._in_shard += frame.height
        ends = self._in_shard >= self._shard_rows
        self._on_their_way.append((self._thread.submit(self._write, table, ends), table.nbytes))
        if ends:
            self._in_shard = 0

    def _write(self, table: pa.Table, ends_shard: bool) -> None:
        if self._writer is None:
            path = self._folder / f"{self._prefix}-{len(self.files):05d}.parquet"
            self.files.append(path)
            # A handle of our own: on a full disk it is what must be let go of before the space is really free again.
            self._sink = pa.OSFile(str(path), "wb")
            self._writer = pq.ParquetWriter(self._sink, self._schema, **_OPTIONS)
        if table.num_rows:
            self._writer.write_table(table, row_group_size=GROUP_ROWS)
        if ends_shard:
            self._end_shard()

    def close(self) -> None:
        """Write what is waiting; an empty stream still becomes one empty file, so that readers find the schema."""
        if self._waiting.height or not self.rows:
            self._hand_over(self._waiting)
        while self._on_their_way:
            self._on_their_way.popleft()[0].result()
        self._thread.shutdown()
        if self._writer is not None:
            self._end_shard()

    def abandon(self) -> None:
        """Let go of a file that is not going to be whole."""
        self._thread.shutdown(cancel_futures=True)
        if self._writer is not None:
            self._writer.is_open = False  # or its destructor would still write to it
        if self._sink is not None:
            with contextlib.suppress(OSError):
                self._sink.close()
        self._writer = self._sink = None

    def _end_shard(self) -> None:
        self._writer.close()
        self._sink.close()
        self._writer = self._sink = None


class StageWriter:
    """Collects a stage's outcomes in a hidden directory beside the final one; `commit` makes it appear at once."""

    def __init__(self, folder: Path, rows_in: int) -> None:
        self.folder = folder
        self._rows_in = rows_in
        self._temporary = folder.parent / f".{folder.name}.partial"
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        self._kept = ShardWriter(self._temporary, "kept", SCHEMA)
        self._drops = ShardWriter(self._temporary, "drops", DROP_SCHEMA)
        self._derived = 0
        self._reasons, self._fixed, self._hits, self._notes = (Counter[str]() for _ in range(4))
        self._tables: dict[str, dict[str, dict[str, int]]] = {}
        self.unavailable: list[str] = []

    def add(self, outcome: Outcome) -> None:
        """Take one outcome, in order."""
        self._kept.add(outcome.kept)
        self._drops.add(outcome.drops)
        self._derived += outcome.derived
        self._fixed.update(outcome.fixed)
        self._hits.update(outcome.hits)
        self._notes.update(outcome.notes)
        self._tables = added([self._tables, outcome.tables])
        self._reasons.update(dict(outcome.drops["reason"].value_counts().iter_rows()))
        self.unavailable.extend(outcome.unavailable)

    def counts(self) -> dict[str, Any]:
        """The stage's books so far."""
        return {
            "in": self._rows_in,
            "derived": self._derived,
            "kept": self._kept.rows,
            "dropped": self._drops.rows,
            "reasons": dict(sorted(self._reasons.items())),
            "fixed": dict(sorted(self._fixed.items())),
            "hits": dict(sorted(self._hits.items())),
            "notes": dict(sorted(self._notes.items())),
            **({"tables": self._tables} if self._tables else {}),
        }

    def commit(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Check the books, write the manifest last, fsync, and give the directory its name.

        Returns:
            The manifest: `facts`, the counts and every shard's rows and sha256.

        Raises:
            AssertionError: rows were lost or invented; a bug of the stage, so nothing is committed.
        """
        self._kept.close()
        self._drops.close()
        books = self.counts()
        balance = books["in"] + books["derived"] - books["kept"] - books["dropped"]
        assert balance == 0, f"{self.folder.name}: books do not balance by {balance}: {books}"
        crash_point("shards-written")
        shards = [_shard(path) for path in (*self._kept.files, *self._drops.files)]
        manifest = {**facts, **books, "shards": shards}
        write_json(self._temporary / "manifest.json", manifest)
        crash_point("before-rename")
        replace_folder(self._temporary, self.folder)
        return manifest

    def discard(self) -> None:
        """Leave no trace."""
        self._kept.abandon()
        self._drops.abandon()
        shutil.rmtree(self._temporary, ignore_errors=True)


def _shard(path: Path) -> dict[str, Any]:
    rows = pq.ParquetFile(path).metadata.num_rows
    return {"file": path.name, "rows": rows, "bytes": path.stat().st_size, "sha256": sha256_of(path)}


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON by rename, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def replace_folder(temporary: Path, final: Path) -> None:
    """Make `temporary` durable and rename it to `final`; an older `final` is moved aside first, then deleted."""
    for path in sorted(temporary.rglob("*")):
        _fsync(path)
    _fsync(temporary)
    aside = final.with_name(f".{final.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if final.exists():
        final.rename(aside)
    temporary.rename(final)
    _fsync(final.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished stage directory, or None when there is none."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    return manifest if isinstance(manifest, dict) else None


def kept_hashes(manifest: Mapping[str, Any]) -> list[str]:
    """The sha256 of every kept shard, in order: what the next stage's fingerprint stands on."""
    return [shard["sha256"] for shard in manifest["shards"] if shard["file"].startswith("kept-")]


def stream(folder: Path, manifest: Mapping[str, Any], block_rows: int = GROUP_ROWS) -> Stream:
    """What a finished stage kept, cut into blocks of at most `block_rows` rows (a block never spans two shards)."""
    slices: list[Slice] = []
    for shard in manifest["shards"]:
        if shard["file"].startswith("kept-"):
            for offset in range(0, shard["rows"], block_rows):
                rows = min(block_rows, shard["rows"] - offset)
                slices.append(Slice(len(slices), folder / shard["file"], offset, rows))
    return Stream(tuple(slices))


def drops(folder: Path) -> Iterator[pl.DataFrame]:
    """The drops of a stage directory, a frame of DROP_SCHEMA a shard."""
    return (pl.read_parquet(path) for path in sorted(folder.glob("drops-*.parquet")))
