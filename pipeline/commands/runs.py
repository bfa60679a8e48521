"""The commands that make something: `run`, `clean`, `dedup` and `decontaminate`."""

import argparse
import hashlib
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pipeline.engine import choose_engine, open_engine
from pipeline.errors import UsageError
from pipeline.expect import Verdict
from pipeline.export.files import export_run
from pipeline.models import Models, ledger_folder
from pipeline.recipe import SINKS, Recipe, load_recipe
from pipeline.report import funnel, money, resumption, rows, tables
from pipeline.report.terminal import watcher
from pipeline.run import Plan, execute, read_run
from pipeline.store import GROUP_ROWS, sha256_of
from pipeline.trainers.of_export import check_export

HERE = Path(__file__).resolve().parent.parent.parent
"""The checkout: seedmill is run in place, with its recipes beside its code."""


def run(arguments: argparse.Namespace) -> int:
    """`seedmill run RECIPE`."""
    return carry_out(load_recipe(arguments.recipe, arguments.set), arguments)


def clean(arguments: argparse.Namespace) -> int:
    """`seedmill clean FILE...`."""
    arguments.files = _local_files(arguments.files)
    recipe_path = arguments.recipe or HERE / "recipes" / ("clean-judged.yaml" if arguments.judge else "clean.yaml")
    if arguments.run is None:
        arguments.run = f"clean-{Path(arguments.files[0]).name.split('.')[0]}"
    return carry_out(load_recipe(recipe_path, arguments.set, data=arguments.files), arguments)


def dedup(arguments: argparse.Namespace) -> int:
    """`seedmill dedup FILE...`."""
    arguments.files, arguments.against = _local_files(arguments.files), _local_files(arguments.against)
    settings = list(arguments.set)
    if arguments.against:
        settings.append(f"dedup.against={json.dumps([str(Path(file).resolve()) for file in arguments.against])}")
    if arguments.index is not None:
        settings.append(f"dedup.index={json.dumps(str(arguments.index.resolve()))}")
    if arguments.run is None:
        # By content: tomorrow's file of the same name is another batch.
        marks = hashlib.sha256("".join(sha256_of(Path(file)) for file in arguments.files).encode()).hexdigest()
        arguments.run = f"dedup-{Path(arguments.files[0]).name.split('.')[0]}-{marks[:8]}"
    recipe_path = arguments.recipe or HERE / "recipes" / "dedup.yaml"
    return carry_out(load_recipe(recipe_path, settings, data=arguments.files), arguments)


def decontaminate(arguments: argparse.Namespace) -> int:
    """`seedmill decontaminate FILE... --against BENCH...`."""
    tests = "benchmark files, or packs made of them with 'seedmill pack'"
    arguments.files, arguments.against = _local_files(arguments.files), _local_files(arguments.against, tests)
    settings = [
        *arguments.set,
        f"decontaminate.against={json.dumps([str(Path(file).resolve()) for file in arguments.against])}",
    ]
    for name in ("question", "answer"):
        if columns := getattr(arguments, name):
            settings.append(f"decontaminate.{name}={json.dumps(columns)}")
    if arguments.sides is not None:
        settings.append(f"decontaminate.sides={arguments.sides}")
    if arguments.run is None:
        arguments.run = f"decontaminate-{Path(arguments.files[0]).name.split('.')[0]}"
    recipe_path = arguments.recipe or HERE / "recipes" / "decontaminate.yaml"
    return carry_out(load_recipe(recipe_path, settings, data=arguments.files), arguments)


def _local_files(files: list[str], wanted: str = "dataset files") -> list[str]:
    """The files, of globs and addresses too; what is not here is told before anything is fetched."""
    from pipeline.formats.addresses import is_address
    from pipeline.formats.files import expand, matching

    for file in files:
        if Path(file).is_dir():
            raise UsageError(f"{file}: is a directory", f"name the files in it, for example {Path(file) / '*.jsonl'}")
        if not is_address(file) and not matching(file):
            raise UsageError(f"{file}: no such file", f"check the path; name {wanted}")
    return [str(path) for path in expand(files)]


def carry_out(recipe: Recipe, arguments: argparse.Namespace) -> int:
    """Run a recipe as the arguments say, export it, and show what came of it."""
    last, sink = _target(recipe, arguments.to)
    name = (arguments.run or recipe.name) + ("-rehearsal" if arguments.rehearse else "")
    folder = arguments.outputs / name
    quiet = arguments.quiet or arguments.json
    with ExitStack() as stack:
        engine = open_engine(
            choose_engine(
                arguments.engine,
                has_model=any(entry.model_roles for entry in recipe.entries[: last + 1]),
                input_bytes=sum(path.stat().st_size for path in recipe.entries[0].files),
                environ=os.environ,
            )
        )
        stack.callback(engine.close)
        models = stack.enter_context(
            Models(recipe, os.environ, outputs=arguments.outputs, run=name, rehearse=arguments.rehearse)
        )
        models.use(engine)
        watch = watcher(quiet)
        stack.callback(watch.close)
        # Rules compile their patterns for every block: larger ones where no worker waits for its share.
        block_rows = arguments.block_size or GROUP_ROWS * (4 if engine.name == "local" else 1)
        execute(Plan(recipe, folder, last, engine, models, block_rows, watch, lasting=not arguments.rehearse))
    exported = export_run(folder, recipe.export, recipe.expect) if sink else None
    if exported is not None and "check" in recipe.export:
        exported["check"] = check_export(folder / "export", recipe.export["check"])
    if arguments.json:
        print(json.dumps(summary(folder, exported), ensure_ascii=False, indent=1))
    elif not quiet:
        print(closing(folder, exported))
    return _told(exported or {})


