"""The commands on finished calls: `ledger stats | ls | show | prune | export`."""

import argparse
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.llm import ledger_export, ledger_tools
from pipeline.llm import prune as pruning
from pipeline.llm.batch.book import at_servers
from pipeline.llm.ledger_tools import Choice, Spent
from pipeline.llm.lists import shortened
from pipeline.models import ledger_folder
from pipeline.report import calls
from pipeline.report.rows import json_text, printable, table

_BY = ("model", "outcome", "run")


def _ledger(arguments: argparse.Namespace) -> Path:
    folder = ledger_folder(os.environ, arguments.outputs, rehearse=arguments.rehearse)
    ledger_tools.require_ledger(folder)
    return folder


def _choice(arguments: argparse.Namespace) -> Choice:
    names = ("run", "entry", "model", "outcome", "since")
    return Choice(**{name: getattr(arguments, name, None) for name in names})


def stats(arguments: argparse.Namespace) -> int:
    """`seedmill ledger stats`."""
    folder, choice = _ledger(arguments), _choice(arguments)
    sums = ledger_tools.tally(folder, _BY, choice)
    total = sum(sums.values(), Spent())
    in_flight = ledger_tools.open_ends(folder, "intents", ("run", "entry"), choice)
    lost = ledger_tools.open_ends(folder, "lost", ("run", "why"), choice)
    batched = at_servers(folder, choice.run)
    size = ledger_tools.size_on_disk(folder)
    if arguments.json:
        facts: dict[str, Any] = {
            "folder": str(folder),
            "bytes": size,
            "total": total.as_dict(),
            "calls": [dict(zip(_BY, key, strict=True)) | spent.as_dict() for key, spent in sums.items()],
            "in_flight": [{"run": run, "entry": entry, "calls": n} for (run, entry), n in in_flight.items()],
            "in_batches": [{"run": run, "entry": entry, "calls": n} for (run, entry), n in batched.items()],
            "lost": [{"run": run, "why": why, "attempts": n} for (run, why), n in lost.items()],
        }
        print(json_text(facts))
        return 0
    rows = [(*key, *calls.spent_cells(spent)) for key, spent in sums.items()]
    print(table((*_BY, *calls.SPENT_HEADER), [*rows, ("all", "", "", *calls.spent_cells(total))], left=len(_BY)))
    print(f"{_count(sum(in_flight.values()), 'call')} in flight (under way now, or left so by a run that died)")
    for (run, entry), count in in_flight.items():
        print(printable(f"  {count:,} of run '{run}', entry '{entry}'"))
    for (run, entry), count in batched.items():
        print(printable(f"{_count(count, 'call')} in batches of run '{run}', entry '{entry}': seedmill batches {run}"))
    print(f"{_count(sum(lost.values()), 'attempt')} lost (sent, never answered; maybe paid; see 'ledger reconcile')")
    for (run, why), count in lost.items():
        print(printable(f"  {count:,} of run '{run}': {why}"))
    if in_flight or lost:
        print("each of them: seedmill ledger ls --lost")
    print(printable(f"{size / 1e6:,.1f} MB in {folder}"))
    return 0


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def ls(arguments: argparse.Namespace) -> int:
    """`seedmill ledger ls`."""
    if arguments.lost and (arguments.model or arguments.outcome):
        raise UsageError("a lost attempt has no model and no outcome: nobody answered", "use --run, --entry or --since")
    find = ledger_tools.newest_lost if arguments.lost else ledger_tools.newest
    # One more than is shown tells whether there are more.
    found = find(_ledger(arguments), _choice(arguments), arguments.n + 1, arguments.skip)
    more, found = len(found) > arguments.n, found[: arguments.n]
    if arguments.json:
        print(json_text(found))
    elif not found:
        print("no attempt was lost" if arguments.lost else "no such call")
    elif arguments.lost:
        print(table(_LOST_HEADER, [_lost_cells(attempt) for attempt in found], left=6))
    else:
        print(table(_LISTED_HEADER, [_listed_cells(call) for call in found], left=6))
    if more and not arguments.json:
        print(f"more: add --skip {arguments.skip + arguments.n}")
    return 0


