"""Measure, then decide: `seedmill profile FILE...`."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from filters import PRESETS, Check
from pipeline.errors import UsageError, no_room
from pipeline.formats.files import expand
from pipeline.formats.reading import blocks
from pipeline.profile import store
from pipeline.profile.decide import Ruling, decide
from pipeline.profile.make import complete, make
from pipeline.profile.thresholds import entries_of
from pipeline.report import profile as report
from pipeline.stages.filter import Filter
from pipeline.stages.read import Read
from pipeline.yaml_tree import suggest

_LINE_EVERY = 5.0


def profile(arguments: argparse.Namespace) -> int:
    """Measure unless that is done, and show distributions, signals, or what rules would drop."""
    read = Read(data=tuple(arguments.files), format=arguments.format)
    found = _measured(read, arguments)
    entries = entries_of(found, arguments.preset, arguments.set, arguments.at_least, arguments.at_most)
    if arguments.save_recipe is not None and not entries:
        raise UsageError("there is nothing to write into the recipe", "choose rules: --preset clean, --set, --at-least")
    told = {**found.manifest, "folder": str(found.folder)}
    if arguments.signal:
        _signals(found, arguments.signal, arguments.json, told)
    elif entries:
        rulings = decide(found, entries, _completing(read), arguments.n)
        if not arguments.json:
            report.show(report.decision(rulings, entries, found.records))
        told |= {"entries": [_plain(ruling) for ruling in rulings], "kept": int(rulings[-1].kept.sum())}
    else:
        told |= {"summary": found.summary, "presets": _presets(found, read, arguments.json)}
    if arguments.save_recipe is not None:
        _save(arguments.save_recipe, arguments.files, arguments.format, entries, arguments.json)
    if arguments.json:
        print(json.dumps(told, ensure_ascii=False, indent=1))
    return 0


def _measured(read: Read, arguments: argparse.Namespace) -> store.Profile:
    """The stored profile when it is still true, else a new one."""
    files = expand(read.data or ())
    name = arguments.run or f"profile-{files[0].name.split('.')[0]}"
    folder = arguments.outputs / name / store.FOLDER
    for path in files:
        next(blocks(path), None)  # Says what is wrong with a file that cannot be read at all.
    mark = store.fingerprint(files, read.format)
    found = None if arguments.fresh else store.stored(folder, mark)
    if found is not None:
        return found
    if (folder / "manifest.json").exists() and not arguments.fresh:
        _say("the stored profile is of another file or another version: measuring again")
    facts = {"fingerprint": mark, "files": [str(path) for path in files], "format": read.format}
    began = time.monotonic()
    try:
        found = make(folder, read, facts, _progress())
    except OSError as error:
        raise no_room(error, folder) or UsageError(f"{folder}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            folder.parent.rmdir()  # When nothing came of it, and it is empty.
    _say(f"{found.records:,} records measured in {time.monotonic() - began:.0f} s, kept in {folder}")
    return found


def _completing(read: Read) -> Callable[[store.Profile, Mapping[str, Check], Sequence[str]], None]:
    def missing(profile: store.Profile, checks: Mapping[str, Check], rules: Sequence[str]) -> None:
        _say(f"these settings need the texts again, for their rules alone: {', '.join(rules)}")
        complete(profile, checks, read, _progress())

    return missing


def _progress() -> Callable[[int], None]:
    last = time.monotonic()

    def progress(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY:
            last = time.monotonic()
            _say(f"{done:,} records")

    return progress


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _signals(found: store.Profile, names: Sequence[str], as_json: bool, told: dict[str, Any]) -> None:
    known = found.summary["signals"]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no signal '{name}'", suggest(name, known))
    told["signals"] = {name: known[name] for name in names}
    if as_json:
        return
    for name in names:
        whole = known[name]["all"]
        rows = [row for side in ("lowest", "highest") for row, _ in whole.get(side, ())]
        report.show(report.in_full(name, known[name], found.shown(rows)))


def _presets(found: store.Profile, read: Read, as_json: bool) -> dict[str, Any]:
    """Every preset's verdict; a preset is a filter entry of its own."""
    rulings = {name: decide(found, {name: Filter(preset=name)}, _completing(read)) for name in PRESETS}
    if not as_json:
        hint = "--preset NAME shows a preset's rules with rows, --signal NAME a signal; see seedmill profile --help"
        report.show(report.overview(found.manifest, found.summary), "", report.presets(rulings, found.records), hint)
    return {name: {"dropped": _plain(told[0])["dropped"]} for name, told in rulings.items()}


def _plain(ruling: Ruling) -> dict[str, Any]:
    return {
        "name": ruling.name,
        "in": ruling.rows,
        "hits": dict(ruling.hits),
        "dropped": {reason: count for reason, count in ruling.dropped.items() if count},
        "samples": {reason: [asdict(sample) for sample in some] for reason, some in ruling.samples.items()},
    }


def _save(place: Path, files: Sequence[str], format: str, entries: Mapping[str, Filter], quiet: bool) -> None:
    """Write a recipe that reads the files and drops what was shown."""
    reading: dict[str, Any] = {"stage": "read", "data": [str(path.resolve()) for path in expand(files)]}
    if format != "auto":
        reading["format"] = format
    chain: list[dict[str, Any]] = [reading]
    for name, stage in entries.items():
        entry: dict[str, Any] = {"stage": "filter"} | ({"name": name} if name != "filter" else {})
        if stage.preset is not None:
            entry["preset"] = stage.preset
        if stage.rules:
            entry["rules"] = stage.rules
        chain.append(entry)
    recipe = {
        "name": place.name.split(".")[0],
        "seed": 1,
        "entries": chain,
        "export": {"formats": ["alpaca", "sharegpt", "messages", "parquet"]},
    }
    text = "# What 'seedmill profile' showed, as a recipe: seedmill run " + str(place) + "\n"
    text += "# Entries may be added: fix before filter mends what can be mended, dedup after it drops repeats.\n"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{place}: cannot be written: {error.strerror}", "choose another place") from error
    if not quiet:
        print(f"written: {place}; run it with: seedmill run {place}")
