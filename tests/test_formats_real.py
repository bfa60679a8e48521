"""Real datasets: read with the counts that their README states, and taken through every format that can hold them."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from pipeline.convert import convert
from pipeline.formats import FORMATS
from pipeline.formats.elements import Unreadable
from pipeline.formats.reading import Example, examples
from pipeline.record import Message, Record, joined, view
from pipeline.stage import Stream, merged
from pipeline.stages.read import Read
from tests.doubles import lend

FILES = {
    "alpaca_data.json": ("alpaca", 52_002),
    "alpaca_zh_translated_00000_03252.json": ("alpaca", 3_247),
    "alpaca_zh_translated_15323_18280.json": ("alpaca", 2_957),
    "belle_zh_seed_tasks.json": ("seeds", 175),
    "bench_self_instruct_252.jsonl": ("seeds", 252),
    "fastchat_dummy_conversation.json": ("sharegpt", 500),
    "h2o_evolved_9186.json": ("lmflow", 35),
    "h2o_evolved_c5c5.json": ("lmflow", 9),
    "llamafactory_alpaca_en_demo.json": ("alpaca", 999),
    "llamafactory_alpaca_zh_demo.json": ("alpaca", 1_000),
    "llamafactory_dpo_en_demo.json": ("sharegpt", 300),
    "llamafactory_glaive_toolcall_en_demo.json": ("sharegpt", 300),
    "llamafactory_kto_en_demo.json": ("messages", 300),
    "self_instruct_seed_tasks.jsonl": ("seeds", 175),
    "sharegpt_zh_1k.jsonl": ("sharegpt", 1_000),
}


@pytest.fixture(scope="module")
def real() -> Path:
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip("REAL_DATA is not set: no real datasets to read")
    return Path(folder)


def read(path: Path) -> list[Record]:
    found = list(examples(path))
    assert not [item for item in found if isinstance(item, Unreadable)]
    return [Record(id="x", **fields) for item in found if isinstance(item, Example) for fields in item.records]


@pytest.mark.parametrize(("name", "format", "rows"), [(n, *facts) for n, facts in FILES.items()])
def test_every_row_is_read_and_survives_its_own_format(
    real: Path, tmp_path: Path, name: str, format: str, rows: int
) -> None:
    done = convert(real / name, format, tmp_path / "out.jsonl")
    assert (done.written, done.dropped, done.lost) == (rows, {}, {})
    formats: Counter[str] = Counter()
    for first, second in zip(examples(real / name), examples(tmp_path / "out.jsonl"), strict=True):
        assert isinstance(first, Example)
        assert isinstance(second, Example)
        assert second.records == first.records
        assert len(first.records) == 1
        formats[first.format.name] += 1
    assert formats == {format: rows}


@pytest.mark.parametrize("name", [n for n, (_, rows) in FILES.items() if rows <= 500])
@pytest.mark.parametrize("format", list(FORMATS))
def test_every_row_goes_to_every_format_or_to_the_drops(real: Path, tmp_path: Path, name: str, format: str) -> None:
    rows = FILES[name][1]
    done = convert(real / name, format, tmp_path / "out.json")
    assert done.written + done.dropped.total() == rows
    drops = tmp_path / "out.json.drops.jsonl"
    assert drops.exists() == (done.drops is not None) == bool(done.dropped)
    if drops.exists():
        assert len(drops.read_text().splitlines()) == done.dropped.total()
    if not done.written:
        return
    expected = [r for r in read(real / name) if FORMATS[format].refuses(r) is None]
    found = read(tmp_path / "out.json")
    space = str.strip if "outer-space" in done.lost else str
    assert [questions(r, space) for r in found] == [questions(r, space) for r in expected]


@pytest.mark.parametrize("suffix", [".csv", ".tsv.gz", ".jsonl.zst", ".parquet"])
@pytest.mark.parametrize(
    "name", ["sharegpt_zh_1k.jsonl", "llamafactory_glaive_toolcall_en_demo.json", "llamafactory_kto_en_demo.json"]
)
def test_every_row_survives_every_container(real: Path, tmp_path: Path, name: str, suffix: str) -> None:
    format, rows = FILES[name]
    done = convert(real / name, format, tmp_path / f"out{suffix}")
    assert (done.written, done.dropped, done.lost) == (rows, {}, {})
    assert [replace(r, source=None) for r in read(tmp_path / f"out{suffix}")] == read(real / name)


def questions(record: Record, space: Callable[[str], str]) -> list[tuple[str, str]]:
    """The conversation as a trainer sees it, without an answer that is not there."""
    messages = list(record.messages)
    first = next(i for i, m in enumerate(messages) if m.role == "user")
    messages[first] = replace(messages[first], content=joined(messages[first].content, record.input))
    if messages[-1] == Message(role="assistant", content=""):
        messages.pop()
    return [(m.role, space(m.content)) for m in messages]


def test_the_stage_reads_the_largest_of_them_in_seconds(real: Path) -> None:
    began = time.process_time()
    outcomes = list(Read(data=(str(real / "alpaca_data.json"),)).run(Stream(()), lend()))
    seconds = time.process_time() - began
    facts = view(merged(outcomes).kept).select(
        rows=pl.len(),
        unanswered=(pl.col("output") == "").sum(),
        echoes=((pl.col("output") == pl.col("input")) & (pl.col("output") != "")).sum(),
    )
    assert facts.row(0) == (52_002, 28, 55)
    # About 1.5 s on an idle machine; processor time grows when its two cores are shared.
    assert seconds < 6


def test_the_facts_that_the_readme_of_the_data_states(real: Path) -> None:
    seeds = read(real / "self_instruct_seed_tasks.jsonl")
    assert sum(record.tags["task_type"] == "classification" for record in seeds) == 26
    conversations = read(real / "sharegpt_zh_1k.jsonl")
    assert sum(len(record.messages) % 2 for record in conversations) == 7
    assert sum(not m.content for record in conversations for m in record.messages) == 17
    calls = read(real / "llamafactory_glaive_toolcall_en_demo.json")
    assert sum(m.tool_calls is not None for record in calls for m in record.messages) == 211
    assert all(json.loads(record.tools or "") is not None for record in calls)
    pairs = read(real / "llamafactory_dpo_en_demo.json")
    assert all(record.chosen and record.rejected and record.messages[-1].role == "user" for record in pairs)
    assert Counter(record.label for record in read(real / "llamafactory_kto_en_demo.json")).keys() == {True, False}