_LISTED_HEADER = ("key", "finished", "run", "entry", "model", "outcome", "prompt", "completion", "cost")
_LOST_HEADER = ("key", "when", "run", "entry", "role", "why", "paid at most")


def _listed_cells(call: dict[str, Any]) -> tuple[str, ...]:
    return (
        call["key"][:12],
        calls.moment(call["time"]),
        *(call[name] for name in _LISTED_HEADER[2:6]),
        f"{call['prompt_tokens']:,}",
        f"{call['completion_tokens']:,}",
        calls.money(call["cost"]),
    )


def _lost_cells(call: dict[str, Any]) -> tuple[str, ...]:
    at_most = "resolved" if call["resolved"] else calls.money(call["reserved"])
    return (call["key"][:12], calls.moment(call["time"]), *(call[name] for name in _LOST_HEADER[2:6]), at_most)


def show(arguments: argparse.Namespace) -> int:
    """`seedmill ledger show KEY`."""
    folder = _ledger(arguments)
    key = ledger_tools.complete_key(folder, arguments.key)
    call = ledger_tools.stored(folder, key)
    if call is None:
        raise UsageError(f"the call {key} has just been pruned", "see 'seedmill ledger ls'")
    lost = ledger_tools.lost_attempts(folder, key)
    if arguments.json:
        print(json_text(ledger_tools.as_object(call) | {"lost": lost}))
    else:
        print(f"key {key}\n{calls.facts_text(call)}")
        for attempt in lost:
            print(calls.lost_text(attempt))
        print(f"request:\n{printable(call['request'])}\nreply:\n{printable(shortened(call['reply']))}")
    return 0


def prune(arguments: argparse.Namespace) -> int:
    """`seedmill ledger prune`; without --yes it only says what would go."""
    before = None if arguments.older_than is None else time.time() - arguments.older_than * 86_400
    choice = Choice(run=arguments.run, entry=arguments.entry, outcome=arguments.outcome, before=before)
    if choice == Choice():
        raise UsageError("prune needs to know what", "give --run, --entry, --older-than or --outcome")
    folder = _ledger(arguments)
    if not arguments.yes:
        return _would_prune(folder, choice, as_json=arguments.json)
    done = pruning.prune(folder, choice, notice=lambda sentence: print(f"note: {sentence}", file=sys.stderr))
    if arguments.json:
        print(json_text({"pruned": True} | asdict(done)))
        return 0
    print(f"{_count(done.calls, 'call')} pruned, {done.bytes_freed / 1e6:,.1f} MB freed")
    if done.kept_back:
        print(
            f"{done.kept_back / 1e6:,.1f} MB more are free inside the ledger, for new calls: the disk has no room to "
            "rewrite it; free some and prune again to have them back"
        )
    return 0


def _would_prune(folder: Path, choice: Choice, *, as_json: bool) -> int:
    spent = sum(ledger_tools.tally(folder, ("run",), choice).values(), Spent())
    size = pruning.bytes_of(folder, choice)
    if as_json:
        print(json_text({"pruned": False, "bytes": size} | spent.as_dict()))
        return 0
    print(
        f"{_count(spent.calls, 'call')} would go and free about {size / 1e6:,.1f} MB ({spent.prompt_tokens:,} prompt "
        f"tokens, {spent.completion_tokens:,} completion tokens, cost {calls.spent_money(spent)}); a run that needs "
        "one again pays it again, and 'explain' and 'calls' cannot show them any more\n"
        "nothing was changed; add --yes to prune them"
    )
    return 0


def export(arguments: argparse.Namespace) -> int:
    """`seedmill ledger export -o FILE`."""
    output: Path | None = None if str(arguments.output) == "-" else arguments.output
    if output is None and arguments.json:
        raise UsageError("--json tells of a file that was written", "name one with -o FILE, or leave --json out")
    if output is not None and not output.name.endswith((".jsonl", ".jsonl.gz")):
        raise UsageError(f"{output}: calls are written as JSON lines", "name a .jsonl or .jsonl.gz file, or -")
    count = ledger_export.export(_ledger(arguments), _choice(arguments), output)
    if output is not None:
        facts = {"output": str(output), "calls": count}
        told = printable(f"{_count(count, 'call')} written to {output}")
        print(json_text(facts) if arguments.json else told)
    return 0
