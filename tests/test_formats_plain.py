"""Plain rows read in stretches: the same records, ids, drops and bytes as the careful readers give."""

import json
import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline import convert as conversion
from pipeline.bulk import json_rows
from pipeline.bulk.flat_json import Layout
from pipeline.bulk.json_rows import Member, source_ids, written
from pipeline.convert import convert
from pipeline.errors import SeedmillError
from pipeline.formats import FORMATS, plain, recognised
from pipeline.formats.plain import COLUMNS, Plain
from pipeline.formats.reading import blocks, examples
from pipeline.record import Message, source_id
from pipeline.stage import Stream
from pipeline.stages import read as stage
from pipeline.stages.read import Read
from tests.doubles import lend

REAL = Path(os.environ.get("REAL_DATA", "."))
real = pytest.mark.skipif("REAL_DATA" not in os.environ, reason="REAL_DATA is not set")

ODD = [
    *'aZ "\\/\b\f\n\r\t\x00\x1f\x7f',
    "é",
    "山",
    "\u2028",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "𝄞",
    "\ufeff",
    "{",
    "}",
    "[",
    ",",
    ":",
]
TEXTS = st.one_of(st.just(""), st.text(st.sampled_from(ODD), max_size=30), st.text(max_size=20))
ROWS = st.fixed_dictionaries(dict.fromkeys(COLUMNS, TEXTS))
SOME = st.lists(ROWS, min_size=1, max_size=5)

BROKEN = [
    b'{"instruction": "a", "input": "", "output": "b"',
    b'{"instruction": "a" "input": "", "output": "b"}',
    b'{"instruction": "a", "input": null, "output": "b"}',
    b'{"instruction": "a", "input": 3, "output": "b"}',
    b'{"instruction": "Human:a\\nAssistant:", "input": "", "output": "b"}',
    b'{"instruction": "\\u0048uman: a", "input": "", "output": "b"}',
    b'{"instruction": " <user>: a", "input": "", "output": "b"}',
    b'{"instruction": "", "input": "User: a", "output": "b"}',
    b'{"instruction": "a", "input": "", "output": "b", "output": "c"}',
    b'{"instruction": "a", "input": "", "output": "b", "more": 1}',
    b'{"output": "b", "input": "", "instruction": "a"}',
    b'{"instruction": "\\ud800", "input": "", "output": "b"}',
    b'{"instruction": "\\udc00\\ud800", "input": "", "output": "b"}',
    b'{"instruction": "\\ud800\\u0041", "input": "", "output": "b"}',
    b'{"instruction": "\\x41", "input": "", "output": "b"}',
    b'{"instruction": "\\u00g1", "input": "", "output": "b"}',
    b'{"instruction": "a\tb", "input": "", "output": "b"}',
    b'{"instruction": "\xff", "input": "", "output": "b"}',
    b'{"instruction": "\xed\xa0\x80", "input": "", "output": "b"}',
    b'{"instruction": "\xc0\xaf", "input": "", "output": "b"}',
    b'{"instruction": "\xf4\x90\x80\x80", "input": "", "output": "b"}',
    b'{"instruction": "\xe5\xb1", "input": "", "output": "b"}',
    b'{"\\u0069nstruction": "escaped key", "input": "", "output": "b"}',
    b'{"instruction": "a",\n "input": "",\r\n\t"output": "b"}',
    b'{"instruction": "\\ud834\\udd1e \\u00E9\\/\\b\\f", "input": "\\n", "output": "\\"\\\\"}',
    b"{}",
    b"[]",
    b"null",
    b"",
    b"\xef\xbb\xbf",
    b'{"instruction": "a", "input": "", "output": "b"} {"instruction": "a", "input": "", "output": "b"}',
    b'{"instruction": "a", "input": "", "output": "b"},',
    b'"instruction"',
    b"nonsense",
    b"]",
    b"[" * 300,
]


def careful(patch: pytest.MonkeyPatch) -> None:
    """Have everything read row by row."""
    patch.setattr(stage, "blocks", examples)
    patch.setattr(conversion, "blocks", examples)


def outcome(path: Path) -> tuple[Any, ...]:
    try:
        parts = list(Read(data=(str(path),)).run(Stream(()), lend()))
    except SeedmillError as error:
        return (str(error),)
    return tuple(pl.concat([getattr(part, name) for part in parts]).to_dicts() for name in ("kept", "drops"))


def both_ways(path: Path) -> tuple[Any, ...]:
    fast = outcome(path)
    with pytest.MonkeyPatch.context() as patch:
        careful(patch)
        assert outcome(path) == fast
    return fast


def as_json(rows: list[dict[str, str]], ascii: bool) -> list[bytes]:
    return [json.dumps(row, ensure_ascii=ascii).encode("utf-8", "surrogatepass") for row in rows]


