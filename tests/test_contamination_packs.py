"""Benchmark files of every kind, packs made of them, and the two commands: same decisions, no text, plain errors."""

import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.__main__ import main
from pipeline.contamination.benchmark import read_benchmark
from pipeline.contamination.items import Columns, Item, items_of
from pipeline.contamination.pack import is_pack, read_pack, write_pack
from pipeline.errors import DataError, UsageError
from pipeline.formats.elements import Unreadable
from pipeline.stages.decontaminate import Decontaminate
from tests.test_stage_decontaminate import ANSWER, QUESTION, SHORT, TINY, ZH, ZH_ANSWER, bench, record, run, usual

REAL = os.environ.get("REAL_DATA")


def texts(path: Path, **columns: Any) -> list[tuple[int, tuple[str, ...], tuple[str, ...]]]:
    found = list(items_of(path, Columns(**columns)))
    return [(item.line, item.questions, item.answers) for item in found if isinstance(item, Item)]


ROWS: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]] = {
    "gsm8k": ({"question": "q", "answer": "a"}, ("q",), ("a",)),
    "mt-bench": ({"question_id": 1, "category": "c", "turns": ["q", "r"], "reference": ["a"]}, ("q", "r"), ("a",)),
    "vicuna": ({"question_id": 1, "category": "c", "text": "q"}, ("q",), ()),
    "self-instruct": ({"instruction": "q", "instances": [{"input": "i", "output": "a"}]}, ("q\ni",), ("a",)),
    "alpaca": ({"instruction": "q", "input": "i", "output": "a"}, ("q\ni",), ("a",)),
    "humaneval": ({"task_id": "H/0", "prompt": "q", "canonical_solution": "a", "test": "t"}, ("q",), ("a",)),
    "mmlu": ({"question": "q", "choices": ["x", "y"], "answer": 1}, ("q",), ()),
    "math": ({"problem": "q", "level": "5", "solution": "a"}, ("q",), ("a",)),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        ("q",),
        ("a",),
    ),
    "messages": (
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        ("q",),
        ("a",),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_as_benchmarks_have_them(tmp_path: Path, name: str) -> None:
    row, questions, answers = ROWS[name]
    assert texts(Path(bench(tmp_path, row, row))) == [(1, questions, answers), (2, questions, answers)]


def test_files_of_every_kind(tmp_path: Path) -> None:
    rows = [{"question": QUESTION, "answer": ANSWER}, {"question": ZH, "answer": ZH_ANSWER}]
    line = [json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text("\n".join(line), encoding="utf-8")
    (tmp_path / "c.json").write_text(json.dumps({"version": 1, "data": rows}), encoding="utf-8")
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress("\n".join(line).encode()))
    pl.DataFrame(rows).write_parquet(tmp_path / "e.parquet")
    pl.DataFrame(rows).write_csv(tmp_path / "f.csv")
    pl.DataFrame(rows).write_csv(tmp_path / "g.tsv", separator="\t")
    for path in sorted(tmp_path.iterdir()):
        assert [found[1:] for found in texts(path)] == [((r["question"],), (r["answer"],)) for r in rows], path
    (tmp_path / "h.txt").write_text(f"\ufeff{QUESTION}\n\n{ZH}\r\n", encoding="utf-8")
    assert texts(tmp_path / "h.txt") == [(1, (QUESTION,), ()), (3, (ZH,), ())]


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = Path(bench(tmp_path, {"stem": "q", "passage": "p", "key": "a", "question": "other"}))
    assert texts(path, question=("passage", "stem"), answer=("key",)) == [(1, ("p\nq",), ("a",))]
    with pytest.raises(DataError, match=r"bench\.jsonl:1: has none of the columns 'no'"):
        texts(path, question=("no",))


def test_a_file_without_known_columns_names_its_own(tmp_path: Path) -> None:
    path = Path(bench(tmp_path, {"stem": "q", "key": "a"}))
    with pytest.raises(DataError) as raised:
        texts(path)
    assert "no column in which benchmarks keep their questions" in str(raised.value)
    assert "'stem', 'key'" in str(raised.value)


def test_unreadable_items_are_counted_and_the_others_used(tmp_path: Path) -> None:
    path = tmp_path / "bench.jsonl"
    good = json.dumps({"question": QUESTION})
    path.write_text(f'{good}\n{{"question": \n[1]\n{{"other": "x"}}\n{good}\n', encoding="utf-8")
    assert [type(item) for item in items_of(path)] == [Item, Unreadable, Unreadable, Unreadable, Item]
    assert read_benchmark([path], Columns()).unreadable == 3
    table = run(tmp_path, Decontaminate(against=(str(path),)), [record("x")])[-1].tables["benchmarks"]["bench"]
    assert (table["items"], table["unreadable_items"]) == (2, 3)
    (tmp_path / "bad.csv").write_text("question,answer\na,b\nc\n", encoding="utf-8")
    assert [type(item) for item in items_of(tmp_path / "bad.csv")] == [Item, Unreadable]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"\xff\xfeq\x00", "UTF-16"), (b"caf\xe9 au lait\n", "not UTF-8"), (b"PK\x03\x04zip", "zip")],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "odd.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_benchmark([path], Columns())
    (tmp_path / "no.jsonl").write_text('{"question": " "}\n{"question": ""}')
    with pytest.raises(DataError, match="no text to look for"):
        read_benchmark([tmp_path / "no.jsonl"], Columns())


