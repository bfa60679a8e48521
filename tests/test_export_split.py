"""Splits of an export: whole groups of rows that belong together, steadily, in every file and on the card."""

import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.export.clusters import THRESHOLD, Walk, near_roots
from pipeline.export.files import write_export
from pipeline.export.parting import Parting, parted
from pipeline.export.settings import Settings, settings_of
from pipeline.formats.reading import examples
from pipeline.record import Message, Record, derived_id, source_id
from pipeline.similar.shingles import Shingles
from pipeline.stage import Stream
from tests.doubles import stream_of

WORDS = [f"word{i}" for i in range(400)]


def row(question: str, answer: str, **more: Any) -> Record:
    turns = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Record(id=more.pop("id", source_id(turns, None, None)), messages=turns, source="s", method="m", **more)


def text(start: int, words: int = 40, changed: int = 0) -> str:
    """A text of its own for every start; some words changed make it a near-duplicate."""
    said = [f"{WORDS[(start * 7 + i) % 400]}x{start}" for i in range(words)]
    return " ".join([*said[: words - changed], *("other" for _ in range(changed))])


def rows(count: int) -> list[Record]:
    """Rows of four kinds: alone, with a near-duplicate, with another answer to the same question, translated."""
    found = []
    for i in range(count):
        found.append(row(f"question {i}: {text(i, 6)}", text(1_000 + i)))
        if i % 4 == 1:
            found.append(row(f"question {i}: {text(i, 6)}", text(1_000 + i, changed=1)))
        if i % 4 == 2:
            found.append(row(f"question {i}: {text(i, 6)}", text(5_000 + i)))
        if i % 4 == 3:
            parent = found[-1]
            found.append(row(text(9_000 + i), text(9_500 + i), id=derived_id("translate", [parent.id], 0)))
            found[-1] = replace(found[-1], parents=(parent.id,))
    return found


def part(stream: Stream, shares: dict[str, float]) -> Parting:
    walk = Walk()
    for block in stream.blocks():
        walk.add(block)
    return parted(walk, shares)


def assigned(folder: Path, found: Sequence[Record], shares: dict[str, float], block: int = 1_000) -> dict[str, str]:
    done = part(stream_of(folder, found, block), shares)
    return {record.id: done.split(i) for i, record in enumerate(found)}


def test_what_belongs_together_is_never_parted(tmp_path: Path) -> None:
    found = rows(200)
    split = assigned(tmp_path, found, {"validation": 0.2, "test": 0.1})
    by_question: dict[str, set[str]] = {}
    for record in found:
        by_question.setdefault(record.question, set()).add(split[record.id])
        for parent in record.parents:
            assert split[parent] == split[record.id]
    assert all(len(splits) == 1 for splits in by_question.values())
    counts = Counter(split.values())
    assert 0.1 < counts["validation"] / len(found) < 0.3
    assert 0.04 < counts["test"] / len(found) < 0.2
    assert counts["train"] > 0.6 * len(found)


def test_the_answer_is_the_same_whatever_the_blocks(tmp_path: Path) -> None:
    found = rows(60)
    one, other = (assigned(tmp_path, found, {"validation": 0.3}, block) for block in (1_000, 7))
    assert one == other


def test_rows_that_are_added_move_no_other_and_a_larger_share_keeps_what_it_had(tmp_path: Path) -> None:
    found = rows(120)
    before = assigned(tmp_path, found[:100], {"validation": 0.1})
    after = assigned(tmp_path, found, {"validation": 0.1})
    assert {id: after[id] for id in before} == before
    larger = assigned(tmp_path, found, {"validation": 0.3})
    assert {id for id, split in after.items() if split == "validation"} < {
        id for id, split in larger.items() if split == "validation"
    }


def damaged(record: Record, dice: random.Random, times: int) -> Record:
    """The record with some letters of its answer left out."""
    text = record.messages[-1].content
    for _ in range(times):
        at = dice.randrange(len(text))
        text = text[:at] + text[at + 1 :] or "x"
    return replace(
        record, id=f"{record.id}-{times}", messages=(*record.messages[:-1], replace(record.messages[-1], content=text))
    )


