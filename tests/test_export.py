"""The export folder: what is in it, that equal records are equal bytes, and that it is whole or absent."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jsonschema
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.export.check import SHAPE_KEYWORDS, VALUE_KEYS, RowCheck, shape
from pipeline.export.files import Export, write_export
from pipeline.export.glue import objection
from pipeline.export.settings import EXPORTS, Settings
from pipeline.export.survey import Kind, survey_of
from pipeline.export.table import Table
from pipeline.formats import FORMATS
from pipeline.formats.json_text import dumps
from pipeline.record import Message, Record, source_id
from tests.doubles import stream_of

USER, ANSWER = Message(role="user", content="Say hi"), Message(role="assistant", content="Hi")
SYSTEM = Message(role="system", content="Be brief")
CALL = Message(
    role="assistant",
    content="",
    tool_calls=dumps([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]),
)
TOLD = Message(role="tool", content="1", tool_call_id="c1")


def record(*messages: Message, **more: object) -> Record:
    turns = tuple(replace(m) for m in messages)
    return Record(id=source_id(turns, None, None, len(more)), messages=turns, source="s", method="m", **more)  # type: ignore[arg-type]


PLAIN = [
    record(Message(role="user", content=f"Say {i}"), ANSWER, input=f"in {i}" if i % 2 else None) for i in range(10)
]
ODD = [
    record(SYSTEM, USER, ANSWER, USER, ANSWER, tags={"topic": "hi"}, scores={"accuracy": 4.5}),
    record(USER, CALL, TOLD, ANSWER, tools='[{"name":"f"}]'),
    record(USER),
    record(USER, USER, ANSWER),
    record(USER, replace(ANSWER, thinking="hm")),
    record(USER, chosen=(ANSWER,), rejected=(replace(ANSWER, content="No"),)),
]


def export(folder: Path, records: Sequence[Record], block: int = 1000, **options: object) -> Export:
    folder.mkdir(parents=True, exist_ok=True)
    given = {"fingerprint": "f", **{key: options.pop(key) for key in ("fingerprint", "facts") if key in options}}
    wanted = Settings(**options)  # type: ignore[arg-type]
    return write_export(stream_of(folder, records, block), folder / "export", wanted, **given)  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def load(folder: Path, name: str) -> list[dict[str, object]]:
    text = (folder / "export" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if name.endswith("l") else json.loads(text)  # type: ignore[no-any-return]


def test_every_file_holds_every_plain_record_in_order(tmp_path: Path) -> None:
    done = export(tmp_path, PLAIN)
    assert done.rows == 10
    assert {name: report["rows"] for name, report in done.files.items()} == dict.fromkeys(done.files, 10)
    questions = [r.question for r in PLAIN]
    assert [FORMATS["alpaca"].read(row)[0]["input"] for row in load(tmp_path, "alpaca.json")] == [
        r.input for r in PLAIN
    ]
    assert [row["conversations"][0]["value"] for row in load(tmp_path, "sharegpt.json")] == questions  # type: ignore[index]
    assert [row["messages"][0]["content"] for row in load(tmp_path, "messages.jsonl")] == questions  # type: ignore[index]
    table = pq.read_table(tmp_path / "export" / "data").to_pylist()
    assert [(row["id"], row["messages"][0]["content"]) for row in table] == [
        (r.id, question) for r, question in zip(PLAIN, questions, strict=True)
    ]
    assert list(table[0]) == ["id", "messages", "source", "method"]
    assert list(table[0]["messages"][0]) == ["role", "content"]


def test_what_a_file_cannot_hold_is_left_out_counted_and_listed(tmp_path: Path) -> None:
    done = export(tmp_path, ODD)
    ids = [r.id for r in ODD]
    left_out = {name: {r: e["ids"] for r, e in report["left_out"].items()} for name, report in done.files.items()}
    assert left_out == {
        "alpaca.json": {"preference-row": [ids[5]], "role-order": [ids[3]], "tool-turns": [ids[1]]},
        "sharegpt.json": {"odd-length": [ids[2]], "preference-row": [ids[5]], "role-order": [ids[3]]},
        "messages.jsonl": {},
        "data/train-*.parquet": {},
    }
    assert {name: report["lost"] for name, report in done.files.items()} == {
        "alpaca.json": {"thinking": 1},
        "sharegpt.json": {"thinking": 1, "tool-call-id": 1},
        "messages.jsonl": {},
        "data/train-*.parquet": {},
    }
    for report in done.files.values():
        assert report["rows"] + sum(entry["rows"] for entry in report["left_out"].values()) == len(ODD)
    assert json.loads((tmp_path / "export" / "report.json").read_text())["files"] == done.files
    assert "sharegpt.json leaves out 1 rows: odd-length" in done.summary()["notes"]


def test_the_table_keeps_everything_but_local_call_keys(tmp_path: Path) -> None:
    whole = record(
        replace(USER, name="kim"),
        replace(CALL, weight=0.5),
        TOLD,
        ANSWER,
        tools="[]",
        chosen=(ANSWER,),
        rejected=(USER, ANSWER),
        label=True,
        language="zh",
        tags={"b": "2", "a": "1"},
        scores={"accuracy": 4.5},
        parents=("p", "q"),
        model="m",
        prompt="p@1",
        license="mit",
        extra='{"n":1}',
        calls=("k",),
    )
    export(tmp_path, [whole, PLAIN[0]])
    first, second = pq.read_table(tmp_path / "export" / "data").to_pylist()
    assert set(first) == set(Record.__slots__) - {"input", "calls"}
    assert first["tags"] == [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]
    assert first["scores"] == [{"key": "accuracy", "value": 4.5}]
    assert first["messages"][1]["tool_calls"] == json.loads(CALL.tool_calls or "")
    assert [len(first["chosen"]), len(first["rejected"]), second["chosen"]] == [1, 2, None]
    assert {name: first[name] for name in ("parents", "label", "extra")} == {
        "parents": ["p", "q"],
        "label": True,
        "extra": '{"n":1}',
    }


def test_keys_of_a_tool_call_that_have_no_column_are_counted(tmp_path: Path) -> None:
    calls = json.loads(CALL.tool_calls or "")
    done = export(tmp_path, [record(USER, replace(CALL, tool_calls=dumps([{**calls[0], "index": 0}])), TOLD, ANSWER)])
    assert done.files["data/train-*.parquet"]["lost"] == {"tool-call-keys": 1}


@pytest.mark.parametrize("shard_bytes", [300, 2_000, 20_000, 10**9])
def test_no_shard_is_larger_than_it_may_be_unless_one_group_is(tmp_path: Path, shard_bytes: int) -> None:
    (tmp_path / "data").mkdir()
    long = record(replace(USER, content="x" * 1_500), ANSWER)
    rows = [*PLAIN, long, *PLAIN]
    table = Table(tmp_path / "data", survey_of(stream_of(tmp_path, rows)), "test", shard_bytes, group_rows=4)
    for item in rows:
        table.add(item)
    table.close()
    total = len(table.files)
    assert [path.name for path in table.files] == [f"test-{i:05d}-of-{total:05d}.parquet" for i in range(total)]
    assert sorted(table.files) == sorted((tmp_path / "data").iterdir())
    assert [row["id"] for path in table.files for row in pq.read_table(path).to_pylist()] == [r.id for r in rows]
    for path in table.files:
        groups = pq.ParquetFile(path).metadata.num_row_groups
        assert groups == 1 or pq.read_table(path).nbytes <= shard_bytes
    assert (total == 1) == (shard_bytes >= 20_000)


def test_no_records_still_make_files_that_can_be_loaded(tmp_path: Path) -> None:
    done = export(tmp_path, [])
    assert done.rows == 0
    assert load(tmp_path, "alpaca.json") == load(tmp_path, "messages.jsonl") == []
    assert pq.read_table(tmp_path / "export" / "data").num_rows == 0


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_equal_records_are_equal_bytes_whatever_the_blocks(tmp_path: Path, block: int) -> None:
    export(tmp_path / "a", PLAIN + ODD)
    export(tmp_path / "b" / "c", PLAIN + ODD, block)
    assert files(tmp_path / "a" / "export") == files(tmp_path / "b" / "c" / "export")


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    export(tmp_path, PLAIN)
    found = files(tmp_path / "export")
    sums = dict(line.split("  ")[::-1] for line in found.pop("SHA256SUMS").decode().splitlines())
    del found["manifest.json"]
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}


def test_an_unchanged_export_is_left_as_it_is(tmp_path: Path) -> None:
    first = export(tmp_path, PLAIN)
    inode = (tmp_path / "export").stat().st_ino
    second = export(tmp_path, PLAIN)
    assert (first.unchanged, second.unchanged) == (False, True)
    assert (tmp_path / "export").stat().st_ino == inode
    assert second.summary() == first.summary()


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "g"},
        {"formats": ("alpaca",)},
        {"title": "Mine"},
        {"license": "mit"},
        {"facts": {"recipe": "other.yaml"}},
        {"facts": {"entries": [{"name": "read", "stage": "read", "manifest": None}]}},
    ],
)
def test_an_export_is_made_again_when_anything_in_it_would_change(tmp_path: Path, change: dict[str, object]) -> None:
    export(tmp_path, PLAIN)
    before = files(tmp_path / "export")
    if "entries" in change.get("facts", {}):  # type: ignore[operator]
        change = {"facts": {"entries": [{"name": "read", "stage": "read", "manifest": MANIFEST}]}}
    assert not export(tmp_path, PLAIN, **change).unchanged
    assert files(tmp_path / "export") != before
    assert export(tmp_path, PLAIN, **change).unchanged


MANIFEST = {"in": 0, "derived": 10, "kept": 10, "dropped": 0, "seconds": 1.5} | {
    key: {} for key in ("reasons", "fixed", "hits", "notes")
}


def test_times_paths_and_prices_do_not_change_an_export(tmp_path: Path) -> None:
    entry = {"name": "read", "stage": "read"}
    for folder, run, seconds in (("a", "one", 1.0), ("b", "two", 2.0)):
        facts = {
            "run": run,
            "recipe": f"/{folder}/demo.yaml",
            "entries": [{**entry, "manifest": MANIFEST | {"seconds": seconds}}],
        }
        export(tmp_path / folder, PLAIN, facts=facts)
    assert files(tmp_path / "a" / "export") == files(tmp_path / "b" / "export")


def test_a_damaged_export_is_made_again(tmp_path: Path) -> None:
    export(tmp_path, PLAIN)
    before = files(tmp_path / "export")
    (tmp_path / "export" / "alpaca.json").unlink()
    assert not export(tmp_path, PLAIN).unchanged
    assert files(tmp_path / "export") == before


def test_an_unknown_export_format_is_a_sentence(tmp_path: Path) -> None:
    for formats in (("alpaca", "csv"), ()):
        with pytest.raises(UsageError, match="no export format") as caught:
            export(tmp_path, PLAIN, formats=formats)
        assert "sharegpt" in (caught.value.hint or "")
    assert not (tmp_path / "export").exists()


def test_a_failure_leaves_the_older_export(tmp_path: Path) -> None:
    export(tmp_path, PLAIN)
    before = files(tmp_path / "export")
    broken = record(replace(CALL, tool_calls="no JSON"), ANSWER)
    with pytest.raises(json.JSONDecodeError):
        export(tmp_path, [*PLAIN, broken], fingerprint="g")
    assert files(tmp_path / "export") == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


SCRIPT = """
import sys
from pathlib import Path
from tests.test_export import PLAIN, export
export(Path(sys.argv[1]), PLAIN, fingerprint="new")
"""


@pytest.mark.parametrize("point", ["mid-export", "before-export-rename"])
@pytest.mark.parametrize("older", [True, False])
def test_a_kill_leaves_the_older_export_or_none_and_the_next_run_makes_the_new(
    tmp_path: Path, point: str, older: bool
) -> None:
    export(tmp_path / "whole", PLAIN, fingerprint="new")
    if older:
        export(tmp_path / "killed", ODD, fingerprint="old")
    folder = tmp_path / "killed" / "export"
    before = files(folder)
    killed = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "killed")],
        env=os.environ | {"SEEDMILL_CRASH_AT": point},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert files(folder) == before
    assert folder.exists() == older
    export(tmp_path / "killed", PLAIN, fingerprint="new")
    assert files(folder) == files(tmp_path / "whole" / "export")
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == ["export", "stream.parquet"]


def test_a_kill_between_the_two_renames_is_mended(tmp_path: Path) -> None:
    export(tmp_path, PLAIN)
    before = files(tmp_path / "export")
    (tmp_path / "export").rename(tmp_path / ".export.old")
    assert export(tmp_path, PLAIN).unchanged
    assert files(tmp_path / "export") == before


def trainer_keeps(row: dict[str, object], ranking: bool) -> bool:
    """LLaMA-Factory's rule for a ShareGPT row, from its own converter, as an oracle."""
    tags = [turn["from"] for turn in row["conversations"]]  # type: ignore[attr-defined]
    if tags and tags[0] == "system":
        tags = tags[1:]
    slots = (("human", "observation"), ("gpt", "function_call"))
    return all(tag in slots[i % 2] for i, tag in enumerate(tags)) and len(tags) % 2 == int(ranking)