def decisions(folder: Path, against: str) -> tuple[Any, ...]:
    texts = [QUESTION, SHORT, TINY, ZH, ZH.replace("八十", "九十"), "Fine weather.", ANSWER, ZH_ANSWER, SHORT.upper()]
    texts += [" ".join(QUESTION.split()[i:]) for i in range(30)]
    records = [record(text, texts[-i], id=str(i)) for i, text in enumerate(texts)]
    outcomes = run(folder, Decontaminate(against=(against,)), records)
    drops = pl.concat([o.drops for o in outcomes])
    return drops["id"].to_list(), drops["detail"].to_list(), outcomes[-1].tables


def test_a_pack_decides_as_its_file(tmp_path: Path) -> None:
    raw, packed = usual(tmp_path), tmp_path / "bench.pack.parquet"
    write_pack(read_benchmark([Path(raw)], Columns()), packed)
    assert is_pack(packed)
    assert not is_pack(Path(raw))
    assert decisions(tmp_path, str(packed)) == decisions(tmp_path, raw)


@pytest.mark.skipif(not REAL, reason="REAL_DATA is not set")
def test_packs_of_real_benchmarks_are_read_back_whole(tmp_path: Path) -> None:
    for name in ("gsm8k_test", "mt_bench", "self_instruct_252", "vicuna"):
        made = read_benchmark([Path(str(REAL)) / f"bench_{name}.jsonl"], Columns())
        write_pack(made, tmp_path / "x.parquet")
        again = read_pack(tmp_path / "x.parquet")
        for field in made.__dataclass_fields__:
            one, other = getattr(made, field), getattr(again, field)
            if field == "grams":
                assert np.array_equal(one.values, other.values)
                assert np.array_equal(one.starts, other.starts)
            elif isinstance(one, np.ndarray):
                assert np.array_equal(one, other), field
            else:
                assert one == other, field


def test_a_pack_holds_no_text_and_is_the_same_every_time(tmp_path: Path) -> None:
    items = [{"id": "an id that is a sentence", "question": QUESTION, "answer": ANSWER}, {"id": "i-7", "question": ZH}]
    raw = bench(tmp_path, *items)
    benchmark = read_benchmark([Path(raw)], Columns(), "fruit", "2026-01")
    for name in ("a.parquet", "b.parquet"):
        header = write_pack(benchmark, tmp_path / name)
    held = (tmp_path / "a.parquet").read_bytes()
    assert held == (tmp_path / "b.parquet").read_bytes()
    table = pq.read_table(tmp_path / "a.parquet")
    everything = (held + json.dumps(table.to_pylist()).encode() + json.dumps(header).encode()).lower()
    for word in re.findall(r"[a-z]{5,}", f"{QUESTION} {ANSWER} sentence".lower()):
        assert word.encode() not in everything, word
    assert ZH[:3].encode() not in everything
    assert table["id"].to_pylist() == [None, None, "i-7"]
    assert [value != 0 for value in table["whole"].to_pylist()] == [True, False, True]
    assert (header["name"], header["benchmark_version"], header["items"], header["n"]) == ("fruit", "2026-01", 2, 5)
    assert header["sources"][0]["file"] == "bench.jsonl"
    assert len(header["sources"][0]["sha256"]) == 64


