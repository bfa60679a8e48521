"""The command `calls`: what a run asked, and the very replies it got."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.llm import ledger_tools
from pipeline.llm.ledger_tools import Choice, Spent
from pipeline.models import ledger_folder
from pipeline.report import calls as report
from pipeline.report import history
from pipeline.report.rows import json_text
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
    lost = {key: ledger_tools.lost_attempts(ledger, key) for key, _ in found.calls}
    if as_json:
        entries = [{"entry": s.entry, "kept": s.reason is None, "reason": s.reason} for s in found.sightings]
        told = [
            ({"key": key, "missing": True} if call is None else ledger_tools.as_object(call)) | {"lost": lost[key]}
            for key, call in found.calls
        ]
        print(json_text({"id": found.id, "entries": entries, "calls": told}))
        return
    print(f"id {found.id}")
    kept = [sighting.entry for sighting in found.sightings if sighting.reason is None]
    if kept:
        print(report.one_line(f"kept by {', '.join(kept)}"))
    for sighting in found.sightings:
        if sighting.reason is not None:
            print(report.one_line(f"dropped by {sighting.entry}: {sighting.reason}"))
    for number, (key, call) in enumerate(found.calls, 1):
        print(f"\ncall {number} of {len(found.calls)}: {key}")
        for attempt in lost[key]:
            print(report.lost_text(attempt))
        print("not in the ledger (pruned, or another ledger was used)" if call is None else report.call_text(call))
    print(f"\n{_sum([call for _, call in found.calls if call is not None])}" if found.calls else "no call of its own")
    print(report.one_line(f"where it came from and why it ended so: seedmill explain {folder.name} {found.id}"))


def _sum(calls: list[Mapping[str, Any]]) -> str:
    spent = Spent(
        calls=len(calls),
        prompt_tokens=sum(call["prompt_tokens"] for call in calls),
        completion_tokens=sum(call["completion_tokens"] for call in calls),
        known_cost=sum(call["cost"] or 0.0 for call in calls),
        unpriced=sum(call["cost"] is None for call in calls),
    )
    several = "" if spent.calls == 1 else "s"
    return (
        f"{spent.calls:,} call{several}, {spent.prompt_tokens:,} prompt tokens, {spent.completion_tokens:,} completion "
        f"tokens, cost {report.spent_money(spent)}"
    )
