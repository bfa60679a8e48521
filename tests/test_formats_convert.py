"""Converting a file: every row is written or listed, and what the target cannot carry is counted."""

import json
from pathlib import Path

import pytest

from pipeline.convert import LOSSES, convert
from pipeline.errors import DataError, UsageError
from pipeline.formats import FORMATS
from pipeline.formats.reading import Example, examples
from pipeline.formats.shape import Fields
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
        "dry_run": False,
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
    spaced = FORMATS["records"].write(
        Record(id="x", messages=(Message(role="user", content=" a "),), language="en", license="mit", extra='{"n": 1}')
    )
    source.write_text(json.dumps([spaced]))
    packed = convert(source, "guanaco", tmp_path / "out.csv")
    source.write_text(json.dumps([{"messages": [{"role": "user", "content": "<user>: a"}]}]))
    mistaken = convert(source, "alpaca", tmp_path / "out.json")
    assert mistaken.lost == {"other-format": 1}
    assert set(done.lost) | set(packed.lost) | set(mistaken.lost) == set(LOSSES)
    for conversion in (done, packed, mistaken):
        assert all(f"1 {LOSSES[slug]}" in conversion.sentence() for slug in conversion.lost)


def test_a_dry_run_says_the_same_and_writes_nothing(source: Path) -> None:
    output = source.with_name("out.jsonl")
    told = convert(source, "alpaca", output, dry_run=True)
    assert list(source.parent.iterdir()) == [source]
    assert told.sentence().startswith(f"2 rows would be written to {output} as alpaca")
    done = convert(source, "alpaca", output)
    assert (told.written, told.lost, told.dropped) == (done.written, done.lost, done.dropped)


def test_strict_writes_all_or_nothing(source: Path) -> None:
    output = source.with_name("out.jsonl")
    with pytest.raises(DataError, match="not all would be in it") as caught:
        convert(source, "alpaca", output, strict=True)
    assert "1 not written: tool-turns" in caught.value.message
    assert list(source.parent.iterdir()) == [source]
    source.write_text(json.dumps(turns(("human", "a"), ("gpt", "b"))))
    assert convert(source, "alpaca", output, strict=True).written == 1
    assert output.exists()


def test_a_format_that_is_named_is_taken_for_what_it_is(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"prompt": "q", "source_url": "u"}\n' * 2)
    with pytest.raises(DataError, match="no known format"):
        convert(source, "alpaca", output)
    assert convert(source, "alpaca", output, "prompt-completion").written == 2
    assert json.loads(output.read_text().splitlines()[0]) == {
        "instruction": "q",
        "input": "",
        "output": "",
        "source_url": "u",
    }
    with pytest.raises(UsageError, match="no format 'xml'"):
        convert(source, "alpaca", output, "xml")


def test_several_files_become_one(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.json").write_text(json.dumps([{"instruction": name, "output": name}]))
    output = tmp_path / "out" / "all.csv"
    output.parent.mkdir()
    assert convert(str(tmp_path / "*.json"), "messages", output).written == 2
    assert len(list(examples(output))) == 2


@pytest.mark.parametrize(("to", "kind"), [("lmflow", "text2text"), ("lmflow-conversation", "conversation")])
def test_a_json_file_of_lmflow_has_what_it_wants_around_the_rows(tmp_path: Path, to: str, kind: str) -> None:
    source, output = tmp_path / "in.json", tmp_path / "out.json"
    source.write_text(json.dumps([{"instruction": "q", "output": "a"}] * 2))
    convert(source, to, output)
    whole = json.loads(output.read_text())
    assert (whole["type"], len(whole["instances"]), set(whole)) == (kind, 2, {"type", "instances"})
    assert [item.format.name for item in examples(output) if isinstance(item, Example)] == [to, to]
    convert(source, to, tmp_path / "out.jsonl")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2


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
@pytest.mark.parametrize("suffix", [".json", ".json.gz", ".jsonl.zst", ".parquet", ".csv", ".tsv.zst"])
def test_every_format_and_container_can_be_read_again(tmp_path: Path, to: str, suffix: str) -> None:
    source, output = tmp_path / "in.json", tmp_path / f"out{suffix}"
    answer = {"input": "", "output": "y"}
    comparison = {"chosen": "y", "rejected": "n"}
    user = FORMATS[to].refuses(Record(id="x", messages=(Message(role="user", content="a"),)))
    rows = [{"instruction": "say", "n": i} | (comparison if user == "no-preference" else answer) for i in range(3)]
    source.write_text(json.dumps(rows))
    convert(source, to, output)
    found = [item for item in examples(output) if isinstance(item, Example)]
    assert [item.format.name for item in found] == [to] * 3
    assert [last(item.records[0]) for item in found] == ["y"] * 3
    # A table gives numbers in columns that it does not know back as text, and says so.
    assert [int(json.loads(item.records[0]["extra"] or "")["n"]) for item in found] == [0, 1, 2]


@pytest.mark.parametrize("to", list(FORMATS))
def test_a_file_of_one_row_on_many_lines_is_that_row(tmp_path: Path, to: str) -> None:
    path, format = tmp_path / "one.json", FORMATS[to]
    turns = (Message(role="user", content="a"), Message(role="assistant", content="y"))
    plain = Record(id="x", messages=turns)
    choice = Record(id="x", messages=turns[:1], chosen=turns[1:], rejected=(Message(role="assistant", content="n"),))
    path.write_text(json.dumps(format.write(plain if format.refuses(plain) is None else choice), indent=2))
    (found,) = examples(path)
    assert isinstance(found, Example)
    assert (found.format.name, len(found.records), last(found.records[0])) == (to, 1, "y")


def last(fields: Fields) -> str:
    return (fields.get("chosen") or fields["messages"])[-1].content


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
