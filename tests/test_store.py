"""A stage directory is whole or absent, and its bytes depend on its rows alone."""

from pathlib import Path

import pytest

from pipeline.record import SCHEMA, Drop, Message, Record, to_frame
from pipeline.stage import Outcome, merged
from pipeline.store import ShardWriter, StageWriter, kept_hashes, read_manifest, stream


def record(n: int) -> Record:
    return Record(id=f"r{n}", messages=(Message(role="user", content=f"task {n} " * (n % 7)),), tags={"n": str(n)})


def write(folder: Path, block: int, total: int = 5_000) -> dict:
    writer = StageWriter(folder, total)
    for start in range(0, total, block):
        rows = [record(n) for n in range(start, min(start + block, total))]
        kept = [r for i, r in enumerate(rows, start) if i % 3]
        dropped = [Drop(record=r, reason="third", detail={"n": i}) for i, r in enumerate(rows, start) if i % 3 == 0]
        writer.add(Outcome.of(kept, dropped))
    return writer.commit({"fingerprint": "x"})


def hashes(manifest: dict) -> list[str]:
    return [shard["sha256"] for shard in manifest["shards"]]


def test_bytes_do_not_depend_on_the_blocks(tmp_path: Path) -> None:
    first = write(tmp_path / "a", 1000)
    assert hashes(write(tmp_path / "b", 7)) == hashes(write(tmp_path / "c", 4999)) == hashes(first)
    assert first["kept"] + first["dropped"] == first["in"] == 5_000
    assert first["reasons"] == {"third": 1667}


def test_shards_are_cut_at_a_row_count(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, "kept", SCHEMA, shard_rows=4_000)
    for start in range(0, 9_001, 500):
        writer.add(to_frame([record(n) for n in range(start, min(start + 500, 9_001))]))
    writer.close()
    assert [p.name for p in writer.files] == ["kept-00000.parquet", "kept-00001.parquet", "kept-00002.parquet"]


def test_a_stream_gives_back_the_rows_in_blocks(tmp_path: Path) -> None:
    manifest = write(tmp_path / "a", 100, 300)
    found = stream(tmp_path / "a", manifest, 64)
    assert [s.rows for s in found.slices] == [64, 64, 64, 8]
    assert [r.id for r in found.records()] == [f"r{n}" for n in range(300) if n % 3]
    assert list(found.records()) == [record(n) for n in range(300) if n % 3]


def test_an_empty_stage_still_has_its_schema(tmp_path: Path) -> None:
    manifest = StageWriter(tmp_path / "a", 0).commit({})
    assert len(kept_hashes(manifest)) == 1
    assert stream(tmp_path / "a", manifest).rows == 0


def test_books_that_do_not_balance_are_never_committed(tmp_path: Path) -> None:
    writer = StageWriter(tmp_path / "a", 2)
    writer.add(Outcome.of([record(1)]))
    with pytest.raises(AssertionError, match="books do not balance by 1"):
        writer.commit({})
    assert read_manifest(tmp_path / "a") is None


def test_a_new_commit_replaces_the_old_one(tmp_path: Path) -> None:
    write(tmp_path / "a", 100, 300)
    assert write(tmp_path / "a", 100, 30)["in"] == 30
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert read_manifest(tmp_path / "a")["kept"] == 20


def test_merged_outcomes_add_up() -> None:
    drop = Drop(record=record(2), reason="x")
    whole = merged([Outcome.of([record(1)], derived=1, fixed={"a": 1}), Outcome.of([], [drop], fixed={"a": 2, "b": 1})])
    assert (whole.kept.height, whole.drops.height, whole.derived, whole.fixed) == (1, 1, 1, {"a": 3, "b": 1})
    assert merged([]).kept.height == 0
