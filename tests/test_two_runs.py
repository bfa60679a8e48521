"""Two processes on one ledger: the second says whom it waits for, goes on after the first, and pays nothing twice."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.llm.fake.provider import FakeProvider
from pipeline.status import command_run
from tests.live_runs import Run, env_of
from tests.runs import made_bytes, seedmill
from tests.scripted import until


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeProvider]:
    script = tmp_path_factory.mktemp("script") / "slow.yaml"
    script.write_text("latency: {kind: lognormal, seconds: 0.25, spread: 0.4}\n")
    with FakeProvider(script, own_process=True) as running:
        running.reset()
        yield running


@pytest.fixture
def first(provider: FakeProvider, tmp_path: Path) -> Iterator[Run]:
    """A run that has asked some calls, holds the ledger and stands still."""
    provider.reset()
    run = Run(provider, tmp_path, "first")
    run.until(lambda: sum(call["attempts"] for call in provider.calls().values()) >= 3)
    command_run(run.folder, "pause")
    run.until(lambda: '"paused"' in (run.folder / "status.json").read_text())
    yield run
    run.process.kill()
    run.process.wait(20)


def test_the_second_run_waits_and_pays_nothing_twice(first: Run, provider: FakeProvider, tmp_path: Path) -> None:
    second = Run(provider, tmp_path, "second", LEDGER_PATIENCE="500")
    second.until_said("is in use by run 'first'")
    assert f"(process {first.process.pid} on " in "".join(second.said)
    assert "since 20" in "".join(second.said)
    until(lambda: "in use by run 'first'" in (second.folder / "status.json").read_text(), 20)
    command_run(first.folder, "resume")
    code, _, said = first.end()
    assert code == 0, said
    asked = {key: call["attempts"] for key, call in provider.calls().items()}
    code, out, said = second.end()
    assert code == 0, said
    totals = json.loads(out)["totals"]
    assert (totals["new"], totals["reused"]) == (0, sum(asked.values()))
    assert {key: call["attempts"] for key, call in provider.calls().items()} == asked
    assert made_bytes(second.folder) == made_bytes(first.folder) != {}


def test_patience_has_an_end_and_a_run_has_one_process(first: Run, provider: FakeProvider, tmp_path: Path) -> None:
    code, out, said = Run(provider, tmp_path, "second", LEDGER_PATIENCE="0.5").end()
    assert (code, out) == (1, "")
    assert f"is still in use by run 'first' (process {first.process.pid} on " in said
    assert "LEDGER_PATIENCE=" in said
    assert "Traceback" not in said
    code, _, said = Run(provider, tmp_path, "second", LEDGER_PATIENCE="soon").end()
    assert (code, "not a number of seconds" in said) == (2, True)
    code, _, said = Run(provider, tmp_path, "first").end()
    assert (code, "the run 'first' is being made by another process" in said) == (1, True)
    command_run(first.folder, "resume")
    code, _, said = first.end()
    assert code == 0, said


def test_who_only_reads_waits_for_nobody(first: Run, provider: FakeProvider, tmp_path: Path) -> None:
    stats = ("ledger", "stats", "--json")
    commands = (
        stats,
        ("ledger", "ls"),
        ("ledger", "ls", "--lost"),
        ("ledger", "export", "-o", tmp_path / "calls.jsonl"),
        ("ledger", "prune", "--run", "first"),
        ("calls", "first"),
        ("report", "first"),
        ("status", "first"),
    )
    for command in commands:
        done = seedmill(*command, "--outputs", tmp_path, env=env_of(provider), timeout=60)
        assert done.returncode == 0, (command, done.stderr)
    command_run(first.folder, "resume")
    before = -1
    while first.process.poll() is None:
        done = seedmill(*stats, "--outputs", tmp_path, env=env_of(provider), timeout=60)
        assert done.returncode == 0, done.stderr
        count = json.loads(done.stdout)["total"]["calls"]
        assert count >= before
        before = count
    code, out, said = first.end()
    assert code == 0, said
    done = seedmill(*stats, "--outputs", tmp_path, env=env_of(provider))
    assert json.loads(done.stdout)["total"]["calls"] == json.loads(out)["totals"]["new"] >= before > 0


def test_a_killed_run_holds_nothing_and_what_it_left_is_told(
    first: Run, provider: FakeProvider, tmp_path: Path
) -> None:
    command_run(first.folder, "resume")
    time.sleep(1.5)
    first.process.kill()
    first.process.wait(20)
    looked = seedmill("status", "first", "--outputs", tmp_path, env=env_of(provider))
    assert "run first: died" in looked.stdout
    lost = json.loads(seedmill("ledger", "ls", "--lost", "--json", "-n", 99, "--outputs", tmp_path).stdout)
    code, out, said = Run(provider, tmp_path, "first", LEDGER_PATIENCE="0").end()
    assert code == 0, said
    resumed = json.loads(out)["resumed"]
    assert sum(item["in_flight_found_at_open"] for item in resumed) == len(lost)
    assert sum(item["reused"] for item in resumed) > 0
    assert "of run 'first', to be reused where they are needed" in said
    if lost:
        assert f"{len(lost)} call{'s were' if len(lost) > 1 else ' was'} in flight when the last process died" in said
        report = seedmill("report", "first", "--outputs", tmp_path).stdout
        assert f"{len(lost)} {'were' if len(lost) > 1 else 'was'} in flight when the last process died" in report
    again = json.loads(seedmill("ledger", "ls", "--lost", "--json", "-n", 99, "--outputs", tmp_path).stdout)
    assert {attempt["key"] for attempt in again} == {attempt["key"] for attempt in lost}
    assert {attempt["why"] for attempt in again} <= {"the process died"}
