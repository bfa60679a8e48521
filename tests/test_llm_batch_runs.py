"""Whole runs by the batch: the same bytes as online, refusals, stopping, and kill -9 at any moment."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.llm.batch.book import read_book
from pipeline.llm.fake.provider import FakeProvider
from tests.kills import ledger_calls
from tests.runs import RECIPES, ROOT, environment, made_bytes, seedmill
from tests.scripted import until

RECIPE = RECIPES / "batch.yaml"
KEY = "sk-batch-test-0815"
PRICE = {"default": {"input": 1.0, "output": 2.0, "batch_discount": 0.5}}
POINTS = ("batch-planned", "batch-uploaded", "batch-created", "batch-noted", "batch-collected", "reply-durable:30")


@dataclass
class Runs:
    """Runs of the recipe against one provider, in one outputs folder."""

    provider: FakeProvider
    outputs: Path
    options: tuple[str, ...] = ()
    durable: dict[str, int] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return environment(LLM_BASE_URL=self.provider.url, LLM_MODEL="fake", LLM_API_KEY=KEY)

    @property
    def ledger(self) -> Path:
        return self.outputs / "ledger"

    def arguments(self, mode: str, engine: str, **settings: Any) -> list[str]:
        given = {"mode": mode, "batch.poll": 0.05, "batch.attempts": 9} | settings
        sets = [text for name, value in given.items() for text in ("--set", f"models.default.{name}={value}")]
        return ["run", str(RECIPE), "--outputs", str(self.outputs), "--engine", engine, *sets]

    def finish(self, mode: str = "batch", engine: str = "local", run: str = "x", **settings: Any) -> dict[str, Any]:
        done = seedmill(*self.arguments(mode, engine, **settings), "--run", run, "--json", env=self.env)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found | {"said": done.stderr}

    def start(self, mode: str = "batch", engine: str = "local", **environ: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pipeline", *self.arguments(mode, engine), "--run", "x"]
        return subprocess.Popen(command, cwd=ROOT, env=self.env | environ, stderr=subprocess.PIPE, text=True)

    def bytes(self, run: str = "x") -> dict[str, str]:
        return made_bytes(self.outputs / run)

    def batched(self) -> dict[bool, int]:
        return {line["batch"]: line["replies"] for line in self.provider.bill()["lines"]}

    def note(self) -> None:
        """What is durable now must never be asked again."""
        finished = ledger_calls(self.ledger, self.env).finished
        attempts = {key: call["attempts"] for key, call in self.provider.calls().items()}
        for key, before in self.durable.items():
            assert attempts[key] == before, "a finished call was asked again"
        self.durable = {key: attempts[key] for key in finished}

    def verify(self) -> None:
        """Every reply the provider gave is in the ledger, each once: batches lose nothing and repeat nothing."""
        noted = ledger_calls(self.ledger, self.env)
        calls = self.provider.calls()
        assert (noted.left, noted.lost) == (0, {})
        assert {key: call["finished"] for key, call in calls.items()} == dict(noted.finished)
        assert [e for e in read_book(self.ledger, "x") if e.state != "ended"] == []


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider({"price": PRICE, "batch": {"seconds": 0.4}}, own_process=True) as running:
        yield running


@pytest.fixture(scope="module")
def reference(provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bytes of a run online."""
    runs = Runs(provider, tmp_path_factory.mktemp("online"))
    runs.finish("online")
    return runs.bytes()


@pytest.fixture
def runs(provider: FakeProvider, tmp_path: Path, reference: Mapping[str, str]) -> Runs:
    provider.reset()
    return Runs(provider, tmp_path)


