"""A recipe: YAML to checked stages and model settings, with errors that name the line and the valid keys."""

import glob
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import yaml

from pipeline.errors import UsageError
from pipeline.expect import EXPECT_SCHEMA
from pipeline.export.settings import EXPORT_SCHEMA
from pipeline.formats.addresses import fetched, is_address
from pipeline.llm.models import MODELS_SCHEMA
from pipeline.settings import coerced, settings_schema
from pipeline.stage import Stage
from pipeline.stages import STAGES
from pipeline.yaml_tree import Tree, suggest

SINKS = ("export", "report", "publish")
"""Targets after the chain of entries; no entry may have one of these names."""

PUBLISH_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["repo"],
    "properties": {"repo": {"type": "string", "pattern": "^[^/]+/[^/]+$"}, "private": {"type": "boolean"}},
}

RECIPE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["entries"],
    "properties": {
        "name": {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*$"},
        "seed": {"type": "integer", "minimum": 0},
        "budget_usd": {"type": "number", "minimum": 0},
        "models": MODELS_SCHEMA,
        "entries": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["stage"]}},
        "export": EXPORT_SCHEMA,
        "expect": EXPECT_SCHEMA,
        "publish": PUBLISH_SCHEMA,
    },
}


@dataclass(frozen=True)
class Entry:
    """One step of a recipe.

    Attributes:
        files: absolute paths of the outside files its settings name; their content enters the fingerprint.
    """

    name: str
    kind: str
    stage: Stage
    files: tuple[Path, ...]

    @property
    def model_roles(self) -> tuple[str, ...]:
        """The model roles it asks, in the order of its fields; empty for a stage that needs no model."""
        marked = [f for f in fields(self.stage) if f.name == "model" or f.metadata.get("role")]  # type: ignore[arg-type]
        roles = [getattr(self.stage, f.name) for f in marked]
        return tuple(dict.fromkeys(r for r in roles if r not in (None, "none")))

    def settings(self) -> dict[str, Any]:
        """Its resolved settings as plain JSON values, in field order."""
        values = {f.name: getattr(self.stage, f.name) for f in fields(self.stage)}  # type: ignore[arg-type]
        return cast(dict[str, Any], json.loads(json.dumps(values)))

    def portable_settings(self) -> dict[str, Any]:
        """The settings without paths: what the fingerprint sees beside the files' hashes."""
        paths = {f.name for f in fields(self.stage) if f.metadata.get("file")}  # type: ignore[arg-type]
        return {key: value for key, value in self.settings().items() if key not in paths}


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        models: as written, still to be completed from the environment.
        budget_usd: US dollars that a run of this name may cost in all, over all its resumptions; None for no limit.
    """

    path: Path
    text: str
    name: str
    seed: int
    models: Mapping[str, Mapping[str, Any]]
    entries: tuple[Entry, ...]
    export: Mapping[str, Any]
    publish: Mapping[str, Any]
    expect: Mapping[str, Any]
    budget_usd: float | None = None

    def position(self, target: str) -> int:
        """Index of the entry of that name; UsageError that lists the names otherwise."""
        names = [entry.name for entry in self.entries]
        if target not in names:
            listed = ", ".join((*names, *SINKS))
            raise UsageError(f"{self.path}: there is no entry '{target}'", f"its entries: {listed}")
        return names.index(target)


def load_recipe(path: Path, settings: Sequence[str] = (), *, data: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: the YAML file.
        settings: `--set` values, each `entry.key=value` or `top.key=value`, the value as YAML.
        data: files that replace the read entry's `data` (what `seedmill clean FILE...` names).

    Raises:
        UsageError: anything wrong in it, as `file:line: what`, with the valid names as a hint.
    """
    text = _text(path)
    tree = Tree(path, text)
    raw = tree.value
    for setting in settings:
        _override(raw, setting, path)
    if data and raw["entries"]:
        raw["entries"][0].pop("seeds", None)
        raw["entries"][0]["data"] = [p if is_address(str(p)) else str(Path(p).resolve()) for p in data]
    tree.check(raw, RECIPE_SCHEMA, ())
    if sum((raw.get("export") or {}).get("split", {}).values()) >= 1:
        hint = "the shares must add up to less than 1"
        raise tree.error(("export", "split"), "export.split leaves nothing for train", hint)
    entries = tuple(_entry(tree, index, dict(item)) for index, item in enumerate(raw["entries"]))
    _check_chain(tree, entries)
    return Recipe(
        path=path,
        text=text,
        name=raw.get("name") or re.sub(r"[^A-Za-z0-9._-]", "-", path.stem) or "run",
        seed=raw.get("seed", 0),
        models=raw.get("models") or {},
        entries=entries,
        export=raw.get("export") or {},
        publish=raw.get("publish") or {},
        expect=raw.get("expect") or {},
        budget_usd=raw.get("budget_usd"),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = f"recipes there: {', '.join(near)}" if near else "write one with 'seedmill init DIR --seeds FILE'"
        raise UsageError(f"{path}: no such recipe", hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def _entry(tree: "Tree", index: int, item: dict[str, Any]) -> Entry:
    kind = item.pop("stage")
    where = ("entries", index)
    if kind not in STAGES:
        raise tree.error((*where, "stage"), f"unknown stage '{kind}'", suggest(str(kind), STAGES))
    name = item.pop("name", kind)
    stage_class = STAGES[kind]
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise tree.error((*where, "name"), f"'{name}' is not an entry name", "use lower-case letters, digits and '-'")
    tree.check(item, settings_schema(stage_class), where, label=f"entry {name}")
    files: list[Path] = []
    for field in fields(stage_class):
        if field.metadata.get("folder") and item.get(field.name):
            folder = _folder(tree, (*where, field.name), item[field.name])
            files.extend(folder / name for name in field.metadata["folder"])
            item[field.name] = str(folder)
        elif field.metadata.get("file") and item.get(field.name):
            found = _paths(tree, (*where, field.name), item[field.name])
            files.extend(found)
            item[field.name] = [str(p) for p in found] if not isinstance(item[field.name], str) else str(found[0])
            if "tuple" in str(field.type):
                item[field.name] = [str(p) for p in found]
    try:
        stage = stage_class(**coerced(stage_class, item))
    except UsageError as error:
        raise tree.error(where, f"entry {name}: {error.message}", error.hint) from error
    return Entry(name, kind, cast(Stage, stage), tuple(files))


def _folder(tree: "Tree", where: tuple[str | int, ...], value: str) -> Path:
    """Absolute path of a folder, beside the recipe or else in the working directory; it may be made later."""
    beside = tree.path.parent / Path(value).expanduser()
    found = beside if beside.exists() else Path.cwd() / Path(value).expanduser()
    if found.exists() and not found.is_dir():
        raise tree.error(where, f"{value} is a file", "name the folder")
    return found.resolve()


def _paths(tree: "Tree", where: tuple[str | int, ...], value: str | list[str]) -> list[Path]:
    """Absolute paths for a setting: looked up beside the recipe first, then in the working directory; globs allowed.

    Files of addresses (`s3://`, `hf://`) are fetched to the cache.
    """
    found: list[Path] = []
    for pattern in [value] if isinstance(value, str) else value:
        if is_address(pattern):
            found.extend(fetched(pattern))
            continue
        for base in (tree.path.parent, Path.cwd()):
            full = str(base / Path(pattern).expanduser())
            hits = [full] if Path(full).exists() else sorted(glob.glob(full))
            if hits:
                if directories := [h for h in hits if Path(h).is_dir()]:
                    hint = f"name its files, for example with {directories[0].rstrip('/')}/*.jsonl"
                    raise tree.error(where, f"{directories[0]} is a directory", hint)
                found.extend(Path(h).resolve() for h in hits)
                break
        else:
            looked = f"looked in {tree.path.parent.resolve()} and {Path.cwd()}"
            raise tree.error(where, f"no such file: {pattern}", looked)
    return found


def _check_chain(tree: "Tree", entries: tuple[Entry, ...]) -> None:
    if entries[0].kind != "read":
        raise tree.error(("entries", 0), f"the first entry must be 'read', not '{entries[0].kind}'")
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        if entry.name in SINKS:
            raise tree.error(("entries", index), f"an entry cannot be named '{entry.name}'", "give it another 'name:'")
        if entry.name in seen:
            hint = f"name them apart, as in 'name: {entry.name}-2'"
            raise tree.error(("entries", index), f"two entries are named '{entry.name}'", hint)
        if index and entry.kind == "read":
            raise tree.error(("entries", index), "only the first entry can be 'read'")
        seen.add(entry.name)


def _override(raw: dict[str, Any], setting: str, path: Path) -> None:
    target, separator, text = setting.partition("=")
    keys = target.split(".")
    if not separator or len(keys) < 1 or not all(keys):
        raise UsageError(f"--set {setting}: not of the form entry.key=value", "for example: --set dedup.threshold=0.8")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {setting}: the value is not YAML") from error
    entries = raw.get("entries") if isinstance(raw.get("entries"), list) else []
    named = {e.get("name", e.get("stage")): e for e in entries or [] if isinstance(e, dict)}
    if keys[0] in named and len(keys) > 1:
        node = named[keys[0]]
        keys = keys[1:]
    elif keys[0] in RECIPE_SCHEMA["properties"] and keys[0] != "entries":
        node = raw
    else:
        names = [*(str(n) for n in named), *(k for k in RECIPE_SCHEMA["properties"] if k != "entries")]
        raise UsageError(f"--set {setting}: {path} has no entry '{keys[0]}'", suggest(keys[0], names))
    for key in keys[:-1]:
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise UsageError(f"--set {setting}: '{key}' is not a group of settings")
    node[keys[-1]] = value
