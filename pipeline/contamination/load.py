"""The benchmarks that a stage names, raw or packed, as one index a process."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.contamination.benchmark import Benchmark, read_benchmark
from pipeline.contamination.index import Index, Parts, build_index
from pipeline.contamination.items import Columns
from pipeline.contamination.pack import is_pack, read_pack
from pipeline.formats.files import expand


def load_index(files: Sequence[str], columns: Columns, parts: Parts, short: int) -> Index:
    """The index of these benchmark files and packs, made once in a process for as long as the files stay the same.

    Args:
        files: paths or globs; every file is a benchmark of its own, a pack whatever it holds.
        columns: of the raw files, where they are not the usual ones.

    Raises:
        DataError: one of them cannot be read.
    """
    paths = expand(files)
    marks = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths)
    return _loaded(marks, columns, parts, short)


@functools.lru_cache(maxsize=2)
def _loaded(marks: tuple[tuple[str, int, int], ...], columns: Columns, parts: Parts, short: int) -> Index:
    found = [_benchmark(Path(path), columns) for path, _, _ in marks]
    return build_index(_named_apart(found), parts, short)


def _benchmark(path: Path, columns: Columns) -> Benchmark:
    return read_pack(path) if is_pack(path) else read_benchmark([path], columns)


def _named_apart(found: Sequence[Benchmark]) -> list[Benchmark]:
    """The second of two benchmarks of one name is called `name (2)`, for they are counted by name."""
    names: list[str] = []
    for benchmark in found:
        name, number = benchmark.name, 1
        while name in names:
            number += 1
            name = f"{benchmark.name} ({number})"
        names.append(name)
    return [replace(benchmark, name=name) for benchmark, name in zip(found, names, strict=True)]
