"""The seed tasks are ours, varied, and each has a good answer."""

import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.similar.novelty import closest
from pipeline.similar.tokens import characters, rouge

SEEDS = Path(__file__).parent.parent / "seeds"
PUBLISHED = {"en": "self_instruct_seed_tasks.jsonl", "zh": "belle_zh_seed_tasks.json"}
LANGUAGES = ("en", "zh")


def load(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def kind(language: str) -> str:
    return "rouge" if language == "en" else "characters"


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def seeds(language: str) -> list[dict]:
    return load(SEEDS / f"{language}.jsonl")


def test_counts(seeds: list[dict]) -> None:
    assert len(seeds) == 175
    assert len({s["id"] for s in seeds}) == len({s["name"] for s in seeds}) == 175
    with_input = sum(bool(s["instances"][0]["input"]) for s in seeds)
    assert 55 <= with_input <= 65
    assert sum(s["is_classification"] for s in seeds) == 25


def test_every_seed_is_whole(seeds: list[dict]) -> None:
    for seed in seeds:
        (instance,) = seed["instances"]
        assert seed["instruction"].strip() == seed["instruction"] != ""
        assert instance["output"].strip(), seed["id"]
        assert seed["difficulty"] in ("easy", "medium", "hard")
        assert not re.search(r"as an ai|作为一个?(人工智能|语言模型)|https?://", json.dumps(seed).lower()), seed["id"]


def test_variety(language: str, seeds: list[dict]) -> None:
    assert len({s["category"] for s in seeds}) >= 30
    difficulty = Counter(s["difficulty"] for s in seeds)
    assert min(difficulty.values()) >= 45
    openings = Counter(opening(language, s["instruction"]) for s in seeds)
    assert max(openings.values()) / len(seeds) <= 0.04, openings.most_common(3)
    count = rouge if language == "en" else characters
    lengths = sorted(len(count(s["instruction"])) for s in seeds)
    assert lengths[0] <= 8
    assert lengths[-1] >= 40


def opening(language: str, instruction: str) -> str:
    words = instruction.lower().split()[:2] if language == "en" else list(instruction[:2])
    return " ".join(words)


def test_root_verbs(language: str, seeds: list[dict]) -> None:
    assert len({s["verb"] for s in seeds}) >= 60
    for seed in seeds:
        stem = seed["verb"][:3].lower() if language == "en" else seed["verb"]
        pattern = rf"\b{re.escape(stem)}" if language == "en" else re.escape(stem)
        assert re.search(pattern, seed["instruction"].lower()), seed["id"]


def test_no_two_seeds_are_alike(language: str, seeds: list[dict]) -> None:
    instructions = [s["instruction"] for s in seeds]
    for i in range(1, len(instructions)):
        assert closest(instructions[i : i + 1], instructions[:i], kind(language))[0] <= 0.7, seeds[i]["id"]


def test_none_is_like_a_published_seed(language: str, seeds: list[dict]) -> None:
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip("REAL_DATA is not set: the published seeds are not at hand")
    published = [s["instruction"] for s in load(Path(folder) / PUBLISHED[language])]
    similarities = closest([s["instruction"] for s in seeds], published, kind(language))
    assert max(similarities) <= 0.5, max(zip(similarities, (s["id"] for s in seeds), strict=True))
