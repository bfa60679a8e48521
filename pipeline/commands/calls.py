"""The command `calls`: what a run asked, and the very replies it got."""

import argparse
import os
from pathlib import Path
from typing import Any

from pipeline.llm import ledger_tools
from pipeline.llm.ledger_tools import Choice
from pipeline.models import ledger_folder
from pipeline.report import calls as report
from pipeline.report import history
from pipeline.report.rows import json_text, printable
from pipeline.run import read_run


def calls(arguments: argparse.Namespace) -> int:
    """`seedmill calls RUN [ID]`."""
    folder = arguments.outputs / arguments.run
    facts = read_run(folder)
    ledger = ledger_folder(os.environ, arguments.outputs, rehearse=arguments.run.endswith("-rehearsal"))
    if arguments.id is None:
        found = [
            *report.entries(
                facts,
                ledger_tools.tally(ledger, ("entry", "outcome"), Choice(run=arguments.run)),
                _of_run(ledger_tools.open_ends(ledger, "intents", ("run", "entry")), arguments.run),
                _of_run(ledger_tools.open_ends(ledger, "lost", ("run", "entry")), arguments.run),
            )
        ]
        print(json_text({"run": arguments.run, "entries": found}) if arguments.json else report.entries_text(found))
        return 0
    _print_row(folder, facts, arguments.id, ledger, as_json=arguments.json)
    return 0


def _of_run(counts: dict[tuple[str, ...], int], run: str) -> dict[str, int]:
    return {entry: count for (name, entry), count in counts.items() if name == run}


def _print_row(folder: Path, facts: dict[str, Any], id: str, ledger: Path, *, as_json: bool) -> None:
    found = history.find(folder, facts, id, lambda key: ledger_tools.stored(ledger, key))
    if as_json:
        entries = [{"entry": s.entry, "kept": s.reason is None, "reason": s.reason} for s in found.sightings]
        told = [{"key": key, "missing": True} if c is None else ledger_tools.as_object(c) for key, c in found.calls]
        print(json_text({"id": found.id, "entries": entries, "calls": told}))
        return
    print(f"id {found.id}")
    for sighting in found.sightings:
        print(printable(f"{sighting.entry}: {'kept' if sighting.reason is None else f'dropped: {sighting.reason}'}"))
    if not found.calls:
        print("no call of its own; 'explain' tells of those it was made from")
    for number, (key, call) in enumerate(found.calls, 1):
        print(f"\ncall {number} of {len(found.calls)}: {key}")
        print("not in the ledger (pruned, or another ledger was used)" if call is None else report.call_text(call))