def _told(exported: dict[str, Any]) -> int:
    """Say which expectations failed, and whether a check did; the exit code."""
    failed = [Verdict(**verdict) for verdict in exported.get("expectations", ()) if not verdict["met"]]
    for verdict in failed:
        print(f"seedmill: expectation failed: {verdict.sentence()}", file=sys.stderr)
    check = exported.get("check", {})
    unfit = check.get("fail", False) and not check["good"]
    if unfit:
        print("seedmill: the export does not fit a trainer it was checked for (export.check)", file=sys.stderr)
    return 1 if failed or unfit else 0


def _target(recipe: Recipe, to: str | None) -> tuple[int, bool]:
    """Index of the last entry to run, and whether to export after it."""
    if to is None or to in SINKS:
        return len(recipe.entries) - 1, True
    return recipe.position(to), False


def summary(folder: Path, exported: dict[str, Any] | None) -> dict[str, Any]:
    """What a program may want to know of a run."""
    facts = read_run(folder)
    found = funnel.steps(facts)
    keys = ("derived", "kept", "dropped", "reasons", "fixed", "hits", "notes", "tables")
    entries = [{"name": s.name, "in": s.rows_in, **{k: getattr(s, k) for k in keys}, "usage": s.usage} for s in found]
    return {
        "run": folder.name,
        "folder": str(folder),
        "entries": entries,
        "totals": funnel.totals(found),
        "money": _money(folder, facts).as_dict(),
        "resumed": resumption.facts(found),
        "export": exported,
    }


def closing(folder: Path, exported: dict[str, Any] | None, *, whole: bool = False) -> str:
    """The end of a run for people: the funnel, three rows, the calls, the money (all of it if `whole`), the files."""
    facts = read_run(folder)
    found = funnel.steps(facts)
    parts = ["", funnel.as_text(found), "", *([counted, ""] if (counted := tables.as_text(found)) else [])]
    last = folder / facts["entries"][len(found) - 1]["folder"]
    for item in rows.read_rows(last, drops=False, limit=3):
        parts += [rows.as_text(item["record"]), ""]
    told = money.as_text(_money(folder, facts)) if whole else money.sentence(_money(folder, facts))
    parts += [spent(facts, found), *resumption.at_end(found), *([told] if told else []), *model_notes(facts)]
    if exported is None:
        parts.append(f"rows in {last} (see them with: seedmill show {folder.name} {found[-1].name})")
    else:
        parts.append(f"{exported['rows']:,} rows exported to {exported['folder']}: {', '.join(exported['files'])}")
        parts += [f"note: {note}" for note in exported.get("notes", ())]
        if not found[-1].kept and (most := max(found, key=lambda step: step.dropped)).dropped:
            parts.append(f"note: nothing was kept; see why with: seedmill show {folder.name} {most.name} --drops")
        if judged := [Verdict(**verdict) for verdict in exported.get("expectations", ())]:
            parts.append(f"{sum(verdict.met for verdict in judged)} of {len(judged)} expectations met")
            parts += [f"  {'ok  ' if verdict.met else 'FAIL'}  {verdict.sentence()}" for verdict in judged]
        parts += [f"check: {note}" for note in exported.get("check", {}).get("notes", ())]
    return "\n".join(parts)


def _money(folder: Path, facts: dict[str, Any]) -> money.Money:
    rehearsal = folder.name.endswith("-rehearsal")
    return money.money_of(folder, facts, ledger_folder(os.environ, folder.parent, rehearse=rehearsal))


def spent(facts: dict[str, Any], found: list[funnel.Step]) -> str:
    """One line on calls, tokens and money."""
    total = funnel.totals(found)
    if not total["calls"]:
        return f"no model was asked; {total['seconds']:,} s"
    money = "price unknown" if total["cost"] is None else f"${total['cost']:.4f}"
    return (
        f"{total['calls']:,} model calls ({total['new']:,} new, {total['reused']:,} reused), "
        f"{total['prompt_tokens']:,} prompt tokens, {total['completion_tokens']:,} completion tokens, "
        f"{money}, {total['seconds']:,} s"
    )


def model_notes(facts: dict[str, Any]) -> list[str]:
    """A warning for each small model whose output should not be taken for quality."""
    return [
        f"note: '{model['model']}' is a very small model: its texts and scores show the mechanism, not quality; "
        "for real data set LLM_BASE_URL, LLM_MODEL and LLM_API_KEY"
        for model in {m["model"]: m for m in facts["models"].values()}.values()
        if model.get("small")
    ]
