"""The commands on finished calls: `ledger stats | ls | show | prune | export`."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.llm import ledger_tools
from pipeline.llm.ledger_tools import Choice, Spent
from pipeline.models import ledger_folder
from pipeline.report import calls
from pipeline.report.rows import json_text, printable, table

_BY = ("model", "outcome", "run")


def _ledger(arguments: argparse.Namespace) -> Path:
    folder = ledger_folder(os.environ, arguments.outputs, rehearse=arguments.rehearse)
    ledger_tools.require_ledger(folder)
    return folder


def _choice(arguments: argparse.Namespace) -> Choice:
    return Choice(run=arguments.run, entry=arguments.entry, model=arguments.model, outcome=arguments.outcome)


def stats(arguments: argparse.Namespace) -> int:
    """`seedmill ledger stats`."""
    folder = _ledger(arguments)
    sums = ledger_tools.tally(folder, _BY, Choice())
    total = sum(sums.values(), Spent())
    in_flight = ledger_tools.open_ends(folder, "intents", ("run", "entry"))
    lost = ledger_tools.open_ends(folder, "lost", ("run", "why"))
    size = ledger_tools.size_on_disk(folder)
    if arguments.json:
        facts: dict[str, Any] = {
            "folder": str(folder),
            "bytes": size,
            "total": total.as_dict(),
            "calls": [dict(zip(_BY, key, strict=True)) | spent.as_dict() for key, spent in sums.items()],
            "in_flight": [{"run": run, "entry": entry, "calls": n} for (run, entry), n in in_flight.items()],
            "lost": [{"run": run, "why": why, "attempts": n} for (run, why), n in lost.items()],
        }
        print(json_text(facts))
        return 0
    rows = [(*key, *calls.spent_cells(spent)) for key, spent in sums.items()]
    print(table((*_BY, *calls.SPENT_HEADER), [*rows, ("all", "", "", *calls.spent_cells(total))], left=len(_BY)))
    print(f"{sum(in_flight.values()):,} calls in flight (under way now, or left so by a run that died; maybe paid)")
    for (run, entry), count in in_flight.items():
        print(printable(f"  {count:,} of run '{run}', entry '{entry}'"))
    print(f"{sum(lost.values()):,} attempts lost (sent, never answered; maybe paid)")
    for (run, why), count in lost.items():
        print(printable(f"  {count:,} of run '{run}': {why}"))
    print(printable(f"{size / 1e6:,.1f} MB in {folder}"))
    return 0


def ls(arguments: argparse.Namespace) -> int:
    """`seedmill ledger ls`."""
    found = ledger_tools.newest(_ledger(arguments), _choice(arguments), arguments.n)
    if arguments.json:
        print(json_text(found))
        return 0
    header = ("key", "finished", "run", "entry", "model", "outcome", "prompt", "completion", "cost")
    rows = [
        (
            call["key"][:12],
            calls.moment(call["time"]),
            *(call[name] for name in header[2:6]),
            f"{call['prompt_tokens']:,}",
            f"{call['completion_tokens']:,}",
            calls.money(call["cost"]),
        )
        for call in found
    ]
    print(table(header, rows, left=6) if rows else "no such call")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """`seedmill ledger show KEY`."""
    folder = _ledger(arguments)
    key = ledger_tools.complete_key(folder, arguments.key)
    call = ledger_tools.stored(folder, key)
    if call is None:
        raise UsageError(f"the call {key} has just been pruned", "see 'seedmill ledger ls'")
    if arguments.json:
        print(json_text(ledger_tools.as_object(call)))
    else:
        print(f"key {key}\n{calls.facts_text(call)}")
        print(f"request:\n{printable(call['request'])}\nreply:\n{printable(call['reply'])}")
    return 0


def prune(arguments: argparse.Namespace) -> int:
    """`seedmill ledger prune`; without --yes it only says what would go."""
    before = None if arguments.older_than is None else time.time() - arguments.older_than * 86_400
    choice = Choice(run=arguments.run, outcome=arguments.outcome, before=before)
    if choice == Choice():
        raise UsageError("prune needs to know what", "give --run NAME, --older-than DAYS or --outcome OUTCOME")
    folder = _ledger(arguments)
    size = ledger_tools.size_on_disk(folder)
    facts: dict[str, Any] = {"pruned": arguments.yes}
    if arguments.yes:
        gone = ledger_tools.prune(folder, choice, notice=lambda sentence: print(f"note: {sentence}", file=sys.stderr))
        facts |= {"calls": gone, "bytes_freed": max(0, size - ledger_tools.size_on_disk(folder))}
        told = f"{gone:,} calls pruned, {facts['bytes_freed'] / 1e6:,.1f} MB freed"
    else:
        spent = sum(ledger_tools.tally(folder, ("run",), choice).values(), Spent())
        facts |= spent.as_dict()
        told = (
            f"{spent.calls:,} calls would go ({spent.prompt_tokens:,} prompt tokens, {spent.completion_tokens:,} "
            f"completion tokens, cost {calls.spent_money(spent)}); a run that needs one again pays it again, and "
            "'explain' and 'calls' cannot show them any more\nnothing was changed; add --yes to prune them"
        )
    print(json_text(facts) if arguments.json else told)
    return 0


def export(arguments: argparse.Namespace) -> int:
    """`seedmill ledger export -o FILE`."""
    if not arguments.output.name.endswith((".jsonl", ".jsonl.gz")):
        raise UsageError(f"{arguments.output}: calls are written as JSON lines", "name a .jsonl or .jsonl.gz file")
    count = ledger_tools.export(_ledger(arguments), _choice(arguments), arguments.output)
    facts = {"output": str(arguments.output), "calls": count}
    print(json_text(facts) if arguments.json else printable(f"{count:,} calls written to {arguments.output}"))
    return 0
