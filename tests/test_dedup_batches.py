"""Dedup against other datasets, and batch after batch with an index."""

import itertools
import json
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError, SeedmillError, UsageError
from pipeline.record import Message, Record
from pipeline.similar.batches import open_index
from pipeline.stage import Outcome
from pipeline.stages.dedup import Dedup
from tests.doubles import kept_ids, lend, stream_of
from tests.runs import ROOT, environment, seedmill

WORDS = [f"w{k}" for k in range(400)]


def record(id: str, text: str) -> Record:
    return Record(id=id, messages=(Message(role="user", content=text),))


def texts(rng: random.Random, count: int) -> list[str]:
    """Random texts; half repeat an earlier one with none to six words replaced."""
    made: list[str] = []
    for _ in range(count):
        if made and rng.random() < 0.5:
            words = rng.choice(made).split()
            for place in rng.sample(range(len(words)), min(len(words), rng.randint(0, 6))):
                words[place] = rng.choice(WORDS)
            made.append(" ".join(words))
        else:
            made.append(" ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 60))))
    return made


def run(folder: Path, records: Sequence[Record], stage: Dedup, name: str = "r", block: int = 5) -> list[Outcome]:
    place = folder / name
    place.mkdir(exist_ok=True)
    return list(stage.run(stream_of(place, records, block), lend(folder=place / "01-dedup")))


def evidence(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    drops = pl.concat([Outcome().drops, *(o.drops for o in outcomes)])
    return {row["id"]: {"reason": row["reason"], **json.loads(row["detail"])} for row in drops.iter_rows(named=True)}


@pytest.mark.parametrize("method", ["both", pytest.param("minhash", marks=pytest.mark.long), "exact"])
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_batch_after_batch_keeps_what_one_pass_keeps(
    tmp_path_factory: pytest.TempPathFactory, method: Any, seed: int, cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("batches")
    records = [record(f"r{k}", text) for k, text in enumerate(texts(random.Random(seed), 60))]
    whole = kept_ids(run(folder, records, Dedup(method=method), "whole"))
    bounds = [0, *sorted(cuts), len(records)]
    stage = Dedup(method=method, index=str(folder / "index"))
    kept: list[str] = []
    for number, (begin, end) in enumerate(itertools.pairwise(bounds)):
        outcomes = run(folder, records[begin:end], stage, f"part{number}")
        for drop in evidence(outcomes).values():
            assert drop["partner"] in kept + kept_ids(outcomes)
            assert ("batch" in drop) == (drop["partner"] in kept)
        kept += kept_ids(outcomes)
    assert kept == whole


def test_making_a_run_again_adds_nothing(tmp_path: Path) -> None:
    records = [record(f"r{k}", text) for k, text in enumerate(texts(random.Random(1), 40))]
    stage = Dedup(index=str(tmp_path / "index"))
    first = kept_ids(run(tmp_path, records[:20], stage, "a"))
    second = kept_ids(run(tmp_path, records[20:], stage, "b"))
    before = (tmp_path / "index" / "index.json").read_bytes()
    assert kept_ids(run(tmp_path, records[:20], stage, "a", block=7)) == first
    assert kept_ids(run(tmp_path, records[20:], stage, "b")) == second
    assert (tmp_path / "index" / "index.json").read_bytes() == before
    assert kept_ids(run(tmp_path, records, stage, "c")) == [], "another run: all of it is known"
    with pytest.raises(UsageError, match="other rows"):
        run(tmp_path, records[:5], stage, "a")


def test_a_trial_reads_an_index_and_changes_nothing(tmp_path: Path) -> None:
    records = [record(f"r{k}", text) for k, text in enumerate(texts(random.Random(3), 30))]
    stage = Dedup(index=str(tmp_path / "index"))
    tried = list(stage.run(stream_of(tmp_path, records), lend()))
    assert kept_ids(tried) == kept_ids(run(tmp_path, records, Dedup(), "plain"))
    assert not (tmp_path / "index").exists()
    run(tmp_path, records[:20], stage, "a")
    before = (tmp_path / "index" / "index.json").read_bytes()
    tried = list(stage.run(stream_of(tmp_path, records), lend()))
    assert "r0" not in kept_ids(tried)
    assert (tmp_path / "index" / "index.json").read_bytes() == before


def test_an_index_belongs_to_its_settings(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    run(tmp_path, [record("a", "one two three")], Dedup(index=str(folder)), "a")
    for changes, name in (
        ({"threshold": 0.8}, "threshold"),
        ({"variants": "same"}, "variants"),
        ({"ngram": 4}, "ngram"),
    ):
        with pytest.raises(UsageError, match=f"was made with {name}"):
            run(tmp_path, [record("b", "x")], Dedup(index=str(folder), **changes), "b")
    for changes in ({"keep": "longest"}, {"cluster": "components"}):
        with pytest.raises(UsageError, match="an index goes with"):
            Dedup(index=str(folder), **changes)
    document = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(document | {"version": 0}))
    with pytest.raises(UsageError, match="another version"):
        run(tmp_path, [record("b", "x")], Dedup(index=str(folder)), "b")
    (folder / "index.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        run(tmp_path, [record("b", "x")], Dedup(index=str(folder)), "b")


def test_a_folder_that_is_no_index_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(UsageError, match="not an index"):
        run(tmp_path, [record("a", "x")], Dedup(index=str(tmp_path / "mine")))
    with pytest.raises(UsageError, match="is a file"):
        run(tmp_path, [record("a", "x")], Dedup(index=str(tmp_path / "mine" / "notes.txt")))


def test_two_processes_do_not_add_at_once(tmp_path: Path) -> None:
    settings = {"threshold": 0.7}
    with (
        open_index(tmp_path / "index", settings, "a"),
        pytest.raises(SeedmillError, match="another process"),
        open_index(tmp_path / "index", settings, "b"),
    ):
        pass


def test_a_part_that_is_missing_is_said(tmp_path: Path) -> None:
    stage = Dedup(index=str(tmp_path / "index"))
    run(tmp_path, [record("a", "one two three")], stage, "a")
    (tmp_path / "index" / "batch-00000" / "000" / "keys.npy").unlink()
    with pytest.raises(DataError, match="missing"):
        run(tmp_path, [record("b", "x")], stage, "b")


def test_killed_while_adding_the_batch_is_not_there_and_the_next_run_adds_it(tmp_path: Path) -> None:
    rows = [{"instruction": f"Tell me about {text}", "output": text} for text in texts(random.Random(2), 30)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"entries:\n  - stage: read\n    data: [rows.json]\n  - stage: dedup\n    index: {tmp_path / 'index'}\n"
    )
    options = [recipe, "--outputs", tmp_path / "outputs", "--engine", "local", "--to", "dedup", "--json"]
    command = [sys.executable, "-m", "pipeline", "run", *map(str, options)]
    for point in ("index-batch-written", "shards-written"):
        killed = subprocess.run(
            command, cwd=ROOT, env=environment(SEEDMILL_CRASH_AT=point), capture_output=True, timeout=120
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        batches = json.loads((tmp_path / "index" / "index.json").read_text())["batches"]
        assert len(batches) == (0 if point == "index-batch-written" else 1)
    done = seedmill("run", *options)
    assert done.returncode == 0, done.stderr
    books = next(e for e in json.loads(done.stdout)["entries"] if e["name"] == "dedup")
    plain = seedmill("run", *options, "--run", "plain", "--set", "dedup.index=null")
    assert plain.returncode == 0, plain.stderr
    assert books["kept"] == next(e for e in json.loads(plain.stdout)["entries"] if e["name"] == "dedup")["kept"] > 0
    assert len(json.loads((tmp_path / "index" / "index.json").read_text())["batches"]) == 1
    assert not list((tmp_path / "outputs" / "recipe").glob("*scratch*")), "nothing is left behind"


def write_rows(path: Path, rows: Sequence[tuple[str, str]]) -> str:
    path.write_text("".join(json.dumps({"instruction": a, "output": b}) + "\n" for a, b in rows))
    return str(path)


def test_what_another_dataset_has_is_dropped_and_its_row_is_named(tmp_path: Path) -> None:
    rng = random.Random(4)
    long = [" ".join(rng.choice(WORDS) for _ in range(50)) for _ in range(6)]
    edited = " ".join([*long[1].split()[:48], "new", "words"])
    files = (
        write_rows(tmp_path / "eval.jsonl", [("Say it", long[0]), ("Say it", long[1])]),
        write_rows(tmp_path / "more.jsonl", [("Say it", long[2]), ("Say it", long[2])]),
    )
    (tmp_path / "more.jsonl").open("a").write("{broken\n")
    mine = [long[0], edited, long[2], long[3], long[3]]
    records = [
        Record(id=f"a{k}", messages=(Message(role="user", content="Say it"), Message(role="assistant", content=text)))
        for k, text in enumerate(mine)
    ]
    for keep in ("first", "longest"):
        outcomes = run(tmp_path, records, Dedup(against=files, keep=keep))  # type: ignore[arg-type]
        found = evidence(outcomes)
        assert kept_ids(outcomes) == ["a3"]
        assert (found["a0"]["reason"], found["a0"]["file"], found["a0"]["line"]) == ("exact-duplicate", "eval.jsonl", 1)
        assert (found["a1"]["reason"], found["a1"]["file"], found["a1"]["line"]) == ("near-duplicate", "eval.jsonl", 2)
        assert 0.7 <= found["a1"]["similarity"] < 1
        assert (found["a2"]["file"], found["a2"]["line"]) == ("more.jsonl", 1)
        assert found["a4"] == {"reason": "exact-duplicate", "partner": "a3", "similarity": 1.0}
        assert outcomes[0].notes == {"against_rows": 4, "against_unreadable": 1}
    assert kept_ids(run(tmp_path, records, Dedup(against=files, method="exact"))) == ["a1", "a3"]
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["stream.parquet"], "nothing is left behind"


def test_a_chain_to_another_dataset_is_followed_by_components(tmp_path: Path) -> None:
    words = WORDS[:60]
    parts = [" ".join(words[start : start + 40]) for start in (0, 4, 8)]
    (tmp_path / "b.jsonl").write_text(json.dumps({"instruction": parts[0], "output": ""}) + "\n")
    records = [record("a1", parts[1]), record("a2", parts[2])]
    files = (str(tmp_path / "b.jsonl"),)
    assert kept_ids(run(tmp_path, records, Dedup(against=files))) == ["a2"]
    found = evidence(run(tmp_path, records, Dedup(against=files, cluster="components")))
    assert set(found) == {"a1", "a2"}
    assert found["a2"]["neighbour"] == "a1"
    assert found["a2"]["file"] == "b.jsonl"


def test_the_command_adds_files_to_an_index(tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    rng = random.Random(8)
    long = [" ".join(rng.choice(WORDS) for _ in range(40)) for _ in range(3)]
    write_rows(first, [("Say it", long[0]), ("Say it", long[1])])
    write_rows(second, [("Say it", long[1]), ("Say it", long[2])])
    kept = []
    for file in (first, second):
        done = seedmill(
            "dedup",
            file,
            "--index",
            tmp_path / "index",
            "--outputs",
            tmp_path / "outputs",
            "--json",
            "--engine",
            "local",
        )
        assert done.returncode == 0, done.stderr
        kept.append(next(e for e in json.loads(done.stdout)["entries"] if e["name"] == "dedup")["kept"])
    assert kept == [2, 1]
    done = seedmill("dedup", second, "--against", first, "--outputs", tmp_path / "outputs", "--json", "--run", "x")
    assert done.returncode == 0, done.stderr
    assert next(e for e in json.loads(done.stdout)["entries"] if e["name"] == "dedup")["kept"] == 1
