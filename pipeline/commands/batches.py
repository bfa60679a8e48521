"""The command `batches`: what a run has handed to servers in batches, and stopping it."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import SeedmillError
from pipeline.llm.batch.book import Book, Entry, read_book
from pipeline.llm.batch.server import BatchServer, Later, Missing, NotTaken, Seen, TooLarge
from pipeline.llm.batch.terms import terms_of
from pipeline.models import ledger_folder
from pipeline.report.calls import moment
from pipeline.report.rows import json_text, table
from pipeline.run import read_run

_HEADER = ("batch", "role", "model", "state", "since", "calls", "done", "failed")


def batches(arguments: argparse.Namespace) -> int:
    """`seedmill batches RUN [--cancel]`."""
    read_run(arguments.outputs / arguments.run)
    ledger = ledger_folder(os.environ, arguments.outputs, rehearse=arguments.run.endswith("-rehearsal"))
    told: list[dict[str, Any]] = []
    notes: list[str] = []
    for entry in read_book(ledger, arguments.run):
        note = ""
        if entry.state in ("creating", "created"):
            entry, note = _now(entry, ledger, cancel=arguments.cancel)
        told.append(_facts(entry))
        notes += [note] if note else []
    if arguments.json:
        print(json_text({"run": arguments.run, "batches": told, "notes": notes}))
        return 0
    print(_text(arguments.run, told))
    for note in notes:
        print(f"note: {note}")
    return 0


def _now(entry: Entry, ledger: Path, *, cancel: bool) -> tuple[Entry, str]:
    """The batch as its server shows it, stopped when asked for, and a sentence on what became of that."""
    with _server(entry) as server:
        try:
            seen = _found(server, entry)
            if seen is None:
                return entry, f"batch {entry.token} has no id yet, and the server has none of that name"
            if cancel and not seen.over:
                seen = server.cancel(seen.id)
        except Missing:
            return entry, _forget(entry, ledger) if cancel else f"{entry.id}: the server does not know it any more"
        except (Later, NotTaken, TooLarge) as error:
            return entry, f"{entry.id or entry.token}: the server does not tell ({error})"
    entry = replace(entry, id=seen.id, said=seen.state, done=seen.done, failed=seen.failed)
    if not cancel:
        return entry, ""
    if seen.state in ("completed", "expired", "failed"):
        return entry, f"{seen.id} is over already ({seen.state}); run the recipe again to collect it"
    return entry, f"{seen.id} is {seen.state}; run the recipe again to collect what was finished"


def _found(server: BatchServer, entry: Entry) -> Seen | None:
    return server.find(entry.token, entry.file) if entry.id is None else server.look(entry.id)


def _forget(entry: Entry, ledger: Path) -> str:
    """Give up a batch that the server does not know, unless a run is just following it."""
    try:
        book = Book(ledger, "batches", patience=0.0)
    except SeedmillError as error:
        return f"{entry.id}: the server does not know it, but it stays noted while a run is under way: {error.message}"
    try:
        book.end(entry.token, "gone")
    finally:
        book.close()
    return f"{entry.id}: the server does not know it; given up, its {entry.lines:,} calls are asked anew when needed"


@contextmanager
def _server(entry: Entry) -> Iterator[BatchServer]:
    spec = entry.spec()
    server = BatchServer(spec, terms_of(spec))
    try:
        yield server
    finally:
        server.close()


def _facts(entry: Entry) -> dict[str, Any]:
    over = entry.state == "ended"
    state = entry.said if entry.said else "uploading" if entry.id is None else "begun"
    return {
        "id": entry.id,
        "role": entry.role,
        "model": entry.model,
        "server": entry.base_url,
        "state": f"{state}, collected" if over else state,
        "calls": entry.lines,
        "done": entry.done,
        "failed": entry.failed,
        "since": moment(entry.begun),
    }


def _text(run: str, told: list[dict[str, Any]]) -> str:
    if not told:
        return f"run {run} has made no batches"
    rows = [
        (
            *(b["id"] or "-", b["role"], b["model"], b["state"], b["since"]),
            *(f"{b['calls']:,}", f"{b['done']:,}", f"{b['failed']:,}"),
        )
        for b in told
    ]
    return table(_HEADER, rows, left=5)
