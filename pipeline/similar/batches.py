"""An index that grows: a folder to which batch after batch of texts is added, each whole or not at all."""

import fcntl
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.crash import crash_point
from pipeline.errors import DataError, SeedmillError, UsageError
from pipeline.similar.index import Known, Shelf, write_segments
from pipeline.similar.minhash import Bands
from pipeline.store import replace_folder, write_json

VERSION = 1
"""Raised when what is written changes."""

_SEGMENT_ROWS = 500_000


@dataclass(frozen=True)
class Index:
    """An index folder that this process holds.

    Attributes:
        folder: `index.json`, which names the batches in order, and a folder for each.
        settings: what decides which texts are near-duplicates.
        batches: as in `index.json`: `name`, `made_by`, `input` (a digest of its rows), `segments` (rows of each).
        made_by: names this run's entry, so that its own batch is known when the run is made again.
    """

    folder: Path
    settings: Mapping[str, Any]
    batches: tuple[Mapping[str, Any], ...]
    made_by: str

    @property
    def _own(self) -> int | None:
        """Position of the batch that this run's entry has added before."""
        return next((i for i, batch in enumerate(self.batches) if batch["made_by"] == self.made_by), None)

    def shelves(self) -> list[Shelf]:
        """A shelf for each batch before this run's own."""
        return [
            Shelf(batch["name"], tuple(_segments(self.folder / batch["name"], batch["segments"])))
            for batch in self.batches[: self._own]
        ]

    def has(self, input: str) -> bool:
        """Whether this run's entry has added these very rows before.

        Raises:
            UsageError: it has added other rows; whether they shall go or stay is not for us to guess.
        """
        own = self._own
        if own is None:
            return False
        if self.batches[own]["input"] != input:
            raise UsageError(
                f"{self.folder}: this run has added other rows to the index before ({self.batches[own]['name']})",
                "give the run another name with --run to add these as a further batch, or start with a new index",
            )
        return True

    def add(self, input: str, parts: Iterable[Known], bands: Bands | None) -> None:
        """Add a batch; it is in the index whole, or not at all when this process is killed."""
        name = f"batch-{len(self.batches):05d}"
        temporary = self.folder / f".{name}.partial"
        shutil.rmtree(temporary, ignore_errors=True)
        sizes = write_segments(temporary, parts, bands, _SEGMENT_ROWS)
        replace_folder(temporary, self.folder / name)
        crash_point("index-batch-written")
        batch = {"name": name, "made_by": self.made_by, "input": input, "segments": sizes}
        _write(self.folder, self.settings, (*self.batches, batch))


def _segments(folder: Path, sizes: list[int]) -> Iterator[tuple[Path, int]]:
    for number, size in enumerate(sizes):
        path = folder / f"{number:03d}"
        if not (path / "keys.npy").is_file():
            raise DataError(f"{path}: a part of the index is missing", "restore the folder, or start with a new index")
        yield path, size


@contextmanager
def open_index(folder: Path, settings: Mapping[str, Any], made_by: str) -> Iterator[Index]:
    """The index in a folder, made when it is not there, held until the end of the block.

    Raises:
        UsageError: it was made with other settings or by another version, or the folder holds something else.
        SeedmillError: another process is adding to it.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file, not an index", "name a folder")
    if folder.is_dir() and not (folder / "index.json").exists() and _foreign(folder):
        raise UsageError(f"{folder}: is not an index, and not empty", "name an index or a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SeedmillError(
                f"{folder}: another process is adding to this index", "run the same command again when it is done"
            ) from None
        if not (folder / "index.json").exists():
            _write(folder, settings, ())
        yield Index(folder, settings, _checked(folder, settings), made_by)


def _foreign(folder: Path) -> bool:
    return any(not path.name.startswith((".lock", ".index.json", "batch-", ".batch-")) for path in folder.iterdir())


def _checked(folder: Path, settings: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    path = folder / "index.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version, theirs, batches = found["version"], found["settings"], found["batches"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read: {error}", "restore it, or start with a new index") from None
    if version != VERSION:
        raise UsageError(f"{folder}: was made by another version ({version}, not {VERSION})", "start with a new index")
    for name, value in settings.items():
        if theirs.get(name) != value:
            raise UsageError(
                f"{folder}: was made with {name} {theirs.get(name)!r}, not {value!r}",
                f"set {name} to {theirs.get(name)!r}, or start with a new index",
            )
    return tuple(batches)


def _write(folder: Path, settings: Mapping[str, Any], batches: tuple[Mapping[str, Any], ...]) -> None:
    write_json(folder / "index.json", {"version": VERSION, "settings": settings, "batches": batches})