ROLES = st.sampled_from([SYSTEM, USER, ANSWER, CALL, TOLD])


@settings(max_examples=300, deadline=None)
@given(st.lists(ROLES, min_size=1, max_size=6), st.sampled_from(["answers", "preference", "verdicts"]))
def test_sharegpt_rows_are_left_out_exactly_when_the_trainer_would_skip_them(turns: list[Message], kind: Kind) -> None:
    found = Record(
        id="x", messages=tuple(turns), **({"chosen": (ANSWER,), "rejected": (ANSWER,)} if kind == "preference" else {})
    )
    kept = trainer_keeps(FORMATS["sharegpt"].write(found), kind == "preference")
    reason = objection("sharegpt", found, kind)
    assert (reason is None) == kept
    assert reason in (None, "role-order", "even-length" if kind == "preference" else "odd-length")


PAIR = {"chosen": (ANSWER,), "rejected": (ANSWER,)}


@pytest.mark.parametrize(
    ("format", "kind", "found", "reason"),
    [
        ("sharegpt", "answers", record(SYSTEM, USER, ANSWER), None),
        ("sharegpt", "answers", record(USER), "odd-length"),
        ("sharegpt", "answers", record(USER, SYSTEM), "role-order"),
        ("sharegpt", "answers", record(USER, **PAIR), "preference-row"),
        ("sharegpt", "preference", record(USER, **PAIR), None),
        ("sharegpt", "preference", record(USER, ANSWER, **PAIR), "even-length"),
        ("alpaca", "answers", record(USER), None),
        ("alpaca", "answers", record(USER, **PAIR), "preference-row"),
        ("alpaca", "preference", record(USER, **PAIR), None),
        ("messages", "answers", record(ANSWER, ANSWER, **PAIR), None),
    ],
)
def test_rows_are_left_out_for_a_trainers_reason(format: str, kind: Kind, found: Record, reason: str | None) -> None:
    assert objection(format, found, kind) == reason


