"""The command that tells the ledger what a provider's bill says of calls whose reply was lost."""

import argparse
import os
import sys
from dataclasses import asdict
from typing import Any

from pipeline.llm.accounts import account, open_attempts, reconcile, spending
from pipeline.llm.batch.book import at_servers
from pipeline.llm.ledger_tools import require_ledger
from pipeline.llm.purse import dollars
from pipeline.models import ledger_folder
from pipeline.report.rows import json_text, printable, table


def ledger_reconcile(arguments: argparse.Namespace) -> int:
    """`seedmill ledger reconcile RUN [--paid none|all|USD]`; without --paid it only lists them."""
    rehearsal = arguments.rehearse or arguments.run.endswith("-rehearsal")
    folder = ledger_folder(os.environ, arguments.outputs, rehearse=rehearsal)
    require_ledger(folder)
    found = open_attempts(folder, arguments.run)
    untold = [(entry, role, sums) for (entry, role, _), sums in spending(folder, arguments.run).items() if sums.unknown]
    if arguments.paid is not None:
        reconcile(folder, arguments.run, arguments.paid, notice=_note)
    now = account(folder, arguments.run)
    batched = sum(at_servers(folder, arguments.run).values())
    if arguments.json:
        facts: dict[str, Any] = {
            "unresolved": [asdict(item) for item in found],
            "cost_unknown": [{"entry": entry, "role": role, **asdict(sums)} for entry, role, sums in untold],
            "in_batches": batched,
            "reconciled": arguments.paid is not None,
            "account": asdict(now),
        }
        print(json_text(facts))
        return 0
    rows = [
        (item.entry, item.model_role, item.why, f"{item.attempts:,}", _at_most(item.at_most, item.unbounded))
        for item in found
    ]
    rows += [
        (entry, role, "answered, cost unknown", f"{sums.unknown:,}", _at_most(sums.at_most, sums.unbounded))
        for entry, role, sums in untold
    ]
    if rows:
        print(table(("entry", "role", "what", "calls", "paid at most"), rows, left=3))
    print(printable(_told(arguments.run, now.finished, now.unresolved, now.unbounded)))
    if batched:
        print(f"not in it: {batched:,} calls in batches that a server works on; see 'seedmill batches {arguments.run}'")
    if rows and arguments.paid is None:
        print("nothing was changed; say what your provider's bill has of them: --paid none, --paid all or --paid USD")
    return 0


def _at_most(amount: float, unbounded: int) -> str:
    known = dollars(amount) if amount or not unbounded else ""
    return " + ".join(part for part in (known, f"{unbounded:,} unknown" if unbounded else "") if part)


def _told(run: str, finished: float, unresolved: float, unbounded: int) -> str:
    return f"run '{run}': {dollars(finished)} spent, {_at_most(unresolved, unbounded)} unresolved"


def _note(sentence: str) -> None:
    print(f"note: {sentence}", file=sys.stderr)
