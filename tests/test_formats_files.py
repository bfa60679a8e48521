"""Files of every container, whole and damaged: rows before and after the damage, and a drop with its line."""

import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError, UsageError
from pipeline.formats.elements import Unreadable
from pipeline.formats.files import expand
from pipeline.formats.reading import PATIENCE, Example, examples, format_named
from pipeline.formats.writing import write_rows
from pipeline.stage import Stream, merged
from pipeline.stages.read import Read
from tests.doubles import lend

A, B, C = ({"instruction": text, "input": "", "output": text.upper()} for text in "abc")
TA, TB, TC = (json.dumps(row) for row in (A, B, C))
ROWS = [A, B, C]
NOISY = json.dumps({"instruction": random.Random(1).randbytes(5_000).hex(), "output": ""})
PRETTY = json.dumps(ROWS, indent=4)


def read(path: Path) -> tuple[str, list[tuple[str, int]]]:
    """The instructions that could be read, joined, and reason and line of what could not."""
    kept, drops = "", []
    for item in examples(path):
        if isinstance(item, Example):
            kept += "".join(fields["messages"][0].content for fields in item.records)
        else:
            drops.append((item.reason, item.line))
            assert item.error.encode("utf-8")
            item.raw.encode("utf-8")
            assert len(item.raw) <= 2_000
    return kept, drops


def parquet_bytes(rows: list[dict[str, object]], **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, **options)
    return sink.getvalue().to_pybytes()