@pytest.mark.parametrize("kind", ["preference", "verdicts", "answers"])
def test_dataset_info_names_the_columns_that_the_files_have(tmp_path: Path, kind: str) -> None:
    records = {
        "preference": [record(USER, **PAIR), record(USER, ANSWER, USER, **PAIR)],
        "verdicts": [record(USER, ANSWER, label=True), record(USER, ANSWER, label=False, tools="[]")],
        "answers": [record(SYSTEM, USER, ANSWER), record(USER, ANSWER, label=True)],
    }[kind]
    export(tmp_path, records, facts={"recipe": "my set.yaml"})
    info = json.loads((tmp_path / "export" / "dataset_info.json").read_text())
    assert list(info) == ["my-set_alpaca", "my-set_sharegpt", "my-set_messages"]
    for entry in info.values():
        assert entry.get("ranking", False) == (kind == "preference")
        columns = {name for row in load(tmp_path, entry["file_name"]) for name in row}
        assert set(entry["columns"].values()) <= columns
        assert ("kto_tag" in entry["columns"]) == (kind == "verdicts")
        assert {"chosen", "rejected"} <= set(entry["columns"]) or kind != "preference"
    assert info["my-set_alpaca"]["columns"].get("system") == ("system" if kind == "answers" else None)
    assert info["my-set_messages"]["tags"]["role_tag"] == "role"
    assert info["my-set_messages"]["formatting"] == "sharegpt"


