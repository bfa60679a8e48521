"""The whole history of one record or drop: where it came from, every prompt and raw reply, what each entry decided."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.errors import UsageError
from pipeline.record import Record, from_row
from pipeline.report.rows import as_text, detail_text

ReadCall = Callable[[str], Mapping[str, Any] | None]
"""Ledger key -> {request, reply, outcome, ...} or None when the ledger does not hold it."""


@dataclass(frozen=True)
class Sighting:
    """One entry that had the record: kept it (maybe changed), or dropped it with a reason and evidence."""

    entry: str
    record: Record
    reason: str | None = None
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class History:
    """A record's sightings in chain order, its ancestors' histories, and its calls."""

    id: str
    sightings: tuple[Sighting, ...]
    ancestors: tuple["History", ...]
    calls: tuple[tuple[str, Mapping[str, Any] | None], ...]


def find(run_folder: Path, facts: Mapping[str, Any], id: str, read_call: ReadCall) -> History:
    """The history of the record whose id begins with `id`.

    Raises:
        UsageError: no record or more than one has such an id.
    """
    folders = [(e["name"], run_folder / e["folder"]) for e in facts["entries"] if "manifest" in e]
    full = _complete(folders, id, run_folder.name)
    return _history(folders, full, read_call, set())


def _complete(folders: Iterable[tuple[str, Path]], id: str, run: str) -> str:
    found: set[str] = set()
    for _, folder in folders:
        for kind in ("kept", "drops"):
            ids = pl.scan_parquet(folder / f"{kind}-*.parquet").select("id")
            found.update(ids.filter(pl.col("id").str.starts_with(id)).unique().collect()["id"])
    if len(found) == 1:
        return found.pop()
    if found:
        some = ", ".join(sorted(found)[:3])
        raise UsageError(f"{len(found)} records of run '{run}' have an id that begins with '{id}'", f"such as {some}")
    raise UsageError(f"no record of run '{run}' has the id '{id}'", f"ids are shown by 'seedmill show {run}'")


def _history(folders: list[tuple[str, Path]], id: str, read_call: ReadCall, seen: set[str]) -> History:
    seen.add(id)
    sightings: list[Sighting] = []
    for name, folder in folders:
        for row in _rows(folder, "kept", id):
            sightings.append(Sighting(name, from_row(row)))
        for row in _rows(folder, "drops", id):
            sightings.append(Sighting(name, from_row(row), row["reason"], json.loads(row["detail"])))
    parents = [p for s in sightings[:1] for p in s.record.parents if p not in seen]
    ancestors = tuple(_history(folders, p, read_call, seen) for p in parents if p not in seen)
    keys = dict.fromkeys(key for s in sightings for key in s.record.calls)
    return History(id, tuple(sightings), ancestors, tuple((key, read_call(key)) for key in keys))


def _rows(folder: Path, kind: str, id: str) -> list[dict[str, Any]]:
    return pl.scan_parquet(folder / f"{kind}-*.parquet").filter(pl.col("id") == id).collect().to_dicts()


def as_json(history: History) -> dict[str, Any]:
    """The history as plain JSON values."""
    return {
        "id": history.id,
        "entries": [
            {
                "entry": s.entry,
                "kept": s.reason is None,
                "reason": s.reason,
                "detail": s.detail,
                "record": asdict(s.record),
            }
            for s in history.sightings
        ],
        "ancestors": [as_json(a) for a in history.ancestors],
        "calls": [{"key": key, **(call or {"missing": True})} for key, call in history.calls],
    }


def as_report(history: History) -> str:
    """The history as text, oldest first: what was decided where, then the calls with prompts and raw replies."""
    parts = []
    if history.ancestors:
        parts.append(f"made from {len(history.ancestors)} records")
        parts += [_indented(_summary(a)) for a in history.ancestors]
    previous: Record | None = None
    for sighting in history.sightings:
        verdict = "kept" if sighting.reason is None else f"dropped: {sighting.reason}"
        changed = previous is not None and _texts(previous) != _texts(sighting.record)
        parts.append(f"{sighting.entry}: {verdict}{' (text changed here)' if changed else ''}")
        if previous is None or changed:
            parts.append(_indented(as_text(sighting.record, width=None)))
        if sighting.detail:
            parts.append(detail_text(sighting.detail, width=None))
        previous = sighting.record
    record = history.sightings[-1].record if history.sightings else None
    if record is not None:
        origin = {"source": record.source, "method": record.method, "model": record.model, "prompt": record.prompt}
        parts.append(", ".join(f"{key} {value}" for key, value in origin.items() if value))
    for number, (key, call) in enumerate(history.calls, 1):
        parts.append(f"call {number} of {len(history.calls)}: {key}")
        parts.append(_indented(_call_text(call)))
    return "\n".join(parts)


def _summary(history: History) -> str:
    if not history.sightings:
        return f"id {history.id} (not in this run's finished entries)"
    first = history.sightings[0]
    last = history.sightings[-1]
    end = "" if last.reason is None else f"   (dropped by {last.entry}: {last.reason})"
    return f"id {history.id}, from {first.entry}{end}\n{_indented(first.record.question)}"


def _texts(record: Record) -> Any:
    return record.messages, record.input


def _call_text(call: Mapping[str, Any] | None) -> str:
    if call is None:
        return "not in the ledger (pruned, or another ledger was used)"
    request, reply = call["request"], call["reply"]
    body = request.get("body", request)
    if body.get("messages"):
        asked = "\n".join(f"[{m['role']}]\n{m.get('content') or ''}" for m in body["messages"])
    elif body.get("input"):
        asked = "\n".join(f"[text {number}]\n{text}" for number, text in enumerate(body["input"], 1))
    else:
        asked = str(body.get("prompt", ""))
    said = json.dumps(reply, ensure_ascii=False, indent=1) if not isinstance(reply, str) else reply
    return f"asked:\n{_indented(asked)}\nreplied ({call.get('outcome', '')}):\n{_indented(said)}"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))
