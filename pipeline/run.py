"""A run: a recipe's entries in order, skipping what is finished and unchanged."""

import fcntl
import importlib.metadata
import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import polars as pl

from pipeline.engine import Engine
from pipeline.errors import IncompleteError, SeedmillError, UsageError, no_room
from pipeline.fingerprint import fingerprint
from pipeline.models import Models
from pipeline.recipe import Entry, Recipe
from pipeline.stage import DatasetStage, Outcome, Stream, Tools
from pipeline.status import Status
from pipeline.store import GROUP_ROWS, StageWriter, kept_hashes, read_manifest, stream, write_json

PACKAGES = ("polars", "pyarrow", "ray", "openai", "datasketch", "fasttext-wheel", "jieba", "xllamacpp")


@dataclass(frozen=True)
class Plan:
    """Where and how a recipe is run; nothing in it changes a byte of what is made.

    Attributes:
        last: index of the last entry to bring up to date.
        block_rows: rows a block at most.
        watch: told every snapshot of the run's status.
        lasting: False for a rehearsal or a trial: nothing outside its folder is added to.
    """

    recipe: Recipe
    folder: Path
    last: int
    engine: Engine
    models: Models
    block_rows: int = GROUP_ROWS
    watch: Callable[[Mapping[str, Any]], None] = field(default=lambda snapshot: None)
    lasting: bool = True


def entry_folder(run_folder: Path, index: int, entry: Entry) -> Path:
    """`outputs/<run>/<nn-name>`."""
    return run_folder / f"{index:02d}-{entry.name}"


def execute(plan: Plan) -> list[dict[str, Any]]:
    """Bring the entries up to `plan.last` up to date; the manifests of those entries, in order.

    Raises:
        IncompleteError: some rows got no reply in time, or the run was asked to stop; what is finished stays.
        SeedmillError: anything else a user can mend.
    """
    for entry in plan.recipe.entries[: plan.last + 1]:
        plan.models.require_languages(entry)
        plan.models.require_prices(entry)
        plan.models.require_batchable(entry)
    plan.folder.mkdir(parents=True, exist_ok=True)
    with _alone(plan.folder):
        _tidy(plan)
        status = Status(plan.folder, [e.name for e in plan.recipe.entries[: plan.last + 1]], plan.watch)
        status.calls_from(plan.models.live_usage, plan.models.standstill)
        status.limits_by(plan.models.change_limits)
        status.batches_from(plan.models.batches, plan.models.halt)
        try:
            manifests = _walk(plan, status)
        except (Exception, KeyboardInterrupt) as error:
            known = (no_room(error, plan.folder) if isinstance(error, OSError) else None) or error
            kinds = {IncompleteError: "incomplete", KeyboardInterrupt: "stopped"}
            words = "interrupted; run the same command again to go on" if isinstance(error, KeyboardInterrupt) else ""
            status.close(kinds.get(type(error), "failed"), str(known) or words or type(known).__name__)
            raise known from (None if known is error else error)
        status.close("done")
    return manifests


def previous_stream(plan: Plan, index: int) -> Stream:
    """What the entry before `index` keeps, brought up to date; entries that ask a model must be finished already.

    Raises:
        UsageError: one of them is not, since `plan.models` is idle.
    """
    if index == 0:
        return Stream(())
    entry = plan.recipe.entries[index - 1]
    manifest = execute(replace(plan, last=index - 1))[-1]
    return stream(entry_folder(plan.folder, index - 1, entry), manifest, plan.block_rows)


def _walk(plan: Plan, status: Status) -> list[dict[str, Any]]:
    manifests: list[dict[str, Any]] = []
    source, hashes = Stream(()), list[str]()
    for index, entry in enumerate(plan.recipe.entries[: plan.last + 1]):
        folder = entry_folder(plan.folder, index, entry)
        mark = fingerprint(entry, plan.recipe.seed, plan.models.described(entry.model_roles), hashes)
        manifest = read_manifest(folder)
        if manifest is not None and manifest.get("fingerprint") == mark and _whole(folder, manifest):
            status.entry(index, state="skipped", done=manifest["in"], total=manifest["in"], **_books(manifest))
        else:
            status.entry(index, state="running", total=source.rows if entry.stage.scope == "rows" else None)
            status.checkpoint()
            manifest = _make(plan, status, index, folder, source, {"fingerprint": mark, "previous": hashes})
            status.entry(index, state="done", **_books(manifest))
        manifests.append(manifest)
        source, hashes = stream(folder, manifest, plan.block_rows), kept_hashes(manifest)
    return manifests


def _make(
    plan: Plan, status: Status, index: int, folder: Path, source: Stream, marks: dict[str, Any]
) -> dict[str, Any]:
    entry = plan.recipe.entries[index]
    began = time.time()
    writer = StageWriter(folder, source.rows)
    try:
        for outcome in _outcomes(plan, status, index, source):
            writer.add(outcome)
            status.checkpoint()
        if writer.unavailable:
            _report_unavailable(folder, writer)
        folder.with_name(f"{folder.name}.unavailable.json").unlink(missing_ok=True)
        facts = {
            "name": entry.name,
            "stage": entry.kind,
            **marks,
            "settings": entry.settings(),
            "seed": plan.recipe.seed,
            "models": plan.models.described(entry.model_roles),
            "usage": plan.models.usage(entry.name) if entry.model_roles else {},
            "engine": plan.engine.name,
            "seconds": round(time.time() - began, 3),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "versions": versions(),
        }
        return writer.commit(facts)
    except BaseException:
        writer.discard()
        raise