def test_a_pack_has_no_hash_of_what_is_never_looked_for(tmp_path: Path) -> None:
    """Everybody can hash "42", "Why?" and all short sentences."""
    raw = bench(
        tmp_path, {"question": "Why?", "answer": "42"}, {"question": SHORT, "answer": "It is about gravity, as a rule."}
    )
    write_pack(read_benchmark([Path(raw)], Columns()), tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    told = [any(row) for row in table["grams"].to_pylist()]
    assert told == [value != 0 for value in table["whole"].to_pylist()] == [False, False, True, False]


def test_several_files_are_one_benchmark(tmp_path: Path) -> None:
    for number, text in enumerate((QUESTION, SHORT)):
        first = {"question": "Nothing of note stands in this first row."}
        bench(tmp_path, first, {"question": text}, name=f"{number}.jsonl")
    out = tmp_path / "two.pack.parquet"
    assert main(["pack", str(tmp_path / "*.jsonl"), "-o", str(out), "--name", "two"]) == 0
    outcomes = run(tmp_path, Decontaminate(against=(str(out),)), [record(SHORT)])
    told = json.loads(outcomes[0].drops["detail"][0])
    assert (told["benchmark"], told["file"], told["line"]) == ("two", "1.jsonl", 2)


def test_damaged_and_foreign_packs(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_pack(read_benchmark([Path(usual(tmp_path))], Columns()), path)
    table = pq.read_table(path)
    meta = json.loads(table.schema.metadata[b"seedmill-pack"])
    for change, said in (({"version": 2}, "version 2"), ({"n": 8}, "other hashes"), ({"items": 1}, "no whole pack")):
        changed = table.replace_schema_metadata({b"seedmill-pack": json.dumps(meta | change)})
        pq.write_table(changed, path)
        with pytest.raises(DataError, match=said):
            read_pack(path)
    cut = table.set_column(8, "grams", pa.array([[1]] * len(table), pa.list_(pa.uint64())))
    pq.write_table(cut, path)
    with pytest.raises(DataError, match="do not fit"):
        read_pack(path)
    with pytest.raises(UsageError, match="cannot be written"):
        write_pack(read_benchmark([Path(usual(tmp_path))], Columns()), tmp_path / "no" / "such" / "p.parquet")


def test_two_benchmarks_of_one_name_are_counted_apart(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stage = Decontaminate(against=(usual(tmp_path), usual(tmp_path / "other")))
    assert list(run(tmp_path, stage, [record(QUESTION)])[-1].tables["benchmarks"]) == ["bench", "bench (2)"]


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw, packed = usual(tmp_path), str(tmp_path / "mine.pack.parquet")
    assert main(["pack", raw, "-o", packed, "--name", "mine"]) == 0
    assert "mine, 4 items, 4 questions, 4 answers" in capsys.readouterr().out
    data = tmp_path / "data.json"
    rows = [{"instruction": text, "input": "", "output": "I do not know."} for text in (QUESTION, "Fine weather?", ZH)]
    data.write_text(json.dumps(rows), encoding="utf-8")
    assert main(["decontaminate", str(data), "--against", packed, "--run", "r", "--quiet"]) == 0
    manifest = json.loads((tmp_path / "outputs/r/01-decontaminate/manifest.json").read_text())
    assert manifest["reasons"] == {"contaminated": 2}
    assert manifest["tables"]["benchmarks"]["mine"]["items_found"] == 2
    capsys.readouterr()
    assert main(["report", "r"]) == 0
    told = capsys.readouterr().out
    assert "dropped 2 contaminated" in told
    assert re.search(
        r"benchmarks +items +items found +records dropped +question side +answer side\n *mine +4 +2 +2 +2 +0\n", told
    )
    card = (tmp_path / "outputs/r/export/README.md").read_text(encoding="utf-8")
    assert "| benchmarks | items | items found | records dropped | question side | answer side |" in card
    assert "| mine | 4 | 2 | 2 | 2 | 0 |" in card
    assert main(["report", "r", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"][1]["tables"]["benchmarks"]["mine"]["items"] == 4


def test_another_benchmark_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content of the benchmark is in the fingerprint."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data.json"
    data.write_text(json.dumps([{"instruction": QUESTION, "input": "", "output": "x"}]), encoding="utf-8")
    manifest = tmp_path / "outputs/r/01-decontaminate/manifest.json"
    for text, dropped in ((SHORT, 0), (QUESTION, 1)):
        path = bench(tmp_path, {"question": text})
        assert (
            main(["decontaminate", str(data), "--against", path, "--run", "r", "--quiet", "--to", "decontaminate"]) == 0
        )
        assert json.loads(manifest.read_text())["dropped"] == dropped


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pack", "gone.jsonl", "-o", "x.parquet"], "gone.jsonl: no such file"),
        (["pack", "bench.jsonl", "-o", "x.bin"], "its name ends in .parquet"),
        (["pack", "bench.jsonl", "-o", "x.parquet", "--question", "stem"], "has none of the columns 'stem'"),
        (["decontaminate", "gone.json", "--against", "bench.jsonl"], "gone.json: no such file"),
        (["decontaminate", "bench.jsonl", "--against", "gone.jsonl"], "no such file"),
        (["decontaminate", "bench.jsonl", "--against", "gone-*.jsonl"], "name benchmark files, or packs"),
        (["decontaminate", ".", "--against", "bench.jsonl"], ".: is a directory\nhint: name the files in it"),
    ],
)
def test_mistakes_are_sentences(
    tmp_path: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    usual(tmp_path)
    assert main(arguments) in (1, 2)
    assert said in capsys.readouterr().err
