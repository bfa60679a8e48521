"""Texts remembered on disk, found again by equal digests and shared MinHash bands without reading the rest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.similar.minhash import Bands, band_keys
from pipeline.similar.shingles import Shingles

_ARRAYS = ("ids", "lines", "digests", "values", "starts", "aside", "aside_starts")
_HEADER = 128
"""Bytes of an array file before its numbers."""


@dataclass(frozen=True, slots=True)
class Known:
    """Remembered texts.

    Attributes:
        ids: of the records, as bytes.
        lines: where each stands in its file, from 1; 0 when it came from no file.
        digests: shape (texts, 2).
        sets: distinct shingles; none at all when only equal records are looked for.
        aside: the same of the second aspect.
    """

    ids: NDArray[np.bytes_]
    lines: NDArray[np.int64]
    digests: NDArray[np.uint64]
    sets: Shingles
    aside: Shingles

    def __len__(self) -> int:
        return len(self.ids)

    def taken(self, rows: NDArray[np.int64]) -> "Known":
        """These of the texts."""
        sets, aside = self.sets.taken(rows), self.aside.taken(rows)
        return Known(self.ids[rows], self.lines[rows], self.digests[rows], sets, aside)

    @staticmethod
    def joined(parts: Sequence["Known"]) -> "Known":
        """All texts of all parts, in order."""
        return Known(
            np.concatenate([np.empty(0, "S1"), *(part.ids for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.lines for part in parts)]),
            np.concatenate([np.empty((0, 2), np.uint64), *(part.digests for part in parts)]),
            Shingles.joined([part.sets for part in parts]),
            Shingles.joined([part.aside for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of remembered texts, in segments; only what is asked for is read. Travels to workers as paths.

    Attributes:
        label: what evidence calls it.
        segments: folders written by `write_segment`, and how many texts each holds.
    """

    label: str
    segments: tuple[tuple[Path, int], ...]

    def candidates(self, digests: NDArray[np.uint64], keys: NDArray[np.uint64] | None) -> NDArray[np.int64]:
        """Rows of this shelf with one of these digests, or with one of these band keys (shape (texts, bands))."""
        found = [np.empty(0, np.int64)]
        wanted = [np.unique(digests[digests.any(axis=1), 0])]
        wanted_keys = [] if keys is None else [np.unique(keys[:, band]) for band in range(keys.shape[1])]
        begin = 0
        for folder, size in self.segments:
            found += [begin + rows for rows in _matches(folder, "equal", wanted)]
            found += [begin + rows for rows in _matches(folder, "keys", wanted_keys)]
            begin += size
        return np.unique(np.concatenate(found))

    def load(self, rows: NDArray[np.int64]) -> Known:
        """Those rows; `rows` ascends."""
        parts = []
        begin = 0
        for folder, size in self.segments:
            inside = rows[(rows >= begin) & (rows < begin + size)] - begin
            if len(inside):
                parts.append(_loaded(folder, inside))
            begin += size
        return Known.joined(parts)

    def __len__(self) -> int:
        return sum(size for _, size in self.segments)


def _matches(folder: Path, name: str, wanted: Sequence[NDArray[np.uint64]]) -> list[NDArray[np.int64]]:
    """The rows that have a wanted value in a column of a segment; wanted are some values, ascending, for each column.

    The columns ascend as well, so that few of their pages are read.
    """
    columns, places = _held(folder, name), _held(folder, f"{name}_rows")
    found = []
    for ordered, rows, values in zip(columns, places, wanted, strict=False):
        first, last = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
        hit = last > first
        spans = [rows[a:b] for a, b in zip(first[hit].tolist(), last[hit].tolist(), strict=True)]
        found.append(np.concatenate([np.empty(0, np.int64), *spans]).astype(np.int64))
    return found


def _held(folder: Path, name: str) -> NDArray[Any]:
    """An array of a segment, read as it is used."""
    path = folder / f"{name}.npy"
    # An empty file cannot be mapped.
    mode: Literal["r"] | None = "r" if path.stat().st_size > _HEADER else None
    array: NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
    return array


def _loaded(folder: Path, rows: NDArray[np.int64]) -> Known:
    held = {name: _held(folder, name) for name in _ARRAYS}
    sets, aside = Shingles(held["values"], held["starts"]), Shingles(held["aside"], held["aside_starts"])
    return Known(held["ids"], held["lines"], held["digests"], sets, aside).taken(rows)


def write_segment(folder: Path, known: Known, bands: Bands | None) -> None:
    """Write texts as a segment that a shelf can search: arrays without any object in them."""
    folder.mkdir(parents=True)
    size = len(known)
    keys = np.empty((size, 0), np.uint64) if bands is None else band_keys(known.sets, bands)
    filled = known.sets.counts > 0
    orders = [np.flatnonzero(filled)[np.argsort(keys[filled, band], kind="stable")] for band in range(keys.shape[1])]
    visible = np.flatnonzero(known.digests.any(axis=1))
    equal = visible[np.argsort(known.digests[visible, 0], kind="stable")]
    tables = {
        "ids": known.ids,
        "lines": known.lines,
        "digests": known.digests,
        "values": known.sets.values,
        "starts": known.sets.starts,
        "aside": known.aside.values,
        "aside_starts": known.aside.starts,
        "keys": np.array([keys[order, band] for band, order in enumerate(orders)], np.uint64),
        "keys_rows": np.array(orders, np.uint32),
        "equal": known.digests[equal, 0][None],
        "equal_rows": equal[None].astype(np.uint32),
    }
    for name, table in tables.items():
        np.save(folder / f"{name}.npy", table, allow_pickle=False)


def write_segments(folder: Path, parts: Iterable[Known], bands: Bands | None, rows: int) -> list[int]:
    """Write a stream of texts as segments `000`, `001`, ... of about so many rows; how many each holds."""
    sizes: list[int] = []
    waiting: list[Known] = []

    def flush() -> None:
        write_segment(folder / f"{len(sizes):03d}", Known.joined(waiting), bands)
        sizes.append(sum(len(part) for part in waiting))
        waiting.clear()

    folder.mkdir(parents=True)
    for part in parts:
        waiting.append(part)
        if sum(len(one) for one in waiting) >= rows:
            flush()
    if waiting:
        flush()
    return sizes
