"""A quality model's folder: fastText's file and a manifest of facts and figures; whole or absent."""

import functools
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, UsageError
from pipeline.quality.classifier import Classifier, read_classifier
from pipeline.quality.line import Lines
from pipeline.quality.logistic import probability
from pipeline.store import read_manifest, replace_folder, sha256_of, write_json

KIND = "seedmill quality model"
VERSION = 1
"""Raised whenever what a model reads of a record changes: an old model would then read something else."""

MODEL, MANIFEST = "model.bin", "manifest.json"
FILES = (MANIFEST, MODEL)

MADE_BY = "make it with 'seedmill distill-scores RUN -o {folder}', then run the same command again"

DECIMALS = 6
"""Of a probability, wherever it is stored or compared."""


@dataclass(frozen=True, slots=True)
class QualityModel:
    """A model ready to judge.

    Attributes:
        score: name of the judge's score it has learnt from; rows from `good` on were its good ones.
        threshold: the probability chosen for the stated recall.
        languages: primary tags of the languages it has learnt.
        slope: of the calibration, with `intercept`.
    """

    classifier: Classifier
    score: str
    good: float
    threshold: float
    languages: tuple[str, ...]
    slope: float
    intercept: float

    def probabilities(self, lines: Lines) -> NDArray[np.float64]:
        """Of each line, the calibrated probability that the judge would find the row good."""
        return calibrated(self.classifier.logits(lines), self.slope, self.intercept)


def calibrated(logits: NDArray[np.float64], slope: float, intercept: float) -> NDArray[np.float64]:
    """Probabilities as they are stored and compared."""
    return np.round(probability(slope * logits + intercept), DECIMALS)


def require_free(folder: Path) -> None:
    """Raise UsageError when something else than a quality model is in the way."""
    if folder.exists() and not _is_ours(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder} is there and is no quality model", "name another folder with -o")


def _is_ours(folder: Path) -> bool:
    return (read_manifest(folder) or {}).get("kind") == KIND


def write_model(folder: Path, make: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """Have the model made in a hidden folder beside the final one, which then appears at once.

    Args:
        make: writes the model to the path it is given and returns the facts of the manifest.

    Returns:
        The manifest.
    """
    require_free(folder)
    temporary = folder.parent / f".{folder.name}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        facts = make(temporary / MODEL)
        path = temporary / MODEL
        file = {"file": MODEL, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
        manifest = {"kind": KIND, "version": VERSION, **facts, "model": file}
        write_json(temporary / MANIFEST, manifest)
        replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def read_model(folder: Path) -> QualityModel:
    """The model of a folder, read once by each process.

    Raises:
        DataError: there is none, or it is not as `seedmill distill-scores` wrote it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder} is not there, or is no quality model", MADE_BY.format(folder=folder))
    return _read(folder, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _read(folder: Path, changed: int) -> QualityModel:
    manifest = read_manifest(folder) or {}
    hint = MADE_BY.format(folder=folder)
    if manifest.get("kind") != KIND or manifest.get("version") != VERSION:
        raise DataError(f"{folder / MANIFEST} is not the manifest of a quality model of version {VERSION}", hint)
    try:
        if sha256_of(folder / MODEL) != manifest["model"]["sha256"]:
            raise ValueError("its bytes are not those that the manifest names")
        return QualityModel(
            classifier=read_classifier(folder / MODEL),
            score=str(manifest["score"]),
            good=float(manifest["good"]),
            threshold=float(manifest["threshold"]["probability"]),
            languages=tuple(map(str, manifest["languages"])),
            slope=float(manifest["calibration"]["slope"]),
            intercept=float(manifest["calibration"]["intercept"]),
        )
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{folder / MODEL} cannot be used: {error}", hint) from error
