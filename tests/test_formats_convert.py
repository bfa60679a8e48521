"""Converting a file: every row is written or listed, and what the target cannot carry is counted."""

import json
from pathlib import Path

import pytest

from pipeline.convert import LOSSES, convert
from pipeline.errors import DataError, UsageError
from pipeline.formats import FORMATS
from pipeline.formats.reading import Example, examples
from pipeline.record import Message, Record


def turns(*pairs: tuple[str, str]) -> dict[str, object]:
    return {"conversations": [{"from": role, "value": value} for role, value in pairs]}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    call = '{"name": "f", "arguments": {}}'
    lines = [
        json.dumps(turns(("human", "a"), ("gpt", "b")) | {"id": "r1"}),
        "{oops",
        json.dumps(turns(("human", "a"), ("function_call", call), ("observation", "1"), ("gpt", "b"))),
        json.dumps({"instruction": "add", "input": "1 2", "output": "3"}),
        json.dumps({"instruction": 5, "output": "3"}),
    ]
    path.write_text("\n".join(lines))
    return path


def test_what_is_written_what_is_lost_and_what_is_dropped_is_counted(source: Path) -> None:
    output = source.with_name("out.json")
    done = convert(source, "sharegpt", output)
    assert done.counts() == {
        "source": str(source),
        "output": str(output),
        "format": "sharegpt",
        "written": 3,
        "dropped": {"malformed-json": 1, "wrong-type": 1},
        "lost": {"separate-input": 1},
        "drops": f"{output}.drops.jsonl",
    }
    rows = json.loads(output.read_text())
    assert rows[0] == turns(("human", "a"), ("gpt", "b")) | {"id": "r1"}
    assert rows[2] == turns(("human", "add\n1 2"), ("gpt", "3"))
    drops = [json.loads(line) for line in Path(f"{output}.drops.jsonl").read_text().splitlines()]
    assert [(d["line"], d["reason"], d["raw"][:5]) for d in drops] == [
        (2, "malformed-json", "{oops"),
        (5, "wrong-type", '{"ins'),
    ]


def test_the_sentence_names_counts_files_and_lines(source: Path) -> None:
    sentence = convert(source, "alpaca", source.with_name("out.jsonl")).sentence()
    assert sentence.splitlines()[0] == f"2 rows written to {source.with_name('out.jsonl')} as alpaca"
    assert f"{source}:2: malformed-json" in sentence
    assert f"{source}:3: tool-turns: alpaca cannot hold this row" in sentence
    assert "1 not written: tool-turns" in sentence
    assert str(source.with_name("out.jsonl.drops.jsonl")) in sentence


def test_every_loss_that_a_format_names_can_be_said(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    speaking = {
        "role": "assistant",
        "content": "so",
        "thinking": "hm",
        "name": "kim",
        "weight": 1,
        "tool_calls": [call],
    }
    chat = {"messages": [{"role": "user", "content": "a", "extra": 1}, speaking]}
    whole = FORMATS["records"].write(
        Record(
            id="x",
            messages=(Message(role="user", content="a"),),
            input="i",
            tags={"mood": "gay"},
            scores={"a": 1.0},
            model="m",
            extra=json.dumps({"conversations": 1, "[]": {"messages.7": {"k": 1}}}),
        )
    )
    source = tmp_path / "in.json"
    source.write_text(json.dumps([chat, whole]))
    done = convert(source, "sharegpt", tmp_path / "out.json")
    assert set(done.lost) == set(LOSSES)
    assert all(f"1 {LOSSES[slug]}" in done.sentence() for slug in LOSSES)


def test_a_long_list_of_drops_is_cut_in_the_sentence_but_not_in_the_file(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"instruction": "a", "output": "b"}\n' + "oops\n" * 25)
    done = convert(source, "messages", tmp_path / "out.jsonl")
    assert "(15 more)" in done.sentence()
    assert len(done.sentence().splitlines()) == 13
    assert len((tmp_path / "out.jsonl.drops.jsonl").read_text().splitlines()) == 25


def test_a_good_conversion_leaves_no_drops_of_an_earlier_one(source: Path) -> None:
    output = source.with_name("out.jsonl")
    convert(source, "alpaca", output)
    source.write_text(json.dumps(turns(("human", "a"), ("gpt", "b"))))
    done = convert(source, "alpaca", output)
    assert (done.drops, done.dropped.total()) == (None, 0)
    assert not Path(f"{output}.drops.jsonl").exists()


@pytest.mark.parametrize("to", list(FORMATS))
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet"])
def test_every_format_and_container_can_be_read_again(tmp_path: Path, to: str, suffix: str) -> None:
    source, output = tmp_path / "in.json", tmp_path / f"out{suffix}"
    rows = [{"instruction": "say", "input": "x", "output": "y", "n": i} for i in range(3)]
    source.write_text(json.dumps(rows))
    convert(source, to, output)
    found = [item for item in examples(output) if isinstance(item, Example)]
    assert [(item.format.name, item.records[0]["messages"][-1].content) for item in found] == [(to, "y")] * 3
    assert [json.loads(item.records[0]["extra"] or "")["n"] for item in found] == [0, 1, 2]


def test_mistakes_are_sentences_and_leave_nothing_behind(source: Path) -> None:
    with pytest.raises(UsageError, match="no format 'xml'"):
        convert(source, "xml", source.with_name("out.json"))
    with pytest.raises(UsageError, match="does not tell"):
        convert(source, "alpaca", source.with_name("out.xml"))
    with pytest.raises(UsageError, match="is the input itself"):
        convert(source, "alpaca", source)
    with pytest.raises(DataError, match="no such file"):
        convert(source.with_name("none"), "alpaca", source.with_name("out.json"))
    assert list(source.parent.iterdir()) == [source]


def test_rows_of_other_licences_are_counted_and_listed(tmp_path: Path) -> None:
    path, output = tmp_path / "in.jsonl", tmp_path / "out.json"
    licenses = ["MIT", None, "cc-by-nc-4.0", "Apache 2.0"]
    rows = [{"instruction": f"q{i}", "output": "a"} | ({"license": n} if n else {}) for i, n in enumerate(licenses)]
    path.write_text("\n".join(map(json.dumps, rows)))
    done = convert(path, "alpaca", output, only_licenses=["mit", "apache-2.0"])
    assert (done.written, dict(done.dropped)) == (2, {"license-not-wanted": 2})
    assert [row["instruction"] for row in json.loads(output.read_text())] == ["q0", "q3"]
    drops = [json.loads(line) for line in (tmp_path / "out.json.drops.jsonl").read_text().splitlines()]
    assert [drop["error"] for drop in drops] == ["it is under no known licence", "it is under cc-by-nc-4.0"]
    known = tmp_path / "alpaca_data.json"
    known.write_text(json.dumps([{"instruction": "q", "input": "", "output": "a"}]))
    assert convert(known, "alpaca", output, only_licenses=["mit"]).written == 0
