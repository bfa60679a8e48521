"""Benchmark questions planted into alpaca_data.json: how many are found, how many rows drop wrongly, how fast.

Run: REAL_DATA=folder python benchmarks/decontamination.py [--plants 300] [--seeds 3]
Each kind (verbatim; one word in ten replaced, deleted or inserted; other case, width, punctuation and line breaks) is
planted apart, in equal parts from each benchmark, with an unrelated answer. The rule's constants were chosen on the
plants of even number; what counts is recall on those of odd number. allenai/decon publishes 34 us a document for its
compiled program on other documents. datatrove's n-gram decontamination is run beside it when it is installed.
"""

import argparse
import importlib.metadata
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.contamination.items import items_of
from pipeline.formats.columns import frame_of
from pipeline.record import Message, Record
from pipeline.stages.decontaminate import Decontaminate

BENCHMARKS = ("gsm8k_test", "mt_bench", "self_instruct_252", "vicuna")
Edit = Callable[[str, random.Random], str]


def folder() -> Path:
    if not os.environ.get("REAL_DATA"):
        sys.exit("REAL_DATA is not set: it names the folder that holds alpaca_data.json and the benchmarks")
    return Path(os.environ["REAL_DATA"])


def verbatim(text: str, rng: random.Random) -> str:
    return text


def edited(words: Sequence[str]) -> Edit:
    """One word in ten, and at least one, replaced by another, deleted, or with another put before it."""

    def edit(text: str, rng: random.Random) -> str:
        parts = re.split(r"(\s+)", text)
        places = [i for i, part in enumerate(parts) if part and not part.isspace()]
        for i in rng.sample(places, max(1, round(len(places) / 10))):
            how = rng.choice(("replace", "delete", "insert"))
            other = rng.choice(words)
            parts[i] = {"replace": other, "delete": "", "insert": f"{other} {parts[i]}"}[how]
        return "".join(parts)

    return edit


def dressed(text: str, rng: random.Random) -> str:
    """Other punctuation (also none), another case or full width, other white space."""
    marks = ";!-…”，。"
    text = "".join(c if c.isalnum() or c.isspace() else rng.choice((c, 2 * c, "", rng.choice(marks))) for c in text)
    wide = {c: c + 0xFEE0 for c in range(0x21, 0x7F)}
    text = rng.choice((str.upper, str.lower, str.title, lambda t: t.translate(wide)))(text)
    return re.sub(" ", lambda _: rng.choice((" ", "  ", "\n")), text)


def plants(count: int, rng: random.Random) -> list[tuple[str, int, str]]:
    """(benchmark, line, question), in equal parts; of a conversation one turn."""
    found = []
    for name in BENCHMARKS:
        items = [item for item in items_of(folder() / f"bench_{name}.jsonl") if hasattr(item, "questions")]
        for item in rng.sample(items, count // len(BENCHMARKS)):
            found.append((name, item.line, rng.choice(item.questions)))
    return found


def frame(rows: Sequence[dict[str, str]]) -> pl.DataFrame:
    return frame_of(
        [
            Record(
                id=str(number),
                messages=(Message(role="user", content=r["instruction"]), Message(role="assistant", content=r["output"])),
                input=r["input"] or None,
            )
            for number, r in enumerate(rows)
        ]
    )


def hits(stage: Decontaminate, rows: pl.DataFrame) -> dict[str, set[tuple[str, int]]]:
    """Of each dropped row the items of the evidence."""
    outcome, _ = stage.on_block(rows)
    found = {}
    for id, detail in outcome.drops.select("id", "detail").iter_rows():
        told = json.loads(detail)
        found[id] = {(one["benchmark"].removeprefix("bench_"), one["line"]) for one in (told, *told.get("also", ()))}
    return found


def recall(stage: Decontaminate, rows: list[dict[str, str]], edit: Edit, count: int, seeds: int) -> None:
    """Plant into the rows and print what is found, by half and by benchmark."""
    planted, found = Counter[Any](), Counter[Any]()
    for seed in range(seeds):
        rng = random.Random(seed)
        chosen = plants(count, rng)
        at = sorted(rng.sample(range(len(rows)), len(chosen)))
        held = [{"instruction": edit(q, rng), "input": "", "output": rows[i]["output"]} for i, (*_, q) in zip(at, chosen, strict=True)]
        told = hits(stage, frame(held) if seed else frame([*rows, *held]))
        shift = 0 if seed else len(rows)
        for number, (name, line, _) in enumerate(chosen):
            for key in ("all", name, f"half {number % 2}"):
                planted[key] += 1
                found[key] += (name, line) in told.get(str(number + shift), ())
    cells = [f"{found[key] / planted[key]:7.1%}" for key in ("all", "half 0", "half 1", *BENCHMARKS)]
    print(f"| {edit.__name__ if edit.__name__ != 'edit' else 'edited':<9} | " + " | ".join(cells) + " |")


def datatrove(rows: list[dict[str, str]], chosen: Sequence[str]) -> str:
    """Its n-gram decontamination at its defaults, on the same texts; or why it was not run."""
    try:
        version = importlib.metadata.version("datatrove")
    except importlib.metadata.PackageNotFoundError:
        return "skipped: datatrove (not installed; its decontamination also needs lighteval, which brings torch)"
    return f"datatrove {version} is installed, but its index is built from lighteval's tasks, not from files: not run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plants", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, str]] = json.loads((folder() / "alpaca_data.json").read_text(encoding="utf-8"))
    stage = Decontaminate(against=tuple(str(folder() / f"bench_{name}.jsonl") for name in BENCHMARKS))
    whole = frame(rows)
    stage.on_block(whole[:100])  # load the compiled code and the index
    seconds, busy = [], []
    for _ in range(3):
        began, worked = time.perf_counter(), time.process_time()
        outcome, _counts = stage.on_block(whole)
        seconds.append(time.perf_counter() - began)
        busy.append(time.process_time() - worked)
    micro = [1e6 * statistics.median(times) / len(rows) for times in (seconds, busy)]
    print(f"{len(rows):,} rows against {len(BENCHMARKS)} benchmarks: {micro[0]:.1f} us a row ({micro[1]:.1f} us of processor time)")
    print(f"dropped of them: {outcome.drops.height} ({outcome.drops.height / len(rows):.4%})")
    for detail in outcome.drops["detail"]:
        told = json.loads(detail)
        print(f"  {told['benchmark']}:{told['line']} {told['part']}, share {told['share']}: {told['matched'][:80]!r}")
    words = [word for row in rows[::20] for word in row["instruction"].split()]
    print(f"\n{options.plants} plants, {options.seeds} seeds, found by their item:\n")
    print("| kind      |     all | chosen on | reported | " + " | ".join(BENCHMARKS) + " |")
    for edit in (verbatim, edited(words), dressed):
        recall(stage, rows, edit, options.plants, options.seeds)
    print("\n" + datatrove(rows, ()))
    print(f"python {sys.version.split()[0]}, polars {pl.__version__}; {os.cpu_count()} processors; medians of 3")


if __name__ == "__main__":
    main()