def test_messages_with_tool_calls_are_not_described_to_a_reader_that_changes_them(tmp_path: Path) -> None:
    export(tmp_path, ODD, formats=("messages", "sharegpt"))
    assert list(json.loads((tmp_path / "export" / "dataset_info.json").read_text())) == ["dataset_sharegpt"]
    assert sorted(files(tmp_path / "export")) == sorted(
        [
            "README.md",
            "SHA256SUMS",
            "dataset_info.json",
            "manifest.json",
            "messages.jsonl",
            "plots/lengths.png",
            "plots/scores.png",
            "report.json",
            "sharegpt.json",
        ]
    )


def keywords(schema: object, inside: str = "") -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    if isinstance(schema, dict):
        for key, value in schema.items():
            if inside == "properties":
                found += keywords(value, key)
            else:
                found[(key, inside)] += 1
                found += keywords(value, "properties" if key == "properties" else inside)
    elif isinstance(schema, list):
        for item in schema:
            found += keywords(item, inside)
    return found


@pytest.mark.parametrize("name", [name for name in EXPORTS if name != "parquet"])
def test_a_rows_shape_decides_whether_its_schema_holds(name: str) -> None:
    schema = FORMATS[name].schema
    jsonschema.Draft202012Validator.check_schema(schema)
    used = keywords(schema)
    assert {key for key, _ in used} <= SHAPE_KEYWORDS
    assert {column for key, column in used if key == "enum"} <= VALUE_KEYS
    assert all(n <= 2 for n in counts(schema))


