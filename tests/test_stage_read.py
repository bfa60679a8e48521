"""The read stage: records with stable ids and provenance, unreadable rows as drops, books that balance."""

import json
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError, UsageError
from pipeline.formats.columns import frame_of
from pipeline.formats.writing import write_rows
from pipeline.record import DROP_SCHEMA, SCHEMA, Message, Record, records_of, source_id, to_frame
from pipeline.settings import settings_schema
from pipeline.stage import Outcome, Stream, merged
from pipeline.stages.read import BLOCK_ROWS, Read
from tests.doubles import lend


def row(text: str, **more: object) -> dict[str, object]:
    return {"instruction": text, "input": "", "output": text.upper(), **more}


def run(stage: Read) -> Outcome:
    outcomes = list(stage.run(Stream(()), lend()))
    for outcome in outcomes:
        assert outcome.derived == outcome.kept.height + outcome.drops.height > 0
        assert (outcome.kept.schema, outcome.drops.schema) == (SCHEMA, DROP_SCHEMA)
    return merged(outcomes)


def write(path: Path, *lines: object) -> str:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return str(path)


def test_records_carry_where_they_are_from(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", row("a", topic="letters", n=1))
    (record,) = records_of(run(Read(data=(path,), language="en", license="mit")).kept)
    assert record == Record(
        id=source_id(record.messages, None, None),
        messages=(Message(role="user", content="a"), Message(role="assistant", content="A")),
        language="en",
        license="mit",
        source="mine.jsonl",
        method="read",
        tags={"topic": "letters"},
        extra='{"n":1}',
    )
    (seed,) = records_of(run(Read(seeds=(path,), source="ours")).kept)
    assert (seed.method, seed.source, seed.language, seed.license) == ("seed", "ours", None, None)
    assert seed.id == record.id


def test_our_own_records_keep_their_provenance(tmp_path: Path) -> None:
    kept = Record(
        id="y", messages=(Message(role="user", content="a"),), source="s", method="m", parents=("p",), license="mit"
    )
    to_frame([kept]).write_parquet(tmp_path / "kept-00000.parquet")
    (record,) = records_of(run(Read(data=(str(tmp_path / "kept-*.parquet"),))).kept)
    assert record == Record(**{f: getattr(kept, f) for f in Record.__slots__} | {"id": record.id})
    assert record.id == source_id(kept.messages, None, None)


def test_exact_repeats_are_told_apart_by_their_occurrence(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", row("x"), row("y"), row("x"))
    second = write(tmp_path / "b.jsonl", row("x", id=9))
    ids = run(Read(data=(first, second))).kept["id"].to_list()
    turns = (Message(role="user", content="x"), Message(role="assistant", content="X"))
    assert [ids[0], ids[2], ids[3]] == [source_id(turns, None, None, n) for n in range(3)]
    assert len(set(ids)) == 4


def test_an_unreadable_row_is_a_drop_with_file_line_and_raw_text(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", row("a"), "{oops " + "x" * 3_000, row("b") | {"instruction": 3}, row("c"))
    outcome = run(Read(data=(path,), license="mit"))
    assert [r.instruction for r in records_of(outcome.kept)] == ["a", "c"]
    assert outcome.drops["reason"].to_list() == ["malformed-json", "wrong-type"]
    broken, mistyped = (json.loads(text) for text in outcome.drops["detail"])
    assert (broken["file"], broken["line"], len(broken["raw"])) == ("mine.jsonl", 2, 2_000)
    assert (mistyped["line"], mistyped["field"]) == (3, "instruction")
    assert mistyped["error"] == "instruction must be text, not a number"
    assert json.loads(mistyped["raw"])["instruction"] == 3
    assert outcome.drops["source"].to_list() == ["mine.jsonl"] * 2
    assert outcome.drops["messages"].list.len().to_list() == [0, 0]


def test_drops_of_equal_lines_have_ids_of_their_own(tmp_path: Path) -> None:
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(write(tmp_path / folder / "mine.jsonl", row("x"), "oops", "oops"))
    ids = run(Read(data=tuple(paths))).drops["id"].to_list()
    assert len(set(ids)) == 4
    moved = tmp_path / "c"
    (tmp_path / "a").rename(moved)
    assert run(Read(data=(str(moved / "mine.jsonl"), paths[1]))).drops["id"].to_list() == ids


def test_the_same_rows_are_the_same_records_from_every_container(tmp_path: Path) -> None:
    rows = [row(str(i), meta={"n": i}) for i in range(30)]
    frames = []
    for name in ("m.json", "m.jsonl", "m.json.gz", "m.jsonl.gz", "m.parquet"):
        write_rows(tmp_path / name, rows)
        frames.append(run(Read(data=(str(tmp_path / name),), source="m")).kept)
    assert all(frame.equals(frames[0]) for frame in frames)
    assert frames[0].height == 30


def test_limit_counts_records_over_all_files_in_order(tmp_path: Path) -> None:
    task = {"instruction": "t", "instances": [{"input": str(i), "output": "o"} for i in range(3)]}
    first = write(tmp_path / "a.jsonl", row("a"), "oops", task)
    second = write(tmp_path / "b.jsonl", row("b"), row("c"))
    read = [(r.instruction, r.input) for r in records_of(run(Read(data=(first, second))).kept)]
    for limit in range(1, 7):
        outcome = run(Read(data=(first, second), limit=limit))
        assert [(r.instruction, r.input) for r in records_of(outcome.kept)] == read[:limit]
        assert outcome.drops.height == (0 if limit == 1 else 1)
    assert run(Read(data=(first, str(tmp_path / "missing-*"))[:1], limit=99)).kept.height == 4


def test_large_files_come_in_blocks_with_progress(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *(row(str(i)) for i in range(2 * BLOCK_ROWS + 10)))
    seen: list[tuple[int, int | None]] = []
    tools = lend()
    object.__setattr__(tools, "progress", lambda done, total: seen.append((done, total)))
    heights = [outcome.kept.height for outcome in Read(data=(path,)).run(Stream(()), tools)]
    assert heights == [BLOCK_ROWS, BLOCK_ROWS, 10]
    assert seen == [(BLOCK_ROWS, None), (2 * BLOCK_ROWS, None), (2 * BLOCK_ROWS + 10, 2 * BLOCK_ROWS + 10)]


def test_json_lines_are_streamed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *(row(f"{i} " + "x" * 100) for i in range(3 * BLOCK_ROWS)))
    outcomes = Read(data=(path,)).run(Stream(()), lend())
    assert 0 < next(outcomes).kept.height <= BLOCK_ROWS
    # What the file loses now cannot be seen by who has read it all, and must be missed by who has not.
    os.truncate(path, os.path.getsize(path) // 2)
    rest = merged(list(outcomes))
    assert rest.kept.height < BLOCK_ROWS
    assert rest.drops["reason"].to_list() == ["malformed-json"]


def test_a_stage_needs_one_kind_of_files_a_known_format_and_a_sensible_limit() -> None:
    for settings_ in ({}, {"seeds": ()}, {"seeds": ("a",), "data": ("b",)}):
        with pytest.raises(UsageError, match="either 'seeds' or 'data'"):
            Read(**settings_)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no format 'csv'"):
        Read(data=("a",), format="csv")
    with pytest.raises(UsageError, match="limit is 0"):
        Read(data=("a",), limit=0)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        run(Read(data=(str(tmp_path / "a.jsonl"),)))


def test_the_settings_say_which_formats_there_are() -> None:
    schema = settings_schema(Read)["properties"]
    assert {"auto", "alpaca", "sharegpt", "messages", "seeds"} <= set(schema["format"]["enum"])
    assert schema["seeds"] == {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
MESSAGES = st.lists(
    st.builds(
        Message,
        role=st.sampled_from(["user", "assistant"]),
        content=TEXT,
        thinking=st.none() | TEXT,
        weight=st.none() | st.floats(0, 1),
    ),
    max_size=3,
).map(tuple)
RECORDS = st.lists(
    st.builds(
        Record,
        id=TEXT,
        messages=MESSAGES,
        input=st.none() | TEXT,
        chosen=st.none() | MESSAGES,
        label=st.none() | st.booleans(),
        tags=st.dictionaries(TEXT, TEXT, max_size=2),
        scores=st.dictionaries(TEXT, st.floats(0, 5), max_size=2),
        parents=st.lists(TEXT, max_size=2).map(tuple),
        calls=st.lists(TEXT, max_size=2).map(tuple),
        extra=st.none() | TEXT,
    ),
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(RECORDS)
def test_frames_built_by_columns_equal_frames_built_by_rows(records: list[Record]) -> None:
    built = frame_of(records)
    assert built.equals(to_frame(records))
    assert built.schema == SCHEMA
    assert list(records_of(built)) == records


def test_an_empty_block_has_the_schema() -> None:
    assert frame_of([]).equals(pl.DataFrame(schema=SCHEMA))
