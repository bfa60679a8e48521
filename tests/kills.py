"""Killing a live run again and again, and holding the ledger against what the provider saw."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.llm.body import Call, wire_body
from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.fake.question import Question, parse
from pipeline.llm.roles import resolve_models
from tests.runs import RECIPES, ROOT, environment, made_bytes

RECIPE = RECIPES / "whole.yaml"

AT_ONCE = 16
"""Calls that may be unaccounted for after a kill: the recipe's eight in flight, and replies on their way to disk."""

POINTS = (
    "reply-durable:7",
    "reply-durable:60",
    "shards-written:2",
    "before-rename:3",
    "mid-export",
    "before-export-rename",
)


@dataclass
class Trial:
    """One outputs folder whose run is killed; `suspects` are calls that were made again although finished.

    The ledger is that of the outputs folder unless another is named.
    """

    provider: FakeProvider
    outputs: Path
    engine: str
    ledger: Path = Path()
    kills: int = 0
    in_flight: int = 0
    suspects: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.ledger == Path():
            self.ledger = self.outputs / "ledger"

    def environment(self, **changes: str) -> dict[str, str]:
        model = {"LLM_BASE_URL": self.provider.url, "LLM_MODEL": "fake", "LLM_API_KEY": "sk-kill-test"}
        return environment(**model, LEDGER=str(self.ledger), **changes)

    def start(self, first: Callable[[], None] | None = None, **changes: str) -> subprocess.Popen[str]:
        """The run as a process; `first` is called in it before anything else."""
        command = [sys.executable, "-m", "pipeline", "run", str(RECIPE), "--run", "x", "--quiet"]
        return subprocess.Popen(
            [*command, "--outputs", str(self.outputs), "--engine", self.engine],
            cwd=ROOT,
            env=self.environment(**changes),
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=first,
        )

    def kill_at_point(self, point: str) -> bool:
        """Whether the run got as far as the point."""
        process = self.start(SEEDMILL_CRASH_AT=point)
        _, said = process.communicate(timeout=180)
        killed = process.returncode == -signal.SIGKILL or "has died" in said
        assert killed or process.returncode == 0, said
        self.kills += killed
        return killed

    def kill_after(self, seconds: float) -> None:
        """Kill a live run at that moment; a run that has ended by then is begun anew and killed sooner."""
        while True:
            process = self.start()
            try:
                _, said = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                self.kills += 1
                return
            assert process.returncode == 0, said
            shutil.rmtree(self.outputs / "x")
            seconds *= 0.7

    def finish(self) -> dict[str, str]:
        """Run to the end; the bytes made."""
        process = self.start()
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
        return made_bytes(self.outputs / "x")

    def note(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """After a kill: the provider's keys of the calls that are durable, and how often each body was asked so far."""
        if self.engine == "ray":
            time.sleep(1.0)  # orphaned actors may still write what they have in flight
        noted = ledger_calls(self.ledger, self.environment())
        assert noted.left <= AT_ONCE, "more calls are unaccounted for than were in flight"
        self.in_flight += noted.left
        return noted.finished, {key: call["attempts"] for key, call in self.provider.calls().items()}

    def check(self, before: tuple[Mapping[str, int], Mapping[str, int]]) -> None:
        """Whether a body that was durable has been asked again since."""
        finished, attempts = before
        now = self.provider.calls()
        self.suspects.update(key for key in finished if now[key]["attempts"] != attempts.get(key))

    def verify(self) -> None:
        """Nothing finished was asked again; what was repeated was in flight at the kills, and each of it is listed."""
        noted = ledger_calls(self.ledger, self.environment())
        finished = noted.finished
        # A judge that is asked a second time gets the same body under another sample index: two calls, both wanted.
        assert not [key for key in self.suspects if finished[key] == 1]
        calls = self.provider.calls()
        assert set(calls) == set(finished), "a finished call is missing from the ledger"
        repeated = sum(call["attempts"] for call in calls.values()) - sum(finished.values())
        assert 0 <= repeated <= self.in_flight, "more calls were repeated than were in flight at the kills"
        assert noted.left == 0
        # Orphaned actors on Ray may still finish some calls after we have looked.
        listed = noted.lost.total()
        assert listed == self.in_flight or (self.engine == "ray" and listed < self.in_flight), "not all are listed"
        for key, call in calls.items():
            assert call["attempts"] <= finished[key] + noted.lost[key], "an attempt is neither finished nor listed"


@dataclass(frozen=True)
class Noted:
    """What a ledger holds, by the provider's keys.

    Attributes:
        finished: how many finished calls have each key.
        lost: how many lost attempts are listed of each; those never finished since have the key "".
        left: calls noted as in flight.
    """

    finished: Counter[str]
    lost: Counter[str]
    left: int


def ledger_calls(ledger: Path, environ: Mapping[str, str]) -> Noted:
    """All that is noted in a ledger."""
    spec = resolve_models({}, environ)["default"]
    finished, lost, left = Counter[str](), Counter[str](), 0
    for path in sorted(ledger.glob("shard-*.sqlite")):
        database = sqlite3.connect(path)
        keys = {}
        for key, request in database.execute("SELECT key, request FROM calls"):
            call_path, body = wire_body(spec, Call(key, request, "default", ""))
            keys[key] = Question("chat" if "chat" in call_path else "completions", parse(body)).key
        finished.update(keys.values())
        lost.update(keys.get(key, "") for (key,) in database.execute("SELECT key FROM lost"))
        left += database.execute("SELECT count(*) FROM intents").fetchone()[0]
        database.close()
    return Noted(finished, lost, left)


def moments(seed: int, count: int, longest: float) -> list[float]:
    """Random moments of a run, in seconds from its start; the first second is start-up."""
    draw = random.Random(seed)
    return [draw.uniform(1.0, longest) for _ in range(count)]