def _outcomes(plan: Plan, status: Status, index: int, source: Stream) -> Iterator[Outcome]:
    entry, seed = plan.recipe.entries[index], plan.recipe.seed
    if entry.stage.scope == "rows":
        done = 0
        for outcome in plan.engine.map(_OnBlock(entry, seed), source.slices):
            yield outcome
            done += outcome.kept.height + outcome.drops.height
            status.entry(index, done=done)
        return
    tools = Tools(
        entry=entry.name,
        seed=seed,
        llm=plan.models.open(entry) if entry.model_roles else _NO_MODEL,
        map=plan.engine.map,
        regroup=plan.engine.regroup,
        folder=entry_folder(plan.folder, index, entry) if plan.lasting else None,
        progress=lambda done, total: status.entry(index, done=done, **({} if total is None else {"total": total})),
    )
    yield from cast(DatasetStage, plan.models.reach(entry)).run(source, tools)


class _NoModel:
    """What a stage without a model role is lent: any use of it is a bug of the stage."""

    def ask(self, requests: Any, window: int) -> Iterator[Any]:
        raise AssertionError("a stage that declares no model asked one")

    def profile(self, role: str) -> Any:
        raise AssertionError("a stage that declares no model asked for its profile")


_NO_MODEL = _NoModel()


@dataclass(frozen=True)
class _OnBlock:
    """A rows stage as a function of one block, fit to travel to a worker."""

    entry: Entry
    seed: int

    def __call__(self, block: pl.DataFrame) -> Outcome:
        tools = Tools(entry=self.entry.name, seed=self.seed, llm=_NO_MODEL, map=_no_map)
        outcome = self.entry.stage.run(block, tools)  # type: ignore[arg-type]
        assert isinstance(outcome, Outcome)
        return outcome


def _no_map(function: Any, slices: Any) -> Iterator[Any]:
    raise AssertionError("a rows stage is spread already")


def _report_unavailable(folder: Path, writer: StageWriter) -> None:
    path = folder.with_name(f"{folder.name}.unavailable.json")
    write_json(path, {"unavailable": writer.unavailable, **writer.counts()})
    count = len(writer.unavailable)
    raise IncompleteError(
        f"{folder.name}: {count} {'row' if count == 1 else 'rows'} got no reply in time ({path} lists them)",
        "run the same command again: only those are asked, everything else is reused",
    )


def _books(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: manifest[key] for key in ("in", "derived", "kept", "dropped")}


def _whole(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether every shard is there with its size: cheap, and catches what people delete by hand."""
    paths = [(folder / shard["file"], shard["bytes"]) for shard in manifest["shards"]]
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def _tidy(plan: Plan) -> None:
    """Remove stage directories that this recipe does not have, and note which ones it has."""
    names = [entry_folder(plan.folder, i, e).name for i, e in enumerate(plan.recipe.entries)]
    for path in plan.folder.glob("[0-9][0-9]-*"):
        if path.is_dir() and path.name not in names:
            shutil.rmtree(path)
    write_json(
        plan.folder / "run.json",
        {
            "run": plan.folder.name,
            "recipe": str(plan.recipe.path),
            "text": plan.recipe.text,
            "seed": plan.recipe.seed,
            "export": dict(plan.recipe.export),
            "expect": dict(plan.recipe.expect),
            "publish": dict(plan.recipe.publish),
            "entries": [
                {"name": e.name, "stage": e.kind, "folder": n} for e, n in zip(plan.recipe.entries, names, strict=True)
            ],
            "models": plan.models.described(
                tuple(dict.fromkeys(r for e in plan.recipe.entries for r in e.model_roles))
            ),
        },
    )


def read_run(folder: Path) -> dict[str, Any]:
    """The facts of a run: its recipe, and for each entry up to date with the one before it its `manifest`.

    Raises:
        UsageError: there is no such run; the hint lists those that are there.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        there = sorted(p.parent.name for p in folder.parent.glob("*/run.json"))
        hint = f"runs there: {', '.join(there)}" if there else "start one with 'seedmill run RECIPE'"
        raise UsageError(f"there is no run '{folder.name}' in {folder.parent}", hint) from None
    hashes: list[str] = []
    for entry in facts["entries"]:
        manifest = read_manifest(folder / entry["folder"])
        if manifest is None or manifest.get("previous") != hashes:
            break
        entry["manifest"], hashes = manifest, kept_hashes(manifest)
    return facts


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the run's lock: two processes never write one run; the lock goes with the process, however it ends."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SeedmillError(
                f"the run '{folder.name}' is being made by another process",
                "wait for it, or give this one another name with --run",
            ) from None
        yield


def under_way(folder: Path) -> bool:
    """Whether a process makes this run right now; status.json alone cannot tell, since kill -9 writes nothing."""
    try:
        with (folder / ".lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape results."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}
