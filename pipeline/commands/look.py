"""The commands that only read: `show`, `explain`, `report`, `status` and `stages`."""

import argparse
import inspect
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.commands.runs import closing, summary
from pipeline.errors import SeedmillError, UsageError
from pipeline.models import ledger_folder
from pipeline.report import history, rows
from pipeline.run import read_run, under_way
from pipeline.store import read_manifest


def show(arguments: argparse.Namespace) -> int:
    """`seedmill show RUN [ENTRY]`."""
    folder = arguments.outputs / arguments.run
    entry = _entry(read_run(folder), arguments.entry)
    if arguments.reason is not None:
        arguments.drops = True
        reasons = entry["manifest"]["reasons"]
        if arguments.reason not in reasons:
            hint = f"its reasons: {', '.join(reasons) or 'none'}"
            raise UsageError(f"entry '{entry['name']}' dropped nothing for '{arguments.reason}'", hint)
    found = list(
        rows.read_rows(folder / entry["folder"], drops=arguments.drops, limit=arguments.n, reason=arguments.reason)
    )
    if arguments.json:
        print(rows.json_text([item | {"record": asdict(item["record"])} for item in found]))
        return 0
    what = "dropped" if arguments.drops else "kept"
    print(f"{entry['name']}: {entry['manifest'][what]:,} {what}, {len(found)} shown")
    width = None if arguments.full else 400
    for item in found:
        print("\n" + rows.as_text(item["record"], width=width))
        if arguments.drops:
            print(f"dropped: {item['reason']}\n{rows.detail_text(item['detail'], width=width)}")
    return 0


def _entry(facts: dict[str, Any], name: str | None) -> dict[str, Any]:
    finished: list[dict[str, Any]] = [entry for entry in facts["entries"] if "manifest" in entry]
    if not finished:
        raise UsageError(f"no entry of run '{facts['run']}' is finished", f"see 'seedmill status {facts['run']}'")
    if name is None:
        return finished[-1]
    for entry in finished:
        if entry["name"] == name:
            return entry
    unfinished = name in [entry["name"] for entry in facts["entries"]]
    problem = f"entry '{name}' is not finished" if unfinished else f"there is no entry '{name}'"
    raise UsageError(f"{problem} in run '{facts['run']}'", f"finished: {', '.join(e['name'] for e in finished)}")


def explain(arguments: argparse.Namespace) -> int:
    """`seedmill explain RUN ID`."""
    from pipeline.llm.ledger import read_calls

    folder = arguments.outputs / arguments.run
    ledger = ledger_folder(os.environ, arguments.outputs, rehearse=arguments.run.endswith("-rehearsal"))
    found = history.find(folder, read_run(folder), arguments.id, read_calls(ledger))
    if arguments.json:
        print(rows.json_text(history.as_json(found)))
    else:
        print(rows.printable(history.as_report(found)))
    return 0


def report(arguments: argparse.Namespace) -> int:
    """`seedmill report RUN`."""
    folder = arguments.outputs / arguments.run
    facts = read_run(folder)
    _entry(facts, None)
    exported = _exported(folder)
    if arguments.json:
        print(json.dumps(summary(folder, exported), ensure_ascii=False, indent=1))
    else:
        print(closing(folder, exported, whole=True))
    return 0


def _exported(folder: Path) -> dict[str, Any] | None:
    manifest = read_manifest(folder / "export")
    return None if manifest is None else manifest["summary"] | {"folder": str(folder / "export")}


def status(arguments: argparse.Namespace) -> int:
    """`seedmill status RUN`."""
    from pipeline.report.terminal import Lines

    folder = arguments.outputs / arguments.run
    read_run(folder)
    snapshot = _snapshot(folder)
    if arguments.json:
        print(json.dumps(snapshot, ensure_ascii=False, indent=1))
        return 0
    print(
        f"run {snapshot['run']}: {snapshot['state']}" + (f": {snapshot['message']}" if snapshot.get("message") else "")
    )
    print("\n".join(Lines.sentences(snapshot)))
    return 0


def _snapshot(folder: Path) -> dict[str, Any]:
    """The last status of a run, which may have died without a word."""
    try:
        snapshot: dict[str, Any] = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise SeedmillError(f"{folder} has no status yet", "has the run begun?") from None
    if snapshot["state"] in ("running", "paused") and not under_way(folder):
        message = "its process is gone; run the same command again to go on"
        snapshot |= {"state": "died", "message": message, "waiting_for": None}
    return snapshot


def stages(arguments: argparse.Namespace) -> int:
    """`seedmill stages [STAGE]`."""
    from pipeline.settings import settings_schema
    from pipeline.stages import STAGES

    if arguments.stage is not None and arguments.stage not in STAGES:
        raise UsageError(f"there is no stage '{arguments.stage}'", f"stages: {', '.join(STAGES)}")
    chosen = [arguments.stage] if arguments.stage else list(STAGES)
    if arguments.json:
        print(json.dumps({name: settings_schema(STAGES[name]) for name in chosen}, ensure_ascii=False, indent=1))
        return 0
    for name in chosen:
        text = inspect.getdoc(STAGES[name]) or ""
        print(f"{name}\n    {text.splitlines()[0]}" if arguments.stage is None else f"{name}\n{text}")
    return 0
