"""A million rows with one broken in the middle: one drop, everything else kept, bounded memory."""

import json
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.stage import Outcome, Stream
from pipeline.stages.read import Read
from tests.doubles import lend

ROWS = 1_000_000
MIDDLE = ROWS // 2
BROKEN = '{"instruction": "Name a river in Asia.", "input": "", "output": "The Mek'
MOST_BYTES = {"json": 900_000_000, "jsonl": 700_000_000}
"""Peak memory of a process that reads one such file, of 216 MB. A JSON array is held as bytes, and from a broken row on
as text too, which takes two bytes a character here; ids are remembered for repeats, some 80 bytes each."""


def line(number: int) -> str:
    answer = f"Answer {number} says 说 \\n and no more than that, {number * 7919 % 1_000_003} times over. " * 2
    return f'{{"instruction": "Say what the number {number} means.", "input": "", "output": "{answer}"}}'


def write(path: Path) -> None:
    start, between, end = ("[\n", ",\n", "\n]\n") if path.suffix == ".json" else ("", "\n", "\n")
    with path.open("w", encoding="utf-8") as file:
        file.write(start)
        for first in range(0, ROWS, 10_000):
            lines = [BROKEN if n == MIDDLE else line(n) for n in range(first, first + 10_000)]
            file.write(between.join(lines) + (between if first + 10_000 < ROWS else end))


def peak_bytes() -> int:
    """The most memory this process has held. Linux hands `ru_maxrss` on from the process that started this one, so that
    after other tests it would tell of theirs; VmHWM begins anew with the program."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def measured(path: Path, queue: Any) -> None:
    """What is read, in a process of its own, and its peak memory."""
    kept, wrong, drops = 0, 0, []
    start = peak_bytes()
    began = time.monotonic()
    number = 0
    for outcome in Read(data=(str(path),)).run(Stream(()), lend()):
        assert isinstance(outcome, Outcome)
        kept += outcome.kept.height
        drops += outcome.drops.select("reason", "detail").rows()
        for question in outcome.kept["messages"].list.first().struct["content"]:
            number += number == MIDDLE
            wrong += question != f"Say what the number {number} means."
            number += 1
    seconds = time.monotonic() - began
    queue.put((kept, wrong, drops, peak_bytes(), start, seconds))


@pytest.mark.long
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_one_broken_row_among_a_million_costs_one_drop(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"rows.{suffix}"
    write(path)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=measured, args=(path, queue))
    process.start()
    kept, wrong, drops, peak, before, seconds = queue.get(timeout=600)
    process.join()
    with capsys.disabled():
        size = path.stat().st_size
        print(
            f"\n{suffix}: {size / 1e6:,.0f} MB, {ROWS:,} rows read in {seconds:.1f} s, peak {peak / 1e6:,.0f} MB",
            end="",
        )
        print(f" ({before / 1e6:,.0f} MB before it began), load {os.getloadavg()[0]:.1f}")
    assert (kept, wrong) == (ROWS - 1, 0)
    ((reason, detail),) = drops
    told = json.loads(detail)
    assert reason == "malformed-json"
    assert (told["file"], told["line"]) == (path.name, MIDDLE + (2 if suffix == "json" else 1))
    assert told["raw"] == BROKEN
    assert peak < MOST_BYTES[suffix]


def test_the_rows_are_json() -> None:
    assert pl.DataFrame([json.loads(line(n)) for n in (0, MIDDLE)]).columns == ["instruction", "input", "output"]
