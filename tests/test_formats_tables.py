"""Tables, compressed files and pages: what comes back, and what damage costs."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.formats.elements import Unreadable
from pipeline.formats.reading import Example, examples
from pipeline.formats.tables import MOST_DAMAGE, MOST_LINES, comes_back
from pipeline.formats.writing import write_rows
from tests.conversations import TEXT

HEADER = "instruction,input,output\n"


def read(path: Path) -> tuple[str, list[tuple[str, int]]]:
    """The instructions that could be read, joined, and reason and line of what could not."""
    kept, drops = "", []
    for item in examples(path):
        if isinstance(item, Example):
            kept += "".join(fields["messages"][0].content for fields in item.records)
        else:
            assert isinstance(item, Unreadable)
            drops.append((item.reason, item.line))
            assert item.error.encode()
            item.raw.encode()
    return kept, drops


WHOLE = {
    "plain": b"instruction,input,output\na,,A\nb,x,B\n",
    "of Windows, with a BOM": b"\xef\xbb\xbfinstruction,input,output\r\na,,A\r\nb,x,B",
    "quoted": b'"instruction","input","output"\n"a","","A, ""so""\nand on"\nb,,B\n',
    "with blank lines": b"instruction,input,output\n\na,,A\n\n\nb,,B\n",
    "semicolons": "instruction;input;output\na;;A\nb;x;Größe\n".encode(),
    "tabs": b"instruction\tinput\toutput\na\t\tA\nb\tx\tB\n",
    "in gzip": gzip.compress(b"instruction,input,output\na,,A\nb,x,B\n"),
}


@pytest.mark.parametrize("content", WHOLE.values(), ids=WHOLE.keys())
def test_a_whole_table_is_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    assert read(path) == ("ab", [])


def test_json_in_a_file_that_is_called_a_table_is_read_as_json(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('{"instruction": "a", "output": "b"}\n')
    assert read(path) == ("a", [])


BROKEN = {
    "a cell too many": ("a,,A\nb,x,B,more\nc,,C\n", "ac", [("malformed-csv", 3)]),
    "a cell too few": ("a,,A\nb,x\nc,,C\n", "ac", [("malformed-csv", 3)]),
    "more after a quoted cell": ('a,,A\nb,"x"y,B\nc,,C\n', "ac", [("malformed-csv", 3)]),
    "a quote that is not closed": ('a,,A\nb,"x,B\nc,,C\n', "ac", [("malformed-csv", 3)]),
    "rows over several lines, then damage": ('a,,"A\n\nA"\nb,"x,B\nc,,C\n', "ac", [("malformed-csv", 5)]),
    "an answer that is no text of a row": ("a,,A\n,,B\nc,,C\n", "ac", []),
}


@pytest.mark.parametrize(("text", "kept", "drops"), BROKEN.values(), ids=BROKEN.keys())
def test_damage_costs_the_row_that_is_damaged(tmp_path: Path, text: str, kept: str, drops: list[object]) -> None:
    path = tmp_path / "data.csv"
    path.write_text(HEADER + text, newline="")
    assert read(path) == (kept, drops)


def test_bytes_that_are_not_utf8_cost_their_row(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(HEADER.encode() + b"a,,A\nb,,\xff\nc,,C\n")
    assert read(path) == ("ac", [("bad-utf8", 3)])


def test_columns_of_messages_are_json_and_damage_in_them_is_a_drop(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    turns = json.dumps([{"role": "user", "content": "a"}]).replace('"', '""')
    path.write_text(f'messages,id\n"{turns}",1\n"[{{",2\n"{turns}",3\n')
    assert read(path) == ("aa", [("bad-json-text", 3)])


def test_open_quotes_cost_bounded_work(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(HEADER + 'x,"y,z\n' * (MOST_DAMAGE * 3 + 1), newline="")
    _, drops = read(path)
    assert {reason for reason, _ in drops} == {"malformed-csv"}
    assert len(drops) <= MOST_DAMAGE * 3 + 2
    path.write_text(HEADER + 'x,"y,z\n' + "line\n" * (MOST_LINES * 2) + "a,,A\n", newline="")
    kept, drops = read(path)
    assert (kept, drops[0]) == ("a", ("malformed-csv", 2))


HOPELESS = {
    "a column twice": (b"output,output\na,b\n", "has the column 'output' twice", "once"),
    "GB18030": ("指令,输出\n".encode("gb18030"), "is not UTF-8", "iconv -f GB18030"),
    "an open quote in the header": (b'"instruction,output\na,b\n', "is no header", "name the columns"),
    "no rows": (b"instruction,output\n", "holds no rows", "written to its end"),
    "columns of no known format": (b"a,b\n1,2\n", "keys 'a', 'b'", "seedmill formats"),
    "a page of something else": (b"<!DOCTYPE html><html><body>hi</body></html>", "HTML page", "sharegpt.com"),
}


@pytest.mark.parametrize(("content", "sentence", "hint"), HOPELESS.values(), ids=HOPELESS.keys())
def test_a_hopeless_table_is_one_sentence_with_a_next_step(
    tmp_path: Path, content: bytes, sentence: str, hint: str
) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(examples(path))
    assert caught.value.message.startswith(str(path))
    assert sentence in caught.value.message
    assert hint in (caught.value.hint or "")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=4), st.sampled_from([".csv", ".tsv", ".csv.zst"]))
def test_texts_of_any_kind_come_back_from_a_table(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    written = [{"instruction": a + "-", "input": b, "output": c.replace("\0", "")} for a, b, c in rows]
    written = [{key: text.replace("\0", "") for key, text in row.items()} for row in written]
    write_rows(path, written)
    found = [item for item in examples(path) if isinstance(item, Example)]
    assert [item.records[0]["messages"][0].content for item in found] == [row["instruction"] for row in written]
    assert [item.records[0]["input"] or "" for item in found] == [row["input"] for row in written]
    answers = [m.content for item in found for m in item.records[0]["messages"][1:]]
    assert answers == [row["output"] for row in written if row["output"]]


def test_json_that_is_an_answer_stays_text_and_json_that_is_messages_does_not() -> None:
    assert comes_back({"output": '{"role": "user"}', "input": "[1, 2]", "completion": "[]x", "label": True})
    assert comes_back({"prompt": [{"role": "user", "content": "q"}], "chosen": "plain", "messages": []})
    assert not comes_back({"output": "a", "id": 7})
    assert not comes_back({"output": "a", "note": ""})


def test_a_text_that_no_table_can_hold_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 2 holds a NUL"):
        write_rows(tmp_path / "o.csv", [{"output": "a"}, {"output": "a\0"}])
    assert list(tmp_path.iterdir()) == []


def test_zstd_is_read_frame_after_frame_and_its_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl.zst"
    write_rows(path, [{"instruction": "a", "output": "b"}])
    whole = path.read_bytes()
    assert whole.startswith(b"\x28\xb5\x2f\xfd")
    path.write_bytes(whole * 2)
    assert read(path) == ("aa", [])
    lines = b"".join(json.dumps({"instruction": "a", "output": str(i) * 99}).encode() + b"\n" for i in range(20_000))
    path.write_bytes(pa.Codec("zstd").compress(lines, asbytes=True)[:-500])
    kept, drops = read(path)
    assert len(kept) > 100
    assert drops[-1][0] == "damaged-file"


PAGE = """<!DOCTYPE html><html><head><title>x</title></head><body><script>var a = 1 < 2;</script>
<script id="__NEXT_DATA__" type="application/json">{data}</script></body></html>"""
CONTENT = {
    "model": "Model: GPT-4",
    "items": [
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "<p>Do <strong>this</strong>:</p><ol><li>one</li><li>two</li></ol>"},
    ],
}


def test_a_page_of_sharegpt_is_a_conversation_in_markdown(tmp_path: Path) -> None:
    path = tmp_path / "AbC.html"
    data = {"props": {"pageProps": {"id": "AbC", "views": 3, "content": CONTENT}}}
    path.write_text(PAGE.replace("{data}", json.dumps(data)))
    (found,) = examples(path)
    assert isinstance(found, Example)
    (fields,) = found.records
    assert (found.format.name, found.line) == ("openchat", 2)
    question, answer = fields["messages"]
    assert question.content == "q"
    assert "**this**" in answer.content
    assert "1. one" in answer.content
    assert "<" not in answer.content
    assert json.loads(fields["extra"] or "") == {"id": "AbC", "views": 3, "model": "Model: GPT-4"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("{oops", "malformed-json"),
        ("[]", "missing-field"),
        ('{"props": {"pageProps": {"content": {}}}}', "missing-field"),
        ('{"props": {"pageProps": {"content": {"items": [{"from": "x", "value": "a"}]}}}}', "unknown-role"),
        ('{"props": {"pageProps": {"content": {"items": []}}}}', "unknown-shape"),
    ],
)
def test_a_damaged_page_is_a_drop(tmp_path: Path, data: str, reason: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGE.replace("{data}", data))
    if reason == "unknown-shape":
        with pytest.raises(DataError, match="no known format"):
            read(path)
        return
    assert read(path) == ("", [(reason, 2)])
