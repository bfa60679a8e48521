"""The same bytes from every engine and at every block size."""

import json
import random
from pathlib import Path

import pytest

from tests.runs import made_bytes, seedmill

WORDS = [
    "river",
    "stone",
    "lamp",
    "wind",
    "paper",
    "glass",
    "bread",
    "cloud",
    "iron",
    "seed",
    "salt",
    "rope",
    "clock",
    "field",
    "bridge",
    "candle",
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 rows with what every cleaning entry has something to say about."""
    draw = random.Random(5)
    rows = []
    for n in range(300):
        instruction = f"Explain in one paragraph how {draw.choice(WORDS)} and {draw.choice(WORDS)} differ, case {n}."
        output = " ".join(draw.choice(WORDS) for _ in range(30)) + "."
        rows.append({"instruction": instruction, "input": draw.choice(["", "<noinput>", "a&amp;b"]), "output": output})
    for n in range(0, 300, 10):
        rows[n]["output"] = draw.choice(["", "As an AI language model, I cannot do that.", rows[n]["output"]])
    rows += [dict(rows[1]), dict(rows[2]), rows[3] | {"output": rows[3]["output"] + " Indeed."}]
    path = tmp_path_factory.mktemp("data") / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def clean(dataset: Path, outputs: Path, *options: object) -> dict[str, str]:
    done = seedmill("clean", dataset, "--run", "x", "--outputs", outputs, "--quiet", *options)
    assert done.returncode == 0, done.stderr
    return made_bytes(outputs / "x")


def test_engines_and_block_sizes_agree(dataset: Path, tmp_path: Path) -> None:
    reference = clean(dataset, tmp_path / "local-1000", "--engine", "local", "--block-size", 1000)
    assert any(name.startswith("export/") for name in reference)
    for size in (1, 7):
        assert clean(dataset, tmp_path / f"local-{size}", "--engine", "local", "--block-size", size) == reference
    assert clean(dataset, tmp_path / "ray-7", "--engine", "ray", "--block-size", 7) == reference
