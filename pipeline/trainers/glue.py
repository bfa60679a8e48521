"""The files that make a trainer read a dataset as it is meant: dataset_info.json, YAML, snippets of Python."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.store import write_json
from pipeline.trainers.axolotl_yaml import axolotl_yaml
from pipeline.trainers.checking import Verdict
from pipeline.trainers.described import entry_of
from pipeline.trainers.snippets import trl_snippet, unsloth_snippet
from pipeline.trainers.survey import Layout

_INFO = "dataset_info.json"


def write_glue(folder: Path, verdicts: Sequence[Verdict]) -> list[Path]:
    """Write what there is to write for these files and trainers; the paths written.

    Entries of other files in a dataset_info.json that is there already stay. Paths in the files are relative to the
    folder.

    Raises:
        UsageError: the folder cannot be made, or the dataset_info.json there is no JSON object.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: {error.strerror}", "name another folder with --glue") from None
    info: dict[str, Any] = {}
    written: list[Path] = []
    for verdict in verdicts:
        layout, path = verdict.survey.layout, verdict.survey.path
        if layout is None:
            continue
        place = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
        stem = re.sub(r"\W+", "_", path.name.split(".")[0], flags=re.ASCII).strip("_") or "data"
        if verdict.trainer.name == "llama-factory":
            if (entry := entry_of(layout, place)) is not None and not verdict.refused:
                info[stem] = entry
            continue
        name, text = _file(verdict.trainer.name, layout, place, stem)
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
            written.append(folder / name)
    if info:
        write_json(folder / _INFO, _there(folder / _INFO) | info)
        written.insert(0, folder / _INFO)
    return written


def _there(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"{path}: is no JSON object, so nothing can be added to it", "mend it, or name another folder")
    return value


def _file(trainer: str, layout: Layout, place: str, stem: str) -> tuple[str, str | None]:
    if trainer == "axolotl":
        return f"axolotl-{stem}.yaml", axolotl_yaml(layout, place)
    if trainer == "trl":
        return f"trl_{stem}.py", trl_snippet(layout, place)
    if trainer == "unsloth":
        return f"unsloth_{stem}.py", unsloth_snippet(layout, place)
    return "", None