PIECES = st.lists(st.one_of(ROWS.map(lambda row: json.dumps(row).encode()), st.sampled_from(BROKEN)), max_size=12)


MARKED = st.lists(
    st.sampled_from(["Human:", "Assistant:", "<user>:", "<bot>:", "User:", "System:", "###", " ", "\n", "a"]),
    max_size=6,
).map("".join)


@given(st.fixed_dictionaries(dict.fromkeys(COLUMNS, MARKED)))
def test_what_another_format_may_claim_is_not_plain(row: dict[str, str]) -> None:
    if recognised(row) is not FORMATS["alpaca"]:
        assert any(row[name].startswith(head) for name, some in plain.PACKED.items() for head in some)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(ROWS, min_size=1, max_size=5),
    PIECES,
    st.booleans(),
    st.sampled_from([b",", b",\n", b", \r\n\n ", b"\n", b" "]),
)
def test_an_array_is_read_as_the_careful_reader_does(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, str]],
    pieces: list[bytes],
    ascii: bool,
    between: bytes,
) -> None:
    path = tmp_path_factory.mktemp("array") / "rows.json"
    path.write_bytes(b"[" + between.join([*as_json(rows, ascii), *pieces, *as_json(rows, ascii)]) + b"\n]\n")
    both_ways(path)
    path.write_bytes(b" [\n" + b",".join([*pieces, *as_json(rows, ascii)]))
    both_ways(path)


@example(
    rows=[{"instruction": "", "input": "", "output": ""}],
    pieces=[b'{"instruction": "\xff", "input": "", "output": "b"}', b"[]"],
    ascii=False,
    between=b"\n",
)
@example(
    rows=[{"instruction": "", "input": "", "output": ""}],
    pieces=[b'{"instruction": "a", "input": "", "output": "b", "output": "c"}', b"nonsense"],
    ascii=False,
    between=b"\n",
)
@settings(max_examples=120, deadline=None)
@given(
    st.lists(ROWS, min_size=1, max_size=5), PIECES, st.booleans(), st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n\t"])
)
def test_lines_are_read_as_the_careful_reader_does(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, str]],
    pieces: list[bytes],
    ascii: bool,
    between: bytes,
) -> None:
    path = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    path.write_bytes(between.join([*as_json(rows, ascii), *pieces, *as_json(rows, ascii)]))
    both_ways(path)
    path.write_bytes(between.join([*pieces, *as_json(rows, ascii), b""]))
    both_ways(path)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda piece: repr(piece[:40]))
@pytest.mark.parametrize("span", [64, 4 << 20])
def test_each_kind_of_broken_row_in_the_middle(
    broken: bytes, span: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "_SPAN", span)
    rows = [{"instruction": f"Say {n}. 说", "input": "x" * (n % 3), "output": "y" * n} for n in range(60)]
    for name, start, between, end in (("rows.json", b"[\n", b",\n", b"\n]"), ("rows.jsonl", b"", b"\n", b"\n")):
        path = tmp_path / name
        path.write_bytes(start + between.join([*as_json(rows[:40], False), broken, *as_json(rows[40:], True)]) + end)
        both_ways(path)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, st.one_of(TEXTS, st.none()))), min_size=1, max_size=9))
def test_parquet_is_read_as_the_careful_reader_does(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str | None]]
) -> None:
    path = tmp_path_factory.mktemp("parquet") / "rows.parquet"
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        columns = {name: pa.array([row[name] for row in rows]).cast(pa.string()).cast(kind) for name in COLUMNS}
        pq.write_table(pa.table(columns), path, row_group_size=4)
        both_ways(path)


def test_parquet_text_that_is_not_utf8_is_left_to_the_careful_reader(tmp_path: Path) -> None:
    column = pa.array([b"fine", b"\xff\xfe"], pa.binary())
    broken = pa.StringArray.from_buffers(2, *column.buffers()[1:])
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"instruction": ["a", "b"], "input": ["", ""], "output": broken}), path)
    _, drops = both_ways(path)
    assert [drop["reason"] for drop in drops] == ["damaged-file"]


@settings(max_examples=200, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=8), st.booleans())
@example([{"instruction": '\x1f\x7f"\\', "input": "", "output": ""}], True)
def test_ids_and_json_are_those_of_python(rows: list[dict[str, str]], many: bool) -> None:
    frame = pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_WORTH_COMPILING", 0 if many else 2_000)
        ids, digests = source_ids(*(frame[name] for name in COLUMNS))
    for row, id, digest in zip(rows, ids, digests, strict=True):
        answer = (Message(role="assistant", content=row["output"]),) if row["output"] else ()
        messages = (Message(role="user", content=row["instruction"]), *answer)
        assert id == source_id(messages, row["input"] or None, None) == digest.hex()
    heads = (b'{"instruction": ', b', "input": ', b', "output": ')
    text, ends = written([Member(frame[n], head) for n, head in zip(COLUMNS, heads, strict=True)], b"}\n")
    ordered = ({name: row[name] for name in COLUMNS} for row in rows)
    lines = [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ordered]
    assert bytes(text) == b"".join(lines)
    assert ends.tolist() == [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]
    assert len(blake2b(b"", digest_size=10).digest()) == len(digests[0])


