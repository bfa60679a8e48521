"""What a stage's result depends on, as one hash; paths, engine, workers and time are not in it."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pipeline.errors import DataError, SeedmillError
from pipeline.recipe import Entry
from pipeline.record import SCHEMA_VERSION
from pipeline.store import sha256_of

_CODE_SUFFIXES = {".py", ".txt", ".yaml", ".json"}


@functools.cache
def code_hash() -> str:
    """sha256 over the code, prompts and data files of `pipeline/` and `filters/`, by relative name."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parent.parent
    for folder in ("pipeline", "filters"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in _CODE_SUFFIXES and path.is_file():
                digest.update(f"{path.relative_to(root).as_posix()}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def fingerprint(entry: Entry, seed: int, models: Mapping[str, Any], previous: Sequence[str]) -> str:
    """sha256 of everything that decides an entry's output.

    Args:
        entry: its stage, settings and outside files (their content, in order).
        seed: the run's seed.
        models: for each role the entry asks: logical endpoint, model name and parameters.
        previous: sha256 of the previous entry's kept shards, in order.

    Raises:
        SeedmillError: a file is not there or cannot be read.
    """
    _require_made(entry)
    parts = {
        "schema": SCHEMA_VERSION,
        "code": code_hash(),
        "name": entry.name,
        "stage": entry.kind,
        "settings": entry.portable_settings(),
        "files": [[path.name, _content_hash(path)] for path in entry.files],
        "seed": seed,
        "models": models,
        "previous": list(previous),
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _require_made(entry: Entry) -> None:
    """Folders may be made after the recipe was read, but not after their entry's turn."""
    for field in fields(entry.stage):  # type: ignore[arg-type]
        folder = getattr(entry.stage, field.name) if field.metadata.get("folder") else None
        if folder and not all((Path(folder) / name).is_file() for name in field.metadata["folder"]):
            hint = str(field.metadata["made_by"]).format(folder=folder)
            raise SeedmillError(f"entry {entry.name}: {folder} is not there yet, or not whole", hint)


def _content_hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", "check its permissions") from error