WHOLE = {
    "array": PRETTY.encode(),
    "compact array": json.dumps(ROWS).encode(),
    "lines": f"{TA}\n{TB}\n{TC}\n".encode(),
    "lines without the last line break": f"{TA}\n{TB}\n{TC}".encode(),
    "lines of Windows": f"{TA}\r\n{TB}\r\n{TC}\r\n".encode(),
    "blank lines between": f"\n{TA}\n\n  \n{TB}\n{TC}\n\n".encode(),
    "array with a BOM": b"\xef\xbb\xbf" + PRETTY.encode(),
    "lines with a BOM": b"\xef\xbb\xbf" + f"{TA}\n{TB}\n{TC}\n".encode(),
    "joined files, each with a BOM": b"".join(b"\xef\xbb\xbf" + f"{t}\n".encode() for t in (TA, TB, TC)),
    "array in gzip": gzip.compress(PRETTY.encode()),
    "lines in gzip": gzip.compress(f"{TA}\n{TB}\n{TC}\n".encode()),
    "object around": json.dumps({"version": 1, "data": ROWS, "tags": ["x"]}).encode(),
    "object around, on lines": json.dumps({"data": ROWS}, indent=2).encode(),
    "object around, one row a line": ('{"data": [\n' + f"{TA},\n{TB},\n{TC}\n" + "]}").encode(),
    "objects over many lines": "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
    "array without commas": f"[{TA}\n{TB} {TC}]".encode(),
    "array with a comma too many": f"[{TA}, {TB}, {TC},]".encode(),
    "parquet": parquet_bytes(ROWS),
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet", ".txt", ".gz"])
@pytest.mark.parametrize("content", WHOLE.values(), ids=WHOLE.keys())
def test_a_whole_file_is_read_whatever_its_name(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    path.write_bytes(content)
    assert read(path) == ("abc", [])


def test_one_object_is_one_row_when_it_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    for text in (TA, json.dumps(A, indent=2), json.dumps({"conversations": [{"from": "human", "value": "a"}]})):
        path.write_text(text)
        assert read(path) == ("a", [])


BROKEN: dict[str, tuple[bytes, str, list[tuple[str, int]]]] = {
    "array cut inside a row": (PRETTY[: PRETTY.index('"c"') + 1].encode(), "ab", [("malformed-json", 12)]),
    "array cut between rows": (f"[{TA},\n{TB},\n".encode(), "ab", [("malformed-json", 3)]),
    "array cut after its bracket": (b"[\n", "", [("malformed-json", 2)]),
    "more after the array": (f"[{TA}]\n{TB}\n".encode(), "a", [("malformed-json", 2)]),
    "broken row in an array": (PRETTY.replace('"b",', '"b" oops', 1).encode(), "ac", [("malformed-json", 7)]),
    "broken row in a compact array": (
        f'[{TA}, {{"instruction": "b" "input": ""}}, {TC}]'.encode(),
        "ac",
        [("malformed-json", 1)],
    ),
    "unclosed text in an array": (
        f'[\n{TA},\n{{"instruction": "b, "input": ""}},\n{TC}\n]'.encode(),
        "ac",
        [("malformed-json", 3)],
    ),
    "broken first row": (f'[{{"instruction": oops}},\n{TB}]'.encode(), "b", [("malformed-json", 1)]),
    "broken nested rows": (
        b'[{"conversations": [{"from": "human", "value": "a"}]},\n'
        b'{"conversations": [{"from": "human", "value": oops}, {"from": "gpt", "value": "x"}]},\n'
        b'{"conversations": [{"from": "human", "value": "c"}]}]',
        "ac",
        [("malformed-json", 2)],
    ),
    "a broken line": (f"{TA}\n{{oops\n{TC}\n".encode(), "ac", [("malformed-json", 2)]),
    "a broken first line": (f"{TA[:-5]}\n{TB}\n{TC}\n".encode(), "bc", [("malformed-json", 1)]),
    "a line cut at the end": (f"{TA}\n{TB}\n{TC[:-5]}".encode(), "ab", [("malformed-json", 3)]),
    "two values on a line": (f"{TA} {TB}\n{TC}\n".encode(), "c", [("malformed-json", 1)]),
    "words before the rows": (f"# my data\n{TA}\n{TB}\n".encode(), "ab", [("malformed-json", 1)]),
    "one cut line": (TA[:-5].encode(), "", [("malformed-json", 1)]),
    "a raw control character": (
        f'{TA}\n{{"instruction": "b\tb", "output": ""}}\n'.encode(),
        "a",
        [("malformed-json", 2)],
    ),
    "single quotes": (f"{TA}\n{B}\n{TC}\n".encode(), "ac", [("malformed-json", 2)]),
    "bad UTF-8 in a line": (
        f"{TA}\n".encode() + b'{"instruction": "\xff\xfe"}\n' + TC.encode(),
        "ac",
        [("bad-utf8", 2)],
    ),
    "bad UTF-8 in an array": (
        f"[{TA},\n".encode() + b'{"instruction": "\xe4\xb8"},\n' + f"{TC}]".encode(),
        "ac",
        [("bad-utf8", 2)],
    ),
    "bad UTF-8 breaks an array": (
        f"[{TA},\n".encode() + b'{"instruction": \xe4},\n' + f"{TC}]".encode(),
        "ac",
        [("bad-utf8", 2)],
    ),
    "NaN": (f'[{TA},\n{{"instruction": "b", "output": "", "loss": NaN}},\n{TC}]'.encode(), "ac", [("not-finite", 2)]),
    "Infinity in a line": (
        f'{TA}\n{{"instruction": "b", "loss": -Infinity}}\n{TC}'.encode(),
        "ac",
        [("not-finite", 2)],
    ),
    "a number beyond a double": (
        f'{TA}\n{{"instruction": "b", "loss": 1e999}}\n{TC}'.encode(),
        "ac",
        [("not-finite", 2)],
    ),
    "a key twice": (
        f'[{TA},\n{{"instruction": "b", "instruction": "x"}},\n{TC}]'.encode(),
        "ac",
        [("duplicate-key", 2)],
    ),
    "a key twice, deep inside": (
        b'{"messages": [{"role": "user", "content": "a", "content": "b"}]}\n' + TB.encode(),
        "b",
        [("duplicate-key", 1)],
    ),
    "a key twice that cannot be shown": (
        f'{TA}\n{{"\\ud800": 1, "\\ud800": 2}}\n{TC}'.encode(),
        "ac",
        [("duplicate-key", 2)],
    ),
    "a key twice that is not UTF-8": (
        f"[{TA},\n".encode() + b'{"\xff": 1, "\xff": 2},\n' + f"{TC}]".encode(),
        "ac",
        [("bad-utf8", 2)],
    ),
    "a number of 5,000 digits": (
        f'[{TA},\n{{"instruction": "b", "n": {"7" * 5000}}},\n{TC}]'.encode(),
        "ac",
        [("huge-number", 2)],
    ),
    "200 brackets": (
        f'{TA}\n{{"instruction": "b", "x": {"[" * 200}{"]" * 200}}}\n{TC}'.encode(),
        "ac",
        [("too-deep", 2)],
    ),
    "100,000 brackets": (
        f'{TA}\n{{"instruction": "b", "x": {"[" * 100_000}{"]" * 100_000}}}\n{TC}'.encode(),
        "ac",
        [("too-deep", 2)],
    ),
    "100,000 brackets in an array": (
        f'[{TA},\n{{"instruction": "b", "x": {"[" * 100_000}{"]" * 100_000}}},\n{TC}]'.encode(),
        "ac",
        [("too-deep", 2)],
    ),
    "100,000 open objects": (b'{"x":' * 100_000, "", [("too-deep", 1)]),
    "half a surrogate pair": (f'{TA}\n{{"instruction": "\\ud83d"}}\n{TC}'.encode(), "ac", [("lone-surrogate", 2)]),
    "half a pair as a key": (
        f'[{TA},\n{{"instruction": "b", "\\uDE00": 1}},\n{TC}]'.encode(),
        "ac",
        [("lone-surrogate", 2)],
    ),
    "rows that are no objects": (f'[{TA}, "b", 3, null, [1], {TC}]'.encode(), "ac", [("wrong-type", 1)] * 4),
    "lines that are no objects": (f"{TA}\n[1, 2]\n7\n{TC}".encode(), "ac", [("wrong-type", 2), ("wrong-type", 3)]),
    "an instruction that is a number": (
        f'{TA}\n{{"instruction": 5, "output": ""}}\n{TC}'.encode(),
        "ac",
        [("wrong-type", 2)],
    ),
    "a row of another shape": (f'{TA}\n{{"question": "b"}}\n{TC}'.encode(), "ac", [("unknown-shape", 2)]),
    "object around, cut": (json.dumps({"data": ROWS}, indent=1)[:-30].encode(), "ab", [("malformed-json", 13)]),
    "object around, cut after the rows": (f'{{"data": [{TA},{TB}], "x": '.encode(), "ab", [("malformed-json", 1)]),
    "object around, a row broken": (
        f'{{"data": [{TA},\n{{"instruction": b}},\n{TC}], "n": 1}}'.encode(),
        "ac",
        [("malformed-json", 2)],
    ),
    "objects over many lines, one broken": (
        "\n".join(json.dumps(row, indent=1) for row in ROWS).replace('"b"', "b", 1).encode(),
        "ac",
        [("malformed-json", 6)],
    ),
    "lines in gzip, cut": (gzip.compress(f"{TA}\n{NOISY}\n{TC}".encode())[:-200], "a", [("damaged-file", 2)]),
    "array in gzip, cut": (
        gzip.compress(f"[{TA},\n{NOISY},\n{TC}]".encode())[:-200],
        "a",
        [("malformed-json", 2), ("damaged-file", 2)],
    ),
    "gzip with a wrong checksum": (
        gzip.compress(f"{TA}\n{TB}\n".encode())[:-8] + b"\0" * 8,
        "ab",
        [("damaged-file", 3)],
    ),
    "array in gzip with a wrong checksum": (
        gzip.compress(PRETTY.encode())[:-8] + b"\0" * 8,
        "abc",
        [("damaged-file", 17)],
    ),
    "parquet with null and bytes": (
        parquet_bytes([{**A, "blob": None}, {**B, "instruction": None}, {**C, "blob": b"\xff"}]),
        "a",
        [("wrong-type", 2), ("wrong-type", 3)],
    ),
}


@pytest.mark.parametrize(("content", "kept", "drops"), BROKEN.values(), ids=BROKEN.keys())
def test_damage_costs_only_what_is_damaged(
    tmp_path: Path, content: bytes, kept: str, drops: list[tuple[str, int]]
) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content)
    assert read(path) == (kept, drops)


@pytest.mark.parametrize("cut", range(1, len(PRETTY), 7))
def test_an_array_cut_anywhere_gives_the_rows_before_and_one_drop(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "data.json"
    path.write_text(PRETTY[:cut])
    whole = PRETTY[:cut].count("}")
    assert read(path) == ("abc"[:whole], [("malformed-json", PRETTY[:cut].count("\n", 0, _damage(cut)) + 1)])


def _damage(cut: int) -> int:
    """Where the row begins that a cut falls into, or the cut itself between rows."""
    last_open, last_close = PRETTY.rfind("{", 0, cut), PRETTY.rfind("}", 0, cut)
    return last_open if last_open > last_close else cut


PIECES = [b"{", b"[", b'"', b"\\", b"\xff", b"\\ud800", b"NaN", b"\n", b",", b"}", b"]", b"1e999", b"\0"]


def mutated(content: bytes, random: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 5])):
        place = random.randrange(len(data) + 1)
        match random.randrange(4):
            case 0:
                data[place : place + 1] = random.randbytes(1)
            case 1:
                del data[place:]
            case 2:
                del data[place : place + random.randrange(1, 9)]
            case _:
                data[place:place] = random.choice(PIECES)
    return bytes(data)


