"""Two versions compared: every row is the same, changed, removed or added, wherever the versions are."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.__main__ import main
from pipeline.diff.comparison import Comparison, compare
from pipeline.diff.version import Row, Version, load
from pipeline.errors import DataError, SeedmillError, UsageError
from pipeline.export.files import write_export
from pipeline.export.settings import Settings
from pipeline.hub_release import Wishes, publish_folder
from pipeline.record import Message, Record
from tests.doubles import stream_of
from tests.local_hub import local_hub
from tests.test_publish import TOKEN
from tests.test_publish import settings as hub_settings


def row(question: str, answer: str, **more: Any) -> Record:
    turns = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Record(
        id=more.pop("id", question), messages=turns, **{"source": "s", "method": "m", "language": "en", **more}
    )


OLD = [
    row(
        f"Question {i} of many",
        f"Answer {i}",
        license="mit",
        scores={"accuracy": 4.0},
        input="with" if i == 3 else None,
    )
    for i in range(8)
]
NEW = [
    *OLD[:5],
    replace(OLD[5], messages=(OLD[5].messages[0], Message(role="assistant", content="Another"))),
    replace(OLD[6], license="cc-by-4.0", scores={"accuracy": 5.0}),
    row("A new one", "Yes", license="mit", language="zh"),
]
CALL = Message(
    role="assistant",
    content="",
    tool_calls='[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]',
)


def export(folder: Path, found: Sequence[Record], **wanted: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_export(stream_of(folder, found), folder / "export", Settings(**wanted), fingerprint=str(len(found)))
    return folder / "export"


def counts(found: Comparison) -> tuple[int, int, int, int]:
    return found.same, len(found.changed), len(found.removed), len(found.added)


def figures(found: Comparison) -> dict[str, tuple[float | None, float | None]]:
    return {what: (a, b) for what, a, b, _ in found.figures}


@pytest.mark.parametrize(
    "formats", [("parquet",), ("alpaca",), ("sharegpt",), ("messages",)], ids=lambda names: names[0]
)
def test_exports_in_any_format_are_compared_row_by_row(tmp_path: Path, formats: tuple[str, ...]) -> None:
    wanted = {"formats": formats, "split": {"validation": 0.3}}
    a, b = export(tmp_path / "a", OLD, **wanted), export(tmp_path / "b", NEW, **wanted)
    found = compare(load(str(a), tmp_path), load(str(b), tmp_path))
    assert counts(found) == (6, 1, 1, 1)
    assert found.changed[0][1].shown == "Question 5 of many"
    assert found.removed[0].shown == "Question 7 of many"
    assert found.added[0].shown == "A new one"


def test_formats_are_no_difference(tmp_path: Path) -> None:
    rows = [
        *OLD,
        row("tools?", "x"),
        replace(
            row("t", "y"),
            messages=(
                OLD[0].messages[0],
                CALL,
                Message(role="tool", content="1", tool_call_id="c1"),
                OLD[0].messages[1],
            ),
        ),
    ]
    every = export(tmp_path / "a", rows)
    whole = load(str(export(tmp_path / "b", rows, formats=("parquet",))), tmp_path)
    found = compare(whole, load(str(every / "messages.jsonl"), tmp_path))
    assert counts(found) == (10, 0, 0, 0)


def test_figures_are_those_of_either_version(tmp_path: Path) -> None:
    a, b = export(tmp_path / "a", OLD, formats=("parquet",)), export(tmp_path / "b", NEW, formats=("parquet",))
    found = figures(compare(load(str(a), tmp_path), load(str(b), tmp_path)))
    assert found["rows"] == (8, 8)
    assert found["score accuracy, mean"] == (4.0, pytest.approx(29 / 7, abs=0.01))
    assert found["language en"] == (1.0, 7 / 8)
    assert found["language zh"] == (0.0, 1 / 8)
    assert found["licence mit"] == (8, 7)
    assert found["licence cc-by-4.0"] == (0, 1)
    assert found["near-duplicates"] == (0.0, 0.0)


def test_repeated_rows_and_near_duplicates_are_counted(tmp_path: Path) -> None:
    twice = [*OLD, *(replace(r, id=f"{r.id}b") for r in OLD[:4])]
    a, b = export(tmp_path / "a", OLD, formats=("messages",)), export(tmp_path / "b", twice, formats=("messages",))
    found = compare(load(str(a), tmp_path), load(str(b), tmp_path))
    assert counts(found) == (8, 0, 0, 4)
    assert figures(found)["near-duplicates"] == (0.0, pytest.approx(4 / 12))


rows_of = st.lists(
    st.builds(
        Row,
        id=st.sampled_from(["", "a", "b"]),
        content=st.sampled_from("xyz"),
        question=st.sampled_from("pq"),
        shown=st.just(""),
    ),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(rows_of, rows_of)
def test_every_row_has_exactly_one_fate(a: list[Row], b: list[Row]) -> None:
    if not a or not b:
        return
    found = compare(Version(name="a", rows=a), Version(name="b", rows=b))
    assert found.same + len(found.changed) + len(found.removed) == len(a)
    assert found.same + len(found.changed) + len(found.added) == len(b)
    for one, other in found.changed:
        assert one.id == other.id != "" or one.question == other.question
    left = Counter(r.content for r in a) & Counter(r.content for r in b)
    assert found.same == sum(left.values())
    assert counts(compare(Version(name="a", rows=a), Version(name="a", rows=a))) == (len(a), 0, 0, 0)
    shuffled = random.Random(1).sample(b, len(b))
    assert compare(Version(name="a", rows=a), Version(name="b", rows=shuffled)).same == found.same


def test_a_run_is_compared_with_its_file_and_what_was_mended_is_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {"instruction": "Name a large river of Europe.", "input": "<noinput>", "output": "The Danube is one."},
        {"instruction": "Name a small river of Europe.", "input": "", "output": "The Ilm is one of them."},
        {"instruction": "Say nothing at all, please.", "input": "", "output": ""},
    ]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(lines))
    outputs = ["--outputs", str(tmp_path / "out")]
    assert main(["clean", str(file), "--run", "r", "--quiet", *outputs]) == 0
    capsys.readouterr()
    assert main(["diff", str(file), "r", "--json", *outputs]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == {"same": 1, "changed": 1, "removed": 1, "added": 0}
    assert found["examples"]["changed"][0]["question"] == "Name a large river of Europe."
    assert {"what": "dropped empty-output", "a": None, "b": 1, "kind": "count"} in found["figures"]
    assert main(["diff", str(file), "r", *outputs]) == 0
    shown = capsys.readouterr().out
    assert "rows: 1 the same, 1 changed, 1 removed, 0 added" in shown
    assert "removed\n" in shown
    assert "dropped empty-output" in shown


def test_a_version_on_the_hub_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with local_hub() as hub:
        hub.tokens[TOKEN] = ("alice", True)
        hub_settings(monkeypatch, tmp_path / "hf")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        huggingface_hub.close_session()
        a, b = export(tmp_path / "a", OLD), export(tmp_path / "b", [*NEW, OLD[7]])
        publish_folder(a, "alice/tasks", Wishes(tag="v1"))
        publish_folder(b, "alice/tasks")
        found = compare(load("hf:alice/tasks@v1", tmp_path), load("hf://datasets/alice/tasks", tmp_path))
        assert counts(found) == (7, 1, 0, 1)
        with pytest.raises(UsageError, match="the Hub has no dataset alice/tasks at v9"):
            load("hf:alice/tasks@v9", tmp_path)
        with pytest.raises(SeedmillError, match="does not say whose dataset it is"):
            load("hf:alice", tmp_path)
        hub.make("datasets", "alice/empty")
        with pytest.raises(DataError, match="no parquet or JSON file"):
            load("hf:alice/empty", tmp_path)
        huggingface_hub.close_session()


def test_what_is_not_there_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "nothing", "nowhere", "--outputs", str(tmp_path)]) == 2
    assert "there is no run, folder or file 'nothing'" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no parquet or JSON files of rows"):
        load(str(tmp_path / "empty"), tmp_path)
    (tmp_path / "bad.jsonl").write_text("{nonsense\n")
    with pytest.raises(DataError, match="holds no rows"):
        load(str(tmp_path / "bad.jsonl"), tmp_path)
    (tmp_path / "half.jsonl").write_text('{nonsense\n{"instruction": "a", "output": "b"}\n')
    assert load(str(tmp_path / "half.jsonl"), tmp_path).unreadable == 1