@settings(max_examples=200, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=6), st.booleans(), st.integers(0, 200))
def test_a_scan_stops_where_what_it_may_read_ends(rows: list[dict[str, str]], ascii: bool, cut: int) -> None:
    lines = [line + b"\n" for line in as_json([{name: row[name] for name in COLUMNS} for row in rows], ascii)]
    data = b"".join(lines)
    stop = max(0, len(data) - cut)
    found, after, passed = Layout(COLUMNS, True, {}).scan(data, 0, stop)
    whole = [row for n, row in enumerate(rows) if sum(map(len, lines[: n + 1])) - 1 <= stop]
    assert pl.DataFrame(found).rows() == [tuple(row[name] for name in COLUMNS) for row in whole]
    assert passed == data.count(b"\n", 0, after)
    assert after == min(sum(map(len, lines[: len(whole)])), stop)


def test_repeats_across_stretches_and_careful_rows_are_numbered_in_order(tmp_path: Path) -> None:
    row = {"instruction": "Go.", "input": "", "output": "Gone."}
    odd = {**row, "input": None}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in [row, row, odd, row, {**row, "output": ""}, row]))
    kept, _ = both_ways(path)
    parts = ((Message(role="user", content="Go."), Message(role="assistant", content="Gone.")), None, None)
    assert [k["id"] for k in kept if len(k["messages"]) == 2] == [source_id(*parts, n) for n in range(5)]


def test_a_limit_cuts_a_stretch(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"instruction": str(n), "input": "", "output": "x"}) + "\n" for n in range(9)))
    (found,) = Read(data=(str(path), str(path)), limit=4).run(Stream(()), lend())
    assert [messages[0]["content"] for messages in found.kept["messages"]] == ["0", "1", "2", "3"]


def test_plain_rows_really_come_in_stretches_around_what_is_not(tmp_path: Path) -> None:
    rows = [json.dumps({"instruction": str(n), "input": "", "output": "x"}) for n in range(500)]
    for name, text in (
        ("a.json", "[" + ",\n".join([*rows, "{oops", *rows]) + "]"),
        ("a.jsonl", "\n".join([*rows, "{oops", *rows])),
    ):
        (tmp_path / name).write_text(text)
        kinds = [
            (type(item).__name__, item.rows.height if isinstance(item, Plain) else 1)
            for item in blocks(tmp_path / name)
        ]
        assert kinds[:2] == [("Plain", 500), ("Unreadable", 1)]
        assert sum(count for kind, count in kinds if kind == "Plain") > 990


def test_a_file_with_hardly_a_stretch_is_not_tried_at_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = 0
    scan = Layout.scan

    def counted(self: Layout, *arguments: Any) -> Any:
        nonlocal scans
        scans += 1
        return scan(self, *arguments)

    monkeypatch.setattr(Layout, "scan", counted)
    rows = [json.dumps({"instruction": str(n), "input": None if n else "", "output": "x"}) for n in range(3_000)]
    for name, text in (("a.json", "[" + ",".join(rows) + "]"), ("a.jsonl", "\n".join(rows))):
        scans = 0
        (tmp_path / name).write_text(text)
        assert sum(1 for _ in blocks(tmp_path / name)) == 3_000
        assert scans < 40


def conversions(source: Path, folder: Path) -> Iterator[bytes]:
    for name in ("out.json", "out.jsonl", "out.parquet", "out.jsonl.gz"):
        convert(source, "alpaca", folder / name)
        yield (folder / name).read_bytes()
        drops = folder / f"{name}.drops.jsonl"
        yield drops.read_bytes() if drops.exists() else b""


@pytest.mark.parametrize("middle", [b"", b'{"instruction": "a", "input": null, "output": "b"},', b"{oops,"])
def test_a_conversion_gives_the_same_bytes(middle: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = as_json(
        [{"instruction": f"说 {n}\n", "input": "\x01" * (n % 2), "output": '"' * n} for n in range(50)], False
    )
    source = tmp_path / "rows.json"
    source.write_bytes(b"[" + b",".join(rows) + b"," + middle + b",".join(rows) + b"]")
    fast = list(conversions(source, tmp_path))
    careful(monkeypatch)
    assert list(conversions(source, tmp_path)) == fast


@real
@pytest.mark.parametrize(
    "name", ["alpaca_data.json", "llamafactory_alpaca_zh_demo.json", "alpaca_zh_translated_00000_03252.json"]
)
def test_real_files_are_read_alike(name: str) -> None:
    both_ways(REAL / name)