@pytest.mark.parametrize("name", WHOLE)
def test_any_damage_is_drops_or_a_sentence_and_can_be_stored(tmp_path: Path, name: str) -> None:
    path, generator, sentences = tmp_path / "data.json", random.Random(name), list[DataError]()
    for _ in range(25):
        path.write_bytes(mutated(WHOLE[name], generator))
        try:
            outcome = merged(list(Read(data=(str(path),)).run(Stream(()), lend())))
        except DataError as error:
            sentences.append(error)
            continue
        assert outcome.derived == outcome.kept.height + outcome.drops.height > 0
        outcome.kept.write_parquet(tmp_path / "kept")
        outcome.drops.write_parquet(tmp_path / "drops")
    assert all(error.message.startswith(str(path)) and error.hint for error in sentences)


def test_a_damaged_piece_is_shown_from_its_first_character(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(f"[{TA},\n  ".encode() + b'{"instruction": "\xff' + b"x" * 5_000 + b'"}]')
    (_, found) = examples(path)
    assert isinstance(found, Unreadable)
    assert found.raw.startswith('{"instruction": "\\xff' + "x" * 100)


def test_a_damaged_parquet_file_gives_its_rows_before_the_damage(tmp_path: Path) -> None:
    rows = [{"instruction": f"{i:06d}" * 20, "output": os.urandom(40).hex()} for i in range(12_000)]
    content = bytearray(parquet_bytes(rows, row_group_size=4_000))
    path = tmp_path / "data.parquet"
    path.write_bytes(content)
    start = pq.ParquetFile(path).metadata.row_group(2).column(1).data_page_offset
    content[start : start + 3_000] = b"\xff" * 3_000
    path.write_bytes(content)
    found = list(examples(path))
    assert [item.reason for item in found if isinstance(item, Unreadable)] == ["damaged-file"]
    kept = [item.records[0]["messages"][0].content for item in found if isinstance(item, Example)]
    assert len(kept) >= 8_000
    assert kept == [row["instruction"] for row in rows[: len(kept)]]
    assert found[-1].line == len(kept) + 1


def test_parquet_columns_of_other_types_are_kept_as_json(tmp_path: Path) -> None:
    import datetime

    table = pa.table(
        {
            "messages": [[{"role": "user", "content": "a", "name": None}]],
            "score": [float("nan")],
            "when": [datetime.date(2024, 1, 2)],
            "none": pa.array([None], pa.string()),
        }
    )
    pq.write_table(table, tmp_path / "data.parquet")
    (found,) = examples(tmp_path / "data.parquet")
    assert isinstance(found, Example)
    assert found.records[0]["messages"][0].name is None
    assert json.loads(found.records[0]["extra"] or "") == {"score": None, "when": "2024-01-02", "none": None}


def make_directory(path: Path) -> None:
    path.mkdir()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


HOPELESS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing": (lambda path: None, "no such file", "check the path"),
    "a directory": (make_directory, "is a directory", "*.jsonl"),
    "a pipe": (make_fifo, "is not a regular file", "write its content to a file"),
    "empty": (content(b""), "is empty", "written to its end"),
    "white space": (content(b"\xef\xbb\xbf \n\n"), "holds no rows", "written to its end"),
    "an empty array": (content(b"[]"), "holds no rows", "written to its end"),
    "an empty gzip": (content(gzip.compress(b"")), "is empty", "written to its end"),
    "half a gzip header": (content(b"\x1f\x8b\x08\x00"), "cannot be read", "fetch it again"),
    "a picture": (content(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "is a binary file", "readable are"),
    "zip": (content(b"PK\x03\x04abc"), "is a zip archive", "unpack"),
    "cut zstd": (content(b"\x28\xb5\x2f\xfdabc"), "cannot be read", "fetch it again"),
    "xz": (content(b"\xfd7zXZ\0abc"), "is xz-compressed", "unpack"),
    "UTF-16": (content(PRETTY.encode("utf-16")), "UTF-16", "iconv"),
    "CSV": (content(b"instruction,output\na,b\n"), "it begins with 'instruction,output'", "readable are"),
    "prose in Latin-1": (content("Größe".encode("latin-1")), "is not JSON", "readable are"),
    "cut parquet": (content(parquet_bytes(list(ROWS))[:-40]), "is not whole parquet", "fetch it again"),
    "an object without rows": (content(b'{"version": 1, "name": "x"}'), "no list of objects", "one a line"),
    "an object with two lists": (content(json.dumps({"train": ROWS, "test": ROWS}).encode()), "2 lists", "one list"),
    "an object whose keys are not UTF-8": (content(b'{"\xff": 1}'), "keys '\\xff'", "one a line"),
    "an object of rows": (content(json.dumps({"1": A, "2": B}).encode()), "keys '1', '2'", "JSON array"),
    "rows of no known format": (content(b'{"question": "a"}\n' * 3), "keys 'question'", "seedmill formats lists"),
}


@pytest.mark.parametrize(("make", "sentence", "hint"), HOPELESS.values(), ids=HOPELESS.keys())
def test_a_hopeless_file_is_one_sentence_with_a_next_step(
    tmp_path: Path, make: Callable[[Path], object], sentence: str, hint: str
) -> None:
    path = tmp_path / "data.json"
    make(path)
    with pytest.raises(DataError) as caught:
        list(examples(path))
    assert caught.value.message.startswith(str(path))
    assert sentence in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_file_that_may_not_be_read_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(TA)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(DataError, match="may not be read"):
        list(examples(path))


def test_a_long_file_of_no_known_format_is_given_up_early(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"question": "a"}\n' * (PATIENCE * 3))
    seen = []
    with pytest.raises(DataError, match="no known format"):
        seen.extend(examples(path))
    assert len(seen) < PATIENCE


def test_a_named_format_reads_rows_that_do_not_speak_for_it(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"instruction": "a", "response": "b"}\n{"response": "b"}\n')
    found = list(examples(path, format_named("alpaca")))
    assert [type(item) for item in found] == [Example, Unreadable]
    assert isinstance(found[1], Unreadable)
    assert (found[1].reason, found[1].field) == ("missing-field", "instruction")
    path.write_text('{"instruction": "a", "response": "b"}')
    assert [type(item) for item in examples(path, format_named("alpaca"))] == [Example]
    path.write_text(json.dumps({"data": ROWS}))
    assert [type(item) for item in examples(path, format_named("alpaca"))] == [Example] * 3
    with pytest.raises(UsageError, match="there is no format 'alpacca'") as caught:
        format_named("alpacca")
    assert "did you mean 'alpaca'?" in (caught.value.hint or "")


def test_globs_name_their_hits_in_order_and_paths_go_first(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "c.txt", "x[1].json"):
        (tmp_path / name).write_text("[]")
    (tmp_path / "d.json").mkdir()
    found = expand([str(tmp_path / "x[1].json"), str(tmp_path / "*.json")])
    assert [path.name for path in found] == ["x[1].json", "a.json", "b.json", "x[1].json"]
    with pytest.raises(DataError, match="no such file"):
        expand([str(tmp_path / "*.csv")])


@pytest.mark.parametrize("name", ["o.json", "o.jsonl", "o.json.gz", "o.jsonl.zst", "o.csv", "o.tsv.gz", "o.parquet"])
def test_what_is_written_is_read_and_equal_rows_are_equal_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert write_rows(path, iter(ROWS)) == 3
    first = path.read_bytes()
    assert read(path) == ("abc", [])
    write_rows(path, iter(ROWS))
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    write_rows(path, ROWS)

    def failing() -> object:
        yield A
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_rows(path, failing())  # type: ignore[arg-type]
    assert read(path) == ("abc", [])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["o", "o.txt", "o.gz", "o.zst", "o.parquet.gz", "o.parquet.zst"])
def test_a_name_that_tells_no_kind_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="does not tell") as caught:
        write_rows(tmp_path / name, ROWS)
    assert ".jsonl" in (caught.value.hint or "")


def test_rows_that_fit_no_table_and_places_that_do_not_exist_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="do not fit into one table"):
        write_rows(tmp_path / "o.parquet", [{"a": 1}, {"a": "x"}])
    with pytest.raises(UsageError, match="cannot be written"):
        write_rows(tmp_path / "nowhere" / "o.json", ROWS)
    assert list(tmp_path.iterdir()) == []