def test_batch_makes_the_bytes_of_online_at_half_the_price(runs: Runs, reference: Mapping[str, str]) -> None:
    told = runs.finish("batch")
    assert runs.bytes() == reference
    runs.verify()
    bill = runs.provider.bill()
    assert runs.batched().keys() == {True}
    assert told["totals"]["cost"] == pytest.approx(bill["usd"])
    waves = [e.lines for e in read_book(runs.ledger, "x")]
    assert len(waves) < 20 < max(waves), "a stage's calls go together, whatever its window"
    requests = bill["requests"]
    runs.finish("auto", run="again")
    assert runs.provider.bill()["requests"] == requests
    assert runs.bytes("again") == reference


def test_auto_makes_the_bytes_of_online(runs: Runs, reference: Mapping[str, str]) -> None:
    told = runs.finish("auto", **{"batch.least": 20})
    assert runs.bytes() == reference
    runs.verify()
    shares = runs.batched()
    assert min(shares[True], shares[False]) > 0
    assert told["totals"]["cost"] == pytest.approx(runs.provider.bill()["usd"])


def test_batch_on_ray_makes_the_bytes_of_online(runs: Runs, reference: Mapping[str, str]) -> None:
    runs.finish("batch", engine="ray")
    assert runs.bytes() == reference
    runs.verify()
    assert runs.batched().keys() == {True}


def test_a_pool_stage_is_refused_before_anything_runs_and_auto_asks_it_online(tmp_path: Path) -> None:
    with FakeProvider(own_process=True) as provider:
        env = environment(LLM_BASE_URL=provider.url, LLM_MODEL="fake", LLM_API_KEY=KEY)
        common = ("run", RECIPES / "whole.yaml", "--outputs", tmp_path, "--engine", "local")
        done = seedmill(*common, "--set", "models.default.mode=batch", env=env)
        assert done.returncode == 2
        assert "entry self-instruct cannot ask by batch" in done.stderr
        assert "models.default.mode to auto" in done.stderr
        assert "mode: online" in done.stderr
        assert not list(tmp_path.glob("whole/0*"))
        auto = ("--set", "models.default.mode=auto", "--set", "models.default.batch.poll=0.1")
        done = seedmill(*common, *auto, "--to", "evol-instruct", "--set", "models.default.batch.least=5", env=env)
        assert done.returncode == 0, done.stderr
        assert {line["batch"] for line in provider.bill()["lines"]} == {True, False}


def test_the_embedded_model_has_no_batches(tmp_path: Path) -> None:
    done = seedmill("run", RECIPE, "--outputs", tmp_path, "--set", "models.default.mode=batch", env=environment())
    assert done.returncode == 2
    assert "the embedded model has no batch API" in done.stderr


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Runs]:
    """A provider whose batches take longer than any test."""
    script = {"price": PRICE, "batch": {"seconds": 600.0}}
    with FakeProvider(script, own_process=True) as running:
        yield Runs(running, tmp_path)


def begun(runs: Runs) -> bool:
    return any(e.state == "created" and e.said == "in_progress" for e in read_book(runs.ledger, "x"))


def test_ctrl_c_leaves_the_batches_and_says_how_to_stop_them(slow: Runs) -> None:
    process = slow.start()
    until(lambda: begun(slow), 60)
    # A run writes its status about once a second.
    until(lambda: re.search(r"1 batch: \d+ of 24 calls done, since \d+ s", told(slow, "status", "x")) is not None)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "24 calls in 1 batch ('seedmill batches x' shows them)" in said
    assert "Traceback" not in said
    stats = json.loads(told(slow, "ledger", "stats", "--json"))
    assert [(item["run"], item["calls"]) for item in stats["in_batches"]] == [("x", 24)]
    assert "24 calls in batches of run 'x'" in told(slow, "ledger", "stats")
    books = told(slow, "ledger", "reconcile", "x")
    assert "not in it: 24 calls in batches that a server works on; see 'seedmill batches x'" in books
    shown = seedmill("batches", "x", "--outputs", slow.outputs, env=slow.env)
    assert re.search(r"^batch_\w+ +default +fake +in_progress .* 24 ", shown.stdout, re.M), shown.stdout
    stopped = seedmill("batches", "x", "--outputs", slow.outputs, "--cancel", "--json", env=slow.env)
    assert [b["state"] for b in json.loads(stopped.stdout)["batches"]] == ["cancelling"]
    until(lambda: state_of(slow) == "cancelled", 60)
    assert KEY.encode() not in b"".join(p.read_bytes() for p in slow.outputs.rglob("*") if p.is_file())


