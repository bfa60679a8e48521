"""An edited row, prompt or parameter pays only for what changed, by the provider's own count."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.llm.fake.provider import FakeProvider
from tests.runs import RECIPES

ROWS = 12

RECIPE = """
name: edits
seed: 3
entries:
  - {{stage: read, seeds: [seeds.jsonl], language: en}}
  - {{stage: evol-instruct, keep: all, judge: none, operators: {{deepen: 1}}, max_tokens: {max_tokens}}}
  - {{stage: score, prompt: judge.txt, rubric: {rubric}}}
"""

JUDGE = """[system]
You judge answers by {{{{dimension}}}}: {{{{rubric}}}}
[user]
{wish}
{{{{conversation}}}}
{{{{answer}}}}
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(RECIPES / "calm.yaml", own_process=True) as running:
        yield running


class Project:
    """A recipe, its prompt and its seeds; `run` says which calls the provider was asked for the first time."""

    def __init__(self, folder: Path, provider: FakeProvider) -> None:
        self._folder, self._provider = folder, provider
        self.settings: dict[str, Any] = {"max_tokens": 200, "rubric": "from 0 to 5"}
        self.wish = "Give a number from 0 to 5."
        self.texts = [f"Name {number + 2} things that float on water." for number in range(ROWS)]
        self._known: set[str] = set()

    def run(self) -> list[dict[str, Any]]:
        seeds = [{"instruction": text, "input": "", "output": f"Corks, and more ({text})"} for text in self.texts]
        (self._folder / "seeds.jsonl").write_text("\n".join(json.dumps(seed) for seed in seeds))
        (self._folder / "judge.txt").write_text(JUDGE.format(wish=self.wish))
        (self._folder / "recipe.yaml").write_text(RECIPE.format(**self.settings))
        before = self._asked()
        outputs = ("--outputs", str(self._folder / "outputs"), "--engine", "local", "--quiet", "--to", "score")
        assert main(["run", str(self._folder / "recipe.yaml"), *outputs]) == 0
        new = [call for call in self._ledger() if call["key"] not in self._known]
        self._known.update(call["key"] for call in new)
        assert self._asked() - before == len(new), "every call that was asked is new, and was asked once"
        return new

    def _asked(self) -> int:
        return sum(call["attempts"] for call in self._provider.calls().values())

    def _ledger(self) -> list[dict[str, Any]]:
        found = []
        for path in (self._folder / "outputs" / "ledger").glob("*.sqlite"):
            database = sqlite3.connect(path)
            rows = database.execute("SELECT key, entry, request FROM calls").fetchall()
            found += [{"key": key, "entry": entry, "request": request} for key, entry, request in rows]
            database.close()
        return found


@pytest.fixture
def project(tmp_path: Path, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name, value in {"LLM_BASE_URL": provider.url, "LLM_MODEL": "fake", "LLM_API_KEY": "sk-edits"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LEDGER", raising=False)
    provider.reset()
    project = Project(tmp_path, provider)
    assert len(project.run()) >= 2 * ROWS
    assert project.run() == []
    return project


def entries(calls: list[dict[str, Any]]) -> set[str]:
    return {call["entry"] for call in calls}


def test_an_edited_row_pays_for_itself(project: Project) -> None:
    project.texts[5] = "Name seven things that sink at once."
    new = project.run()
    assert entries(new) == {"evol-instruct", "score"}
    assert 0 < len(new) < 8, "the row, its evolved child, and their judgements"
    own = [call for call in new if "sink at once" in call["request"]]
    assert len(own) >= 2
    assert not [call for call in new if "float on water" in call["request"]]


def test_an_added_row_and_a_removed_one(project: Project) -> None:
    gone = project.texts.pop(3)
    assert project.run() == []
    project.texts += ["Name a thing that flies.", gone]
    new = project.run()
    assert 0 < len(new) < 8
    assert not [call for call in new if "float on water" in call["request"]]


def test_an_edited_prompt_pays_its_own_entry_again_and_no_other(project: Project) -> None:
    project.wish = "Answer with one number from 0 to 5 and nothing else."
    new = project.run()
    assert entries(new) == {"score"}
    assert all(project.wish in call["request"] for call in new)
    project.wish = "Give a number from 0 to 5."
    assert project.run() == [], "the first wording's judgements are still there"


def test_an_edited_parameter_pays_the_calls_that_carry_it(project: Project) -> None:
    project.settings["max_tokens"] = 150
    new = project.run()
    carrying = [call for call in new if json.loads(call["request"])["params"].get("max_tokens") == 150]
    assert len(carrying) == ROWS, "the seeds' rewriting; what follows from it is asked of other texts"
    project.settings["max_tokens"] = 200
    assert project.run() == []


def test_another_window_or_run_name_pays_nothing(project: Project, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    outputs = ("--outputs", str(tmp_path / "outputs"), "--engine", "local", "--quiet", "--to", "score")
    before = project._asked()
    assert main(["run", str(recipe), *outputs, "--run", "other", "--set", "score.window=3"]) == 0
    assert project._asked() == before
