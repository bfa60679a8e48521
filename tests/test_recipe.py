"""A wrong recipe is a sentence with file, line and the valid names."""

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.recipe import load_recipe

GOOD = """\
name: small
seed: 3
entries:
  - stage: read
    seeds: [tasks.jsonl]
  - stage: filter
  - stage: dedup
    threshold: 0.8
  - stage: dedup
    name: dedup-again
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tasks.jsonl").write_text('{"instruction": "Name a colour.", "output": "Red."}\n')
    return tmp_path


def load(folder: Path, text: str, *settings: str):
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, settings)


def test_a_good_recipe(folder: Path) -> None:
    recipe = load(folder, GOOD)
    assert [e.name for e in recipe.entries] == ["read", "filter", "dedup", "dedup-again"]
    assert recipe.entries[0].files == (folder / "tasks.jsonl",)
    assert recipe.entries[2].settings()["threshold"] == 0.8
    assert "seeds" not in recipe.entries[0].portable_settings()
    assert recipe.seed == 3


def test_set_changes_one_setting(folder: Path) -> None:
    recipe = load(folder, GOOD, "dedup-again.threshold=0.9", "seed=5")
    assert recipe.entries[3].settings()["threshold"] == 0.9
    assert recipe.entries[2].settings()["threshold"] == 0.8
    assert recipe.seed == 5


WRONG = {
    "a misspelt key": (
        GOOD.replace("threshold", "treshold"),
        8,
        "unknown key 'treshold' in entry dedup",
        "'threshold'",
    ),
    "a misspelt stage": (GOOD.replace("stage: filter", "stage: filtr"), 6, "unknown stage 'filtr'", "'filter'"),
    "a misspelt top key": (GOOD.replace("seed: 3", "sed: 3"), 2, "unknown key 'sed'", "'seed'"),
    "a wrong type": (GOOD.replace("0.8", "high"), 8, "'threshold' in entry dedup: \"high\" should be number", ""),
    "names repeated": (GOOD.replace("    name: dedup-again\n", ""), 9, "two entries are named 'dedup'", "dedup-2"),
    "read not first": ("entries:\n  - stage: filter\n", 2, "must be 'read'", ""),
    "no entries": ("seed: 1\n", 1, "'entries' is missing", ""),
    "entries empty": ("entries: []\n", 1, "entries", ""),
    "a missing file": (GOOD.replace("tasks.jsonl", "nowhere.jsonl"), 5, "no such file: nowhere.jsonl", "looked in"),
    "not YAML": ("entries: [\n", 2, "not valid YAML", ""),
    "a list": ("- stage: read\n", 1, "a recipe is a mapping", ""),
    "a key twice": (GOOD + "seed: 4\n", 11, "'seed' is repeated", ""),
    "an entry named as a sink": (GOOD.replace("dedup-again", "export"), 9, "cannot be named 'export'", ""),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_recipe_says_where_and_what(folder: Path, case: str) -> None:
    text, line, what, hint = WRONG[case]
    with pytest.raises(UsageError) as caught:
        load(folder, text)
    assert caught.value.message.startswith(f"{folder / 'x.yaml'}:{line}: "), caught.value
    assert what in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("setting", ["dedup", "nothere.x=1", "dedup.treshold=1", "=3", "dedup.threshold={"])
def test_a_wrong_set_is_a_sentence(folder: Path, setting: str) -> None:
    with pytest.raises(UsageError):
        load(folder, GOOD, setting)


def test_a_missing_recipe_lists_those_there(folder: Path) -> None:
    (folder / "other.yaml").write_text(GOOD)
    with pytest.raises(UsageError) as caught:
        load_recipe(folder / "nothere.yaml")
    assert "other.yaml" in (caught.value.hint or "")
