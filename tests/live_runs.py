"""A run in a process of its own that is watched, and steered, while it is under way."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from pipeline.llm.fake.provider import FakeProvider
from tests.runs import RECIPES, ROOT, environment
from tests.scripted import until

RECIPE = RECIPES / "whole.yaml"
ENTRIES = ("--to", "evol-instruct")


class Run:
    """A run in a process of its own; its stderr is read as it comes."""

    def __init__(self, provider: FakeProvider, outputs: Path, name: str, *options: str, **changes: str) -> None:
        self.folder = outputs / name
        command = [sys.executable, "-m", "pipeline", "run", str(RECIPE), "--run", name, "--outputs", str(outputs)]
        self.process = subprocess.Popen(
            [*command, "--engine", "local", "--json", *ENTRIES, *options],
            cwd=ROOT,
            env=env_of(provider, **changes),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the run does; it must not end before."""

        def happened() -> bool:
            assert self.process.poll() is None, "".join(self.said)
            return condition()

        until(happened, 120)

    def until_said(self, words: str) -> None:
        self.until(lambda: any(words in line for line in self.said))

    def end(self) -> tuple[int, str, str]:
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        code = self.process.wait(200)
        self._reader.join(20)
        return code, out, "".join(self.said)


def env_of(provider: FakeProvider, **changes: str) -> dict[str, str]:
    return environment(LLM_BASE_URL=provider.url, LLM_MODEL="fake", LLM_API_KEY="sk-two", **changes)
