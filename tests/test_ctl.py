"""`seedmill ctl`: a run that is under way is paused, retuned and stopped, and says so."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.limits import read_changes
from pipeline.status import Status, await_answer, command_run
from tests.live_runs import Run
from tests.runs import seedmill


@contextmanager
def slow(folder: Path, seconds: float) -> Iterator[FakeProvider]:
    """A provider whose replies take so long."""
    script = folder / "slow.yaml"
    script.write_text(f"latency: {{kind: constant, seconds: {seconds}}}\n")
    with FakeProvider(script, own_process=True) as running:
        yield running


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[FakeProvider]:
    with slow(tmp_path, 0.25) as running:
        yield running


@pytest.fixture
def run(provider: FakeProvider, tmp_path: Path) -> Iterator[Run]:
    live = Run(provider, tmp_path, "x", "--set", "self-instruct.target=60")
    live.until(lambda: provider.bill()["finished"] >= 3)
    yield live
    live.process.kill()
    live.process.wait(20)


def ctl(outputs: Path, *words: str) -> tuple[int, str, str]:
    done = seedmill("ctl", "x", *words, "--outputs", outputs)
    return done.returncode, done.stdout, done.stderr


def status(run: Run) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((run.folder / "status.json").read_text())
    return told


def test_a_run_is_paused_retuned_and_stopped(run: Run, provider: FakeProvider, tmp_path: Path) -> None:
    code, out, _ = ctl(tmp_path, "set", "concurrency=1", "default.requests_per_minute=1200")
    assert (code, out) == (0, "run 'x': limits until this run ends: default: concurrency 1, requests_per_minute 1200\n")
    run.until(lambda: provider.bill()["in_flight"] <= 1)
    seen = set()
    finished = provider.bill()["finished"]
    while provider.bill()["finished"] < finished + 4:
        seen.add(provider.bill()["in_flight"])
    assert seen <= {0, 1}, "no more than one call at once any more"
    code, out, _ = ctl(tmp_path, "set", "concurrency=6", "requests_per_minute=none")
    assert (code, out) == (0, "run 'x': limits until this run ends: default: concurrency 6, requests_per_minute none\n")
    run.until(lambda: provider.bill()["in_flight"] >= 3)
    assert ctl(tmp_path, "pause")[:2] == (
        0,
        "run 'x': paused: what is being worked on still ends, nothing new begins\n",
    )
    assert status(run)["state"] == "paused"
    assert ctl(tmp_path, "resume")[:2] == (0, "run 'x': goes on\n")
    assert status(run)["state"] == "running"
    assert ctl(tmp_path, "stop")[0] == 0
    code, _, said = run.end()
    assert code == 1
    assert "stopped on request" in said
    code, out, said = ctl(tmp_path, "pause")
    assert (code, out, "run 'x' is not under way" in said) == (2, "", True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("set", "teacher.concurrency=2"), "this run has no model role 'teacher'\nhint: its roles: default"),
        (("set", "timeout=2"), "'timeout' cannot be set while a run is under way"),
        (("set", "concurrency=0"), "concurrency cannot be 0\nhint: it is a whole number from 1"),
        (("set", "concurrency=none"), "concurrency cannot be none"),
        (("set", "requests_per_minute=-1"), "requests_per_minute cannot be -1"),
        (("set", "concurrency=many"), "the value is not a number"),
        (("set", "concurrency"), "not of the form LIMIT=VALUE"),
        (("set",), "'set' wants limits"),
        (("pause", "concurrency=2"), "'set' wants limits, and nothing else takes them"),
    ],
)
def test_what_cannot_be_set_is_a_sentence(live: Run, words: tuple[str, ...], told: str) -> None:
    code, out, said = ctl(live.folder.parent, *words)
    assert (code, out) == (2, "")
    assert told in said
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run that stands still."""
    folder = tmp_path_factory.mktemp("live")
    with slow(folder, 100) as provider:
        run = Run(provider, folder, "x")
        run.until(lambda: (run.folder / "status.json").exists())
        assert ctl(folder, "pause")[0] == 0
        yield run
        run.process.kill()
        run.process.wait(20)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"command": "set", "id": "1"}', "does not understand these limits"),
        ('{"command": "set", "id": "1", "limits": {"default": 3}}', "does not understand these limits"),
        ('{"command": "dance", "id": "1"}', "does not know what 'dance' is"),
        ("[]", None),
        ("{oops", None),
    ],
)
def test_what_others_write_into_control_json_stops_nothing(tmp_path: Path, text: str, said: str | None) -> None:
    status = Status(tmp_path, ["read"], lambda snapshot: None)
    status.limits_by(lambda wished: str(read_changes(wished, ["default"])))
    try:
        (tmp_path / "control.json").write_text(text)
        if said is not None:
            assert await_answer(tmp_path, "1", lambda: True) == said
        number = command_run(tmp_path, "pause")
        assert await_answer(tmp_path, number, lambda: True).startswith("paused")
    finally:
        status.close("done")
