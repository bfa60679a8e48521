"""Ledgers filled as a run fills them, a small run to look into, and commands whose output is read."""

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.llm.body import Call, compose
from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.ledger import Finished, Ledger
from pipeline.llm.reading import read_reply
from pipeline.llm.request import Request
from tests.runs import RECIPES, environment, seedmill
from tests.scripted import said, spec_of

HOSTILE = "\x1b[2J\x9b31m \u202e end"
COLUMNS = ("key", "request", "reply", "outcome", "run", "entry", "model", "time")


def make_run(folder: Path) -> Path:
    """Two entries of the whole recipe, on the fake provider with its faults."""
    with FakeProvider(own_process=True) as provider:
        env = environment(LLM_BASE_URL=provider.url, LLM_MODEL="fake", LLM_API_KEY="sk-x")
        options = ("--outputs", folder, "--engine", "local", "--quiet", "--to", "evol-instruct")
        done = seedmill("run", RECIPES / "whole.yaml", *options, "--set", "self-instruct.target=4", env=env)
        assert done.returncode == 0, done.stderr
    return folder


def rows_of(ledger: Path) -> list[dict[str, Any]]:
    """Every stored call, read without any of our code."""
    found = []
    for path in sorted(ledger.glob("shard-*.sqlite")):
        database = sqlite3.connect(path)
        found += [
            dict(zip(COLUMNS, row, strict=True)) for row in database.execute(f"SELECT {', '.join(COLUMNS)} FROM calls")
        ]
        database.close()
    return found


class Told:
    """Runs commands in this process and gives back what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def text(self, *words: object, code: int = 0) -> str:
        self._capsys.readouterr()
        assert main([str(word) for word in words]) == code
        said = self._capsys.readouterr()
        assert code == 0 or not said.out
        return said.out if code == 0 else said.err

    def json(self, *words: object) -> Any:
        return json.loads(self.text(*words, "--json"))


def call_of(number: int, entry: str = "answer", text: str = "number") -> Call:
    return compose(spec_of(), Request(prompt=f"{text} {number}"), entry)


def fill(
    folder: Path,
    run: str,
    numbers: range,
    *,
    cost: float | None = 0.25,
    text: str = "Blue.",
    lost: tuple[str, ...] = (),
    entry: str = "answer",
) -> None:
    """Store calls as a run does."""
    ledger = Ledger(folder, run)
    for number in numbers:
        over = threading.Event()
        body = said(text).data.decode()
        end = Finished(body=body, reading=read_reply(body), cost=cost, sends=1 + len(lost), ms=5, lost=lost)
        ledger.finish(call_of(number, entry), "m", end, lambda error, over=over: over.set())
        assert over.wait(20)
    ledger.close()
