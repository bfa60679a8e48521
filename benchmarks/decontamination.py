"""Benchmark questions planted into alpaca_data.json: how many are found, how many rows drop wrongly, how fast.

Run: REAL_DATA=folder python benchmarks/decontamination.py [--plants 300] [--seeds 3]
Each kind (verbatim; one word in ten replaced, deleted or inserted; other case, width, punctuation and line breaks) is
planted apart, in equal parts from each benchmark, with an unrelated answer. The rule's constants were chosen on draws 0
to 3; the default draws begin at 100. allenai/decon publishes 34 us a document for its compiled program, elsewhere.
datatrove's n-gram decontamination runs beside it from an environment of its own
(`make peers`, or PEERS_PYTHON=its python), else it is named as skipped.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
from _verdicts import Verdicts

from pipeline.contamination.items import Item, items_of
from pipeline.formats.columns import frame_of
from pipeline.record import Message, Record
from pipeline.stages.decontaminate import Decontaminate

BENCHMARKS = ("gsm8k_test", "mt_bench", "self_instruct_252", "vicuna")
ROOT = Path(__file__).parent.parent
Row = dict[str, str]
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
        items = [item for item in items_of(folder() / f"bench_{name}.jsonl") if isinstance(item, Item)]
        for item in rng.sample(items, count // len(BENCHMARKS)):
            found.append((name, item.line, rng.choice(item.questions)))
    return found


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    return frame_of(
        [
            Record(
                id=str(number),
                messages=(
                    Message(role="user", content=r["instruction"]),
                    Message(role="assistant", content=r["output"]),
                ),
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


def planted(rows: Sequence[Row], edit: Edit, count: int, seed: int) -> tuple[list[tuple[str, int, str]], list[Row]]:
    """Plants, and the rows they make: each has the answer of some other row."""
    rng = random.Random(seed)
    chosen = plants(count, rng)
    answers = rng.sample(range(len(rows)), len(chosen))
    return chosen, [
        {"instruction": edit(question, rng), "input": "", "output": rows[i]["output"]}
        for i, (*_, question) in zip(answers, chosen, strict=True)
    ]


def recall(stage: Decontaminate, rows: list[Row], kind: str, edit: Edit, count: int, seeds: Sequence[int]) -> float:
    """Print what is found of the plants (by their own item), by half and by benchmark; the first lot among all rows.

    Returns the share of all that is found.
    """
    total, found = Counter[str](), Counter[str]()
    for seed in seeds:
        chosen, held = planted(rows, edit, count, seed)
        told = hits(stage, frame(held) if seed != seeds[0] else frame([*rows, *held]))
        shift = 0 if seed != seeds[0] else len(rows)
        for number, (name, line, _) in enumerate(chosen):
            for key in ("all", name, f"half {number % 2}"):
                total[key] += 1
                found[key] += (name, line) in told.get(str(number + shift), ())
    cells = [f"{found[key] / total[key]:.1%}".rjust(13) for key in ("all", "half 0", "half 1", *BENCHMARKS)]
    print(f"| {kind:<8} | " + " | ".join(cells) + " |")
    return found["all"] / total["all"]


def datatrove(rows: list[Row], kinds: dict[str, Edit], count: int) -> None:
    """Print what the peer finds of the first lot of plants and of the rows themselves, and how long it takes."""
    python = os.environ.get("PEERS_PYTHON") or str(ROOT / ".venv-peers" / "bin" / "python")
    if not Path(python).exists():
        print("skipped: datatrove (not installed: run make peers, or set PEERS_PYTHON)")
        return
    texts = {"rows": rows} | {kind: planted(rows, edit, count, 0)[1] for kind, edit in kinds.items()}
    joined = {kind: ["\n".join(filter(None, row.values())) for row in held] for kind, held in texts.items()}
    items = [item for name in BENCHMARKS for item in items_of(folder() / f"bench_{name}.jsonl")]
    known = [text for item in items if isinstance(item, Item) for text in (*item.questions, *item.answers)]
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "given.json", Path(scratch) / "found.json"
        source.write_text(json.dumps({"known": known, "texts": joined}), encoding="utf-8")
        script = str(ROOT / "benchmarks" / "peers" / "datatrove_decontamination.py")
        done = subprocess.run([python, script, str(source), str(target)], capture_output=True, text=True, cwd=scratch)
        if done.returncode:
            print(f"skipped: datatrove ({(done.stderr.strip().splitlines() or ['no message'])[-1]})")
            return
        told = json.loads(target.read_text(encoding="utf-8"))
    rate = 1e6 * told["seconds"] / sum(map(len, joined.values()))
    found = ", ".join(f"{sum(hit) / len(hit):.1%} of {kind}" for kind, hit in told["found"].items() if kind != "rows")
    print(f"datatrove {told['version']}, 12 words: {found} plants; {rate:.0f} us a row (one run)")
    print(f"  drops {sum(told['found']['rows'])} of the {len(rows):,} rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plants", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=100, help="settings were chosen on draws from 0 on")
    options = parser.parse_args()
    rows: list[Row] = json.loads((folder() / "alpaca_data.json").read_text(encoding="utf-8"))
    stage = Decontaminate(against=tuple(str(folder() / f"bench_{name}.jsonl") for name in BENCHMARKS))
    whole = frame(rows)
    stage.on_block(whole[:100])  # load the compiled code and the index
    seconds, busy = [], []
    for _ in range(3):
        began, worked = time.perf_counter(), time.process_time()
        outcome, _counts = stage.on_block(whole)
        seconds.append(time.perf_counter() - began)
        busy.append(time.process_time() - worked)
    wall, cpu = (1e6 * statistics.median(times) / len(rows) for times in (seconds, busy))
    print(
        f"{len(rows):,} rows against {len(BENCHMARKS)} benchmarks: {wall:.1f} us a row, {cpu:.1f} us of processor time"
    )
    print(f"dropped of them: {outcome.drops.height} ({outcome.drops.height / len(rows):.4%})")
    for detail in outcome.drops["detail"]:
        told = json.loads(detail)
        print(f"  {told['benchmark']}:{told['line']} {told['part']}, share {told['share']}: {told['matched'][:80]!r}")
    words = [word for row in rows[::20] for word in row["instruction"].split()]
    kinds: dict[str, Edit] = {"verbatim": verbatim, "edited": edited(words), "dressed": dressed}
    print(f"\n{options.plants} plants, {options.seeds} times, found by their item:\n")
    columns = ("all", "even", "odd", *(name.replace("_", " ")[:13] for name in BENCHMARKS))
    print("| kind     | " + " | ".join(column.rjust(13) for column in columns) + " |")
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    shares = {kind: recall(stage, rows, kind, edit, options.plants, seeds) for kind, edit in kinds.items()}
    print()
    verdicts = Verdicts(__file__, ("polars", "numba"))
    for kind, least in (("verbatim", 0.99), ("edited", 0.9)):
        verdicts.tell(f"{kind} plants found", f"{shares[kind]:.1%}", f">= {least:.0%}", shares[kind] >= least)
    wrong = outcome.drops.height / len(rows)
    verdicts.tell("rows of alpaca_data.json dropped", f"{wrong:.3%}", "<= 0.1%", wrong <= 0.001)
    datatrove(rows, kinds, options.plants)
    print(f"python {sys.version.split()[0]}, polars {pl.__version__}; {os.cpu_count()} processors; ours: medians of 3")


if __name__ == "__main__":
    main()