@pytest.mark.parametrize("name", ["llamafactory_alpaca_zh_demo.json", "sharegpt_zh_1k.jsonl"])
def test_no_near_duplicate_crosses_in_a_real_dataset(tmp_path: Path, name: str) -> None:
    """Held against every pair, by exact similarity."""
    folder = os.environ.get("REAL_DATA")
    if folder is None:
        pytest.skip(f"REAL_DATA is not set: {name} is not here")
    found = [
        Record(id=str(i), **item.records[0])  # type: ignore[union-attr, arg-type]
        for i, item in enumerate(examples(Path(folder) / name))
    ]
    dice = random.Random(1)
    found += [damaged(r, dice, 1 + i % 6) for i, r in enumerate(found[::7]) if r.messages[-1].content]
    walk = Walk()
    for block in stream_of(tmp_path, found).blocks():
        walk.add(block)
    parting = parted(walk, {"validation": 0.1})
    cut = Shingles.joined([one.shingles for one in walk.sketches if one.shingles is not None])
    sets = [set(cut.values[a:b].tolist()) for a, b in pairwise(cut.starts.tolist())]
    held = [row for row in range(len(found)) if parting.split(row) == "validation"]
    trained: dict[int, list[int]] = {}
    for row in set(range(len(found))) - set(held):
        for shingle in sets[row]:
            trained.setdefault(shingle, []).append(row)
    for row in held:
        shared = Counter(other for shingle in sets[row] for other in trained.get(shingle, ()))
        for other, both in shared.items():
            assert both / (len(sets[row]) + len(sets[other]) - both) < THRESHOLD, (found[row].id, found[other].id)
    assert 0.05 < len(held) / len(found) < 0.15
    roots = near_roots(walk.sketches)
    assert sum(root != row for row, root in enumerate(roots.tolist())) >= 100


def export(folder: Path, found: Sequence[Record], **settings: Any) -> dict[str, Any]:
    done = write_export(stream_of(folder, found), folder / "export", Settings(**settings), fingerprint="f")
    return done.summary()


def test_every_file_and_the_card_follow_the_splits(tmp_path: Path) -> None:
    found = rows(100)
    summary = export(tmp_path, found, split={"validation": 0.2}, shard_mb=0.02)
    split = assigned(tmp_path, found, {"validation": 0.2})
    folder = tmp_path / "export"
    wanted = {name: [r.id for r in found if split[r.id] == name] for name in ("train", "validation")}
    for name, ids in wanted.items():
        shards = sorted((folder / "data").glob(f"{name}-*.parquet"))
        assert [p.name for p in shards] == [f"{name}-{i:05d}-of-{len(shards):05d}.parquet" for i in range(len(shards))]
        assert [row["id"] for p in shards for row in pq.read_table(p).to_pylist()] == ids
    assert len(list((folder / "data").glob("train-*"))) > 1
    for file in ("alpaca", "sharegpt"):
        assert len(json.loads((folder / f"{file}.json").read_text())) == len(wanted["train"])
        assert len(json.loads((folder / f"{file}-validation.json").read_text())) == len(wanted["validation"])
    assert summary["files"] == [
        *("alpaca.json", "alpaca-validation.json", "sharegpt.json", "sharegpt-validation.json"),
        *("messages.jsonl", "messages-validation.jsonl", "data/train-*.parquet", "data/validation-*.parquet"),
    ]
    front = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert front["configs"][0]["data_files"] == [
        {"split": name, "path": f"data/{name}-*.parquet"} for name in ("train", "validation")
    ]
    splits = front["dataset_info"]["splits"]
    assert [(s["name"], s["num_examples"]) for s in splits] == [(n, len(ids)) for n, ids in wanted.items()]
    assert front["dataset_info"]["download_size"] == sum(p.stat().st_size for p in (folder / "data").iterdir())
    info = json.loads((folder / "dataset_info.json").read_text())
    assert {name: entry["file_name"] for name, entry in info.items()} == {
        "dataset_alpaca": "alpaca.json",
        "dataset_sharegpt": "sharegpt.json",
        "dataset_messages": "messages.jsonl",
        "dataset_alpaca_validation": "alpaca-validation.json",
        "dataset_sharegpt_validation": "sharegpt-validation.json",
        "dataset_messages_validation": "messages-validation.jsonl",
    }


def test_a_split_that_gets_no_row_is_left_out_and_told_of(tmp_path: Path) -> None:
    summary = export(tmp_path, rows(3), split={"validation": 0.0001})
    assert "split 'validation' is left out: no group of rows fell into its share of 0.0001" in summary["notes"]
    assert not list((tmp_path / "export").rglob("*validation*"))


def test_one_large_group_makes_a_split_miss_its_share_and_says_so(tmp_path: Path) -> None:
    found = [row("the same question of all", text(i)) for i in range(200)]
    summary = export(tmp_path, found, split={"validation": 0.999})
    assert [note for note in summary["notes"] if "split 'validation'" in note] or len(
        list((tmp_path / "export" / "data").glob("validation*"))
    )
    small = export(tmp_path, [*found, *rows(50)], split={"validation": 0.3})
    assert any("groups are never parted" in note or "left out" in note for note in small["notes"])


def test_settings_are_those_of_the_recipe() -> None:
    found = settings_of({"formats": ["alpaca"], "pretty_name": "X", "split": {"test": 0.1}}, {"rows": {"min": 1}})
    assert (found.formats, found.title, found.splits) == (("alpaca",), "X", ("train", "test"))
    assert found.expect == {"rows": {"min": 1}}