def told(runs: Runs, *words: str) -> str:
    return seedmill(*words, "--outputs", runs.outputs, env=runs.env).stdout


def state_of(runs: Runs) -> str:
    return str(json.loads(told(runs, "batches", "x", "--json"))["batches"][-1]["state"])


def test_a_batch_that_was_stopped_is_asked_online_by_the_next_run(slow: Runs) -> None:
    process = slow.start()
    until(lambda: begun(slow), 60)
    process.kill()
    process.communicate()
    seedmill("batches", "x", "--outputs", slow.outputs, "--cancel", env=slow.env)
    told = slow.finish("online")
    assert "still under way" in told["said"]
    slow.verify()
    assert slow.batched()[False] > 24


def test_a_stop_request_ends_the_waiting(slow: Runs) -> None:
    process = slow.start()
    until(lambda: begun(slow), 60)
    assert seedmill("ctl", "x", "stop", "--outputs", slow.outputs, env=slow.env).returncode == 0
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "stopped on request" in said
    assert [e.state for e in read_book(slow.ledger, "x")] == ["created"]


def test_a_batch_that_its_server_lost_can_be_given_up(slow: Runs) -> None:
    process = slow.start()
    until(lambda: begun(slow), 60)
    process.kill()
    process.communicate()
    port = slow.provider.port
    slow.provider.__exit__(None, None, None)
    with FakeProvider({"price": PRICE, "batch": {"seconds": 0.1}}, port=port, own_process=True) as other:
        again = Runs(other, slow.outputs)
        stuck = seedmill(*again.arguments("batch", "local"), "--run", "x", env=again.env)
        assert stuck.returncode == 1
        assert "there is no batch batch_" in stuck.stderr
        given_up = seedmill("batches", "x", "--outputs", slow.outputs, "--cancel", env=again.env)
        assert "given up" in given_up.stdout
        again.finish("batch")
        again.verify()


def torture(runs: Runs, points: tuple[str, ...], moments: list[float], engine: str = "local") -> None:
    for point in points:
        process = runs.start(engine=engine, SEEDMILL_CRASH_AT=point)
        _, said = process.communicate(timeout=180)
        assert process.returncode == -signal.SIGKILL or "has died" in said, said
        runs.note()
    for moment in moments:
        kill_after(runs, moment, engine)
        time.sleep(1.0 if engine == "ray" else 0.0)  # orphaned actors may still write what they have in flight
        runs.note()


def kill_after(runs: Runs, seconds: float, engine: str) -> None:
    """Kill a live run; one that has ended by then is begun anew and killed sooner."""
    while True:
        process = runs.start(engine=engine)
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return
        assert process.returncode == 0, said
        shutil.rmtree(runs.outputs / "x")
        seconds *= 0.7


def test_killed_at_every_point_of_a_batch(runs: Runs, reference: Mapping[str, str]) -> None:
    torture(runs, POINTS, [])
    runs.finish("batch")
    assert runs.bytes() == reference
    runs.verify()


@pytest.mark.long
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_killed_at_random_moments(runs: Runs, reference: Mapping[str, str], engine: str) -> None:
    draw = random.Random(engine)
    longest = 6.0 if engine == "local" else 20.0
    torture(
        runs, (*POINTS, "batch-created:2", "batch-collected:3"), [draw.uniform(1.0, longest) for _ in range(12)], engine
    )
    runs.finish("batch", engine=engine)
    assert runs.bytes() == reference
    runs.verify()
