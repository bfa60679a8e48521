"""The command that says what a recipe is going to cost: `estimate`."""

import argparse
import os
import shutil
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from pipeline.engine import Engine
from pipeline.engine.in_process import InProcessEngine
from pipeline.errors import UsageError
from pipeline.llm.ledger_tools import stored
from pipeline.models import Models, ledger_folder
from pipeline.pilot import Pilot
from pipeline.recipe import Entry, Recipe, load_recipe
from pipeline.report import forecast
from pipeline.report.rows import json_text, printable
from pipeline.run import Plan, previous_stream


def estimate(arguments: argparse.Namespace) -> int:
    """`seedmill estimate RECIPE [--rows N]`."""
    recipe = load_recipe(arguments.recipe, arguments.set, data=arguments.data)
    asking = [index for index, entry in enumerate(recipe.entries) if entry.model_roles]
    if not asking:
        raise UsageError(f"{recipe.path}: no entry asks a model, so it costs nothing", "seedmill run does it")
    name = (arguments.run or recipe.name) + ("-rehearsal" if arguments.rehearse else "")
    arguments.outputs.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".estimate-", dir=arguments.outputs))
    try:
        found = _outlook(recipe, asking[0], name, scratch, arguments)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(json_text({"run": name, **found.as_dict()}) if arguments.json else printable(forecast.as_text(found)))
    return 0


def _outlook(recipe: Recipe, first: int, name: str, scratch: Path, arguments: argparse.Namespace) -> forecast.Outlook:
    """Do in full what costs nothing, pilot the rest, and project it."""
    engine: Engine = InProcessEngine()
    with ExitStack() as stack:
        opened = partial(Models, recipe, os.environ, outputs=arguments.outputs, run=name, rehearse=arguments.rehearse)
        models = stack.enter_context(opened())
        models.use(engine)
        for entry in recipe.entries:
            models.require_languages(entry)
            models.require_prices(entry)
        stream = previous_stream(Plan(recipe, scratch / "run", first, engine, opened(idle=True), lasting=False), first)
        if not stream.rows and recipe.entries[first].kind != "self-instruct":
            raise UsageError(f"nothing comes into entry '{recipe.entries[first].name}'", "does 'read' keep any rows?")
        pilot = Pilot(recipe, engine, models, arguments.rows, scratch)
        legs = pilot.legs(stream, recipe.entries[first:])
        ledger = ledger_folder(os.environ, arguments.outputs, rehearse=arguments.rehearse)
        measured = forecast.Measured(partial(stored, ledger), models.specs)
        late = {entry.name: models.usage(entry.name).get("after_target", 0) for entry in recipe.entries}
        return forecast.outlook(legs, measured, _at_once(recipe.entries, models), pilot.assumptions, late)


def _at_once(entries: tuple[Entry, ...], models: Models) -> dict[str, int]:
    """Entry -> calls that are under way at once: its window, or what its model takes."""
    at_once = {}
    for entry in entries:
        if entry.model_roles:
            window = int(getattr(entry.stage, "window", 1))
            at_once[entry.name] = min(window, *(models.specs[role].concurrency for role in entry.model_roles))
    return at_once