def counts(schema: object) -> list[int]:
    if isinstance(schema, dict):
        own = [value for key, value in schema.items() if key in ("minItems", "maxItems")]
        return own + [n for value in schema.values() for n in counts(value)]
    return [n for item in schema for n in counts(item)] if isinstance(schema, list) else []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["from", "value", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.fixed_dictionaries({"conversations": JSON}), min_size=2, max_size=8))
def test_the_quick_check_says_what_the_schema_says(rows: list[dict[str, object]]) -> None:
    valid = [
        {"conversations": [{"from": "human", "value": "a"}]},
        {"conversations": [{"from": "narrator", "value": "a"}]},
    ]
    check, validator = RowCheck(FORMATS["sharegpt"].schema), jsonschema.Draft202012Validator(FORMATS["sharegpt"].schema)
    for row in [*valid, *rows, *valid]:
        if validator.is_valid(row):
            check.check(row)
        else:
            with pytest.raises(AssertionError, match="breaks its schema"):
                check.check(row)


def test_texts_do_not_enter_a_shape_but_roles_do() -> None:
    assert shape({"value": "a"}) == shape({"value": "b"}) != shape({"value": 1})
    assert shape({"from": "human"}) != shape({"from": "gpt"})
    assert shape([1, 2, 3]) == shape([1, 2, 3, 4]) != shape([1, 2])
