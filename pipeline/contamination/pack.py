"""Packs: a benchmark's hashes as a parquet file that holds none of its text and says what it is.

One row a text, in the benchmark's order, with columns `file` and `line` (of its item), `id`, `item`, `answer`,
`tokens`, `characters`, `whole` and `grams`; the header is JSON in the file's metadata. Any parquet reader opens it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.contamination.benchmark import Benchmark, Source
from pipeline.contamination.grams import GAPPED, GRAM, KEY, gram_count, is_gapped
from pipeline.errors import DataError, UsageError
from pipeline.similar.shingles import Shingles

FORMAT = "seedmill-pack"
VERSION = 1
"""Raised whenever tokens or hashes change: then a pack has to be made anew from its benchmark."""

_HEADER = b"seedmill-pack"
_HASHING = {
    "n": GRAM,
    "gapped_below": GAPPED,
    "hash": "siphash-1-3, 64 bits",
    "key": [f"{part:016x}" for part in KEY],
    "tokens": "words and single characters; NFKC, lower case, simplified Chinese",
}
_SCHEMA = pa.schema(
    [
        ("item", pa.int64()),
        ("file", pa.int32()),
        ("line", pa.int64()),
        ("id", pa.string()),
        ("answer", pa.bool_()),
        ("tokens", pa.int64()),
        ("characters", pa.bool_()),
        ("whole", pa.uint64()),
        ("grams", pa.list_(pa.uint64())),
    ]
)


def is_pack(path: Path) -> bool:
    """Whether a file is a pack."""
    try:
        with path.open("rb") as handle:
            if handle.read(4) != b"PAR1":
                return False
        return _HEADER in (pq.read_metadata(path).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def header_of(benchmark: Benchmark) -> dict[str, Any]:
    """What a pack says of itself."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": benchmark.name,
        "benchmark_version": benchmark.version,
        "items": len(benchmark.lines),
        "questions": int((~benchmark.answers).sum()),
        "answers": int(benchmark.answers.sum()),
        "hashes": len(benchmark.grams.values),
        "sources": [asdict(source) for source in benchmark.sources],
        **_HASHING,
    }


def write_pack(benchmark: Benchmark, path: Path) -> dict[str, Any]:
    """Write a pack, whole or not at all; its header. Equal benchmarks are equal bytes.

    Raises:
        UsageError: the file cannot be written there.
    """
    items = benchmark.items
    columns = {
        "item": items,
        "file": benchmark.files[items],
        "line": benchmark.lines[items],
        "id": [benchmark.ids[item] for item in items],
        "answer": benchmark.answers,
        "tokens": benchmark.tokens,
        "characters": benchmark.characters,
        "whole": benchmark.whole,
        "grams": pa.ListArray.from_arrays(
            pa.array(benchmark.grams.starts, pa.int32()), pa.array(benchmark.grams.values)
        ),
    }
    header = header_of(benchmark)
    text = json.dumps(header, ensure_ascii=False, sort_keys=True).encode()
    table = pa.table(columns, schema=_SCHEMA).replace_schema_metadata({_HEADER: text})
    temporary = path.with_name(f".{path.name}.partial")
    try:
        pq.write_table(table, temporary, compression="zstd", use_dictionary=["id"], version="2.6")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        reason = error.strerror or error
        raise UsageError(f"{path}: cannot be written: {reason}", "choose another place with -o") from error
    return header


def read_pack(path: Path) -> Benchmark:
    """The benchmark of a pack.

    Raises:
        DataError: it is damaged, or of a version that this program does not read.
    """
    try:
        table = pq.read_table(path)
        header = json.loads(table.schema.metadata[_HEADER])
        _check(path, header)
        return _benchmark(table, header)
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        hint = "make it anew from its benchmark with 'seedmill pack'"
        raise DataError(f"{path}: is no whole pack: {error}", hint) from None


def _check(path: Path, header: Mapping[str, Any]) -> None:
    if header.get("version") != VERSION or any(header.get(key) != value for key, value in _HASHING.items()):
        raise DataError(
            f"{path}: is a pack of version {header.get('version')}, made with other hashes than version {VERSION}",
            "make it anew from its benchmark with 'seedmill pack'",
        )


def _benchmark(table: Any, header: Mapping[str, Any]) -> Benchmark:
    columns = {name: table[name].combine_chunks() for name in _SCHEMA.names}
    held = {name: columns[name].to_numpy(zero_copy_only=False) for name in _SCHEMA.names if name not in ("id", "grams")}
    grams = columns["grams"]
    starts = grams.offsets.to_numpy().astype(np.int64)
    values = grams.values.to_numpy().astype(np.uint64)
    expected = [gram_count(int(n), is_gapped(int(n))) for n in held["tokens"]]
    if np.diff(starts).tolist() != expected:
        raise ValueError("its hashes do not fit its texts")
    count = int(header["items"])
    items = held["item"].astype(np.int64)
    if ((items < 0) | (items >= count)).any():
        raise ValueError("its texts do not fit its items")
    files, lines = np.zeros(count, np.int32), np.zeros(count, np.int64)
    files[items], lines[items] = held["file"], held["line"]
    ids: list[str | None] = [None] * count
    for item, id in zip(items.tolist(), columns["id"].to_pylist(), strict=True):
        ids[item] = id
    return Benchmark(
        name=str(header["name"]),
        version=str(header["benchmark_version"]),
        sources=tuple(Source(**source) for source in header["sources"]),
        files=files,
        lines=lines,
        ids=tuple(ids),
        items=items,
        answers=held["answer"].astype(np.bool_),
        tokens=held["tokens"].astype(np.int64),
        characters=held["characters"].astype(np.bool_),
        whole=held["whole"].astype(np.uint64),
        grams=Shingles(values, starts),
    )
