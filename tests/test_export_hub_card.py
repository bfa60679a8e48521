"""The card as the Hub and `datasets` read it, with values they allow, and with hostile rows that stay text."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import markdown_it
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from PIL import Image

from pipeline.export.figures import length_bins, score_bins, spread
from pipeline.export.files import write_export
from pipeline.export.markdown import block, code, plain
from pipeline.export.plots import histograms, labels, steps
from pipeline.export.settings import Settings
from pipeline.record import Message, Record
from tests.doubles import stream_of
from tests.test_export import ODD
from tests.test_export_card import FACTS

HOSTILE = (
    'evil"\n---\n# owned\n<script>alert(1)</script> <img src=x onerror=alert(1)> [click](javascript:alert(1)) '
    "![x](https://evil.example/x.png) | a | `code` *b* _c_ https://evil.example www.evil.example @team "
    "$x$ \u202e\x1b[31m"
)


def rows(count: int) -> list[Record]:
    return [
        Record(
            id=f"r{i}",
            messages=(
                Message(role="user", content=f"How many rivers does country number {i} have?"),
                Message(role="assistant", content="It has a great many of them. " * (1 + i % 5)),
            ),
            language=("en", "zh-Hans", "zh-Hant")[i % 3],
            scores={"accuracy": 1.0 + i % 5, "有用": i / 7},
            source="mine.jsonl",
            method="self-instruct",
            model="smollm2-135m-instruct",
            license="cc-by-4.0",
        )
        for i in range(count)
    ]


def export(folder: Path, found: list[Record], facts: dict[str, Any] | None = None, **settings: Any) -> DatasetCard:
    folder.mkdir(exist_ok=True)
    write_export(stream_of(folder, found), folder / "export", Settings(**settings), facts, fingerprint="f")
    return DatasetCard.load(folder / "export" / "README.md")


PARSE = """
import json, sys
from importlib.resources import files
from datasets import DatasetInfo, Features
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard
data = DatasetCard.load(sys.argv[1]).data
known = files("datasets.utils.resources")
allowed = {name: json.loads((known / f"{name}.json").read_text()) for name in
           ("languages", "multilingualities", "size_categories", "creators")}
info = DatasetInfo._from_yaml_dict(data.to_dict()["dataset_info"])
print(json.dumps({
    "configs": list(MetadataConfigs.from_dataset_card_data(data)),
    "features": {name: str(kind) for name, kind in info.features.items()},
    "splits": {name: [split.num_bytes, split.num_examples] for name, split in info.splits.items()},
    "size": [info.download_size, info.dataset_size],
    "arrow": {field.name: str(field.type) for field in info.features.arrow_schema},
    "wrong": {
        "language": [x for x in data.language if x not in allowed["languages"]],
        "multilinguality": [x for x in data.multilinguality if x not in allowed["multilingualities"]],
        "size_categories": [x for x in data.size_categories if x not in allowed["size_categories"]],
        "annotations_creators": [x for x in data.annotations_creators if x not in allowed["creators"]["annotations"]],
        "language_creators": [x for x in data.language_creators if x not in allowed["creators"]["language"]],
    },
}))
"""


PREFERENCE = [replace(r, chosen=r.messages[1:], rejected=r.messages[1:], label=True) for r in rows(30)]


@pytest.mark.parametrize("found", [rows(30), [*ODD, *rows(30)], PREFERENCE], ids=["plain", "tools", "preference"])
def test_the_front_matter_is_what_datasets_and_the_hub_allow(tmp_path: Path, found: list[Record]) -> None:
    pytest.importorskip("datasets")
    export(tmp_path, found, FACTS, split={"validation": 0.3}, title="My 中文 set: no. 1")
    path = tmp_path / "export" / "README.md"
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(path)],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["wrong"] == {key: [] for key in said["wrong"]}
    assert said["configs"] == ["default"]
    schema = pq.read_table(tmp_path / "export" / "data").schema
    assert list(said["features"]) == schema.names
    files = list((tmp_path / "export" / "data").iterdir())
    assert said["size"][0] == sum(file.stat().st_size for file in files)
    for name, (size, count) in said["splits"].items():
        (file,) = [file for file in files if file.name.startswith(name)]
        assert count == pq.ParquetFile(file).metadata.num_rows
        assert size == pytest.approx(pq.read_table(file).nbytes, abs=64)
    assert sum(size for size, _ in said["splits"].values()) == said["size"][1]
    # `datasets` calls the items of a list "item", parquet "element".
    types = {field.name: str(field.type).replace("element", "item") for field in schema}
    assert said["arrow"] == types


TASKS = {"text-generation", "question-answering", "summarization", "translation", "text-classification"}


def test_the_front_matter_is_that_of_the_rows(tmp_path: Path) -> None:
    card = export(tmp_path, rows(30), FACTS, title="My 中文 set: no. 1")
    data = card.data.to_dict()
    assert data["pretty_name"] == "My 中文 set: no. 1"
    assert data["language"] == ["en", "zh"]
    assert data["language_bcp47"] == ["en", "zh-Hans", "zh-Hant"]
    assert set(data["task_categories"]) <= TASKS
    assert data["license"] == "cc-by-4.0"
    assert data["tags"][0] == "synthetic"
    known = replace(rows(1)[0], source="tatsu-lab/alpaca", model=None)
    assert export(tmp_path, [known], title="x").data.to_dict()["source_datasets"] == ["extended|tatsu-lab/alpaca"]


def hostile() -> list[Record]:
    texts = dict.fromkeys(("language", "source", "model", "prompt", "license", "method"), HOSTILE)
    return [replace(r, scores={HOSTILE: 1.0}, **texts) for r in rows(3)]  # type: ignore[arg-type]


def test_hostile_values_stay_text(tmp_path: Path) -> None:
    manifest = FACTS["entries"][0]["manifest"]
    notes = {"benchmarks": {HOSTILE: {"rows": 3, HOSTILE: "x"}}, f"{HOSTILE}/questions": 2, "plain": 4}
    facts = FACTS | {
        "text": f"# {HOSTILE}\n```\n",
        "entries": [
            {"name": "read", "stage": "read", "manifest": manifest | {"models": {HOSTILE: {"model": HOSTILE}}}},
            {"name": "decontaminate", "stage": "decontaminate", "manifest": manifest | {"notes": notes}},
        ],
    }
    card = export(tmp_path, hostile(), facts, title=HOSTILE, license=HOSTILE)
    data = card.data.to_dict()
    assert data["license"] == "other"
    assert re.fullmatch(r"[a-z0-9.-]+", data["license_name"])
    assert "language" not in data
    assert "\n" not in data["pretty_name"]
    assert data["configs"][0]["config_name"] == "default"
    text = (tmp_path / "export" / "README.md").read_text(encoding="utf-8")
    page = (tmp_path / "export" / "LICENSE.md").read_text(encoding="utf-8")
    for shown in (text.split("---\n", 2)[2], page):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        kinds, targets = parsed(shown)
        assert "html_block" not in kinds
        assert "html_inline" not in kinds
        assert all("evil" not in target and "javascript" not in target for target in targets), targets
    headings = [line for line in text.splitlines() if line.startswith("# ")]
    assert len(headings) == 1 + text.count("\n# evil")


def parsed(text: str) -> tuple[set[str], list[str]]:
    """The kinds of tokens that a markdown parser sees, and every address it would make a link or image of."""
    tokens = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    flat = [token for top in tokens for token in (top, *(top.children or ()))]
    targets = [str(token.attrs.get(key)) for token in flat for key in ("href", "src") if key in token.attrs]
    return {token.type for token in flat}, targets


def test_notes_become_tables_whatever_their_shape(tmp_path: Path) -> None:
    manifest = FACTS["entries"][0]["manifest"]
    notes = {
        "checked": 7,
        "gsm8k/questions": 3,
        "gsm8k/answers": 0,
        "mmlu/questions": 1,
        "benchmarks": {"gsm8k": {"rows": 3, "share": 0.25}, "mmlu": {"rows": 1}},
        "lists": [{"name": "a", "hits": 2}],
    }
    entry = {"name": "decontaminate", "stage": "decontaminate"}
    tables = {"benchmark": {"vicuna": {"items": 80, "items_found": 2}, "mt": {"items": 80, "items_found": 0}}}
    entry |= {
        "manifest": manifest
        | {"notes": notes, "tables": tables, "reasons": {"in-benchmark": 4}, "settings": {"ngram": 13}}
    }
    text = export(tmp_path, rows(3), FACTS | {"entries": [entry]}).text
    assert "### decontaminate" in text
    assert "(ngram 13)" in text
    assert "| in-benchmark | 4 |" in text
    assert "| checked | 7 |" in text
    assert "| | questions | answers |" in text
    assert "| gsm8k | 3 | 0 |" in text
    assert "| mmlu | 1 | |" in text
    assert "| benchmarks | rows | share |" in text
    assert "| gsm8k | 3 | 0.25 |" in text
    assert "| 1 | a | 2 |" in text
    assert "| benchmark | items | items found |" in text
    assert "| vicuna | 80 | 2 |" in text
    assert "## Citations" not in text


def test_pictures_show_the_figures_and_names_they_cannot_write_stand_under_them(tmp_path: Path) -> None:
    card = export(tmp_path, rows(40), FACTS)
    folder = tmp_path / "export"
    for name in ("lengths", "scores", "funnel"):
        assert f"](plots/{name}.png)" in card.text
        with Image.open(folder / "plots" / f"{name}.png") as image:
            assert image.format == "PNG"
            assert image.width == 1_280
            assert (folder / "plots" / f"{name}.png").stat().st_size < 60_000
    assert "In the picture (1) is 有用." in card.text
    assert "| score accuracy | 40 | 3 | 1 | 3 | 5 | 5 |" in card.text


def test_labels_are_ones_that_the_font_has() -> None:
    found = labels(["accuracy", "有用", "a" * 50, "b\nc", "naïve"])
    assert found == {"accuracy": "accuracy", "有用": "(1)", "a" * 50: "(2)", "b\nc": "(3)", "naïve": "(4)"}


def test_a_taller_bar_is_drawn_for_a_larger_count() -> None:
    import io

    def ink(data: bytes, box: tuple[int, int, int, int]) -> int:
        with Image.open(io.BytesIO(data)) as image:
            part = image.convert("RGB").crop(box)
            return sum(1 for pixel in part.getdata() if pixel[2] > pixel[0] + 60)

    picture = histograms([("Title", [("a", 10), ("b", 100)])], "rows")
    left, right = ink(picture, (0, 0, 640, 400)), ink(picture, (640, 0, 1280, 400))
    assert 8 < right / left < 12
    rows_drawn = steps("Title", [("a", 100), ("b", 50)])
    assert ink(rows_drawn, (0, 90, 1280, 136)) > 1.8 * ink(rows_drawn, (0, 136, 1280, 180)) > 0
    assert histograms([("Title", [("a", 10)])], "rows") == histograms([("Title", [("a", 10)])], "rows")


def test_figures_are_those_of_the_values() -> None:
    values = {1: 50, 2: 45, 100: 5}
    found = spread(values)
    assert found is not None
    assert (found.count, found.mean, found.least, found.median, found.high, found.most) == (100, 6.4, 1, 1, 2, 100)
    assert spread({}) is None
    assert length_bins({3: 1, 10: 1, 11: 5, 45: 2}) == [("10", 2), ("20", 5), ("50", 2)]
    assert score_bins({1.0: 3, 4.5: 2}) == [("1", 3), ("4.5", 2)]
    many = score_bins({i / 100: 1 for i in range(101)})
    assert len(many) == 10
    assert sum(count for _, count in many) == 101


@pytest.mark.parametrize("text", [HOSTILE, "1. a", "# a", "- a", "+ a", "", "   ", "a\\b", "*", "[x]: http://e"])
def test_plain_text_and_code_are_shown_as_they_are(text: str) -> None:
    for shown in (plain(text), code(text)):
        tokens = markdown_it.MarkdownIt("commonmark", {"html": True}).parse(shown)
        kinds = {token.type for token in tokens if token.type.endswith("_open")}
        assert kinds <= {"paragraph_open"}
        words = "".join(child.content for token in tokens for child in token.children or ())
        assert "evil" not in text or "evil" in words
    (fence,) = markdown_it.MarkdownIt().parse(block(text, "yaml"))
    assert fence.type == "fence"


def test_every_paper_is_cited_by_something_and_is_bibtex() -> None:
    import yaml

    from pipeline.export import made
    from pipeline.stages import STAGES

    known = yaml.safe_load(Path(made.__file__).with_name("citations.yaml").read_text(encoding="utf-8"))
    cited = {key for keys in known["stages"].values() for key in keys} | set(known["measured_languages"])
    assert cited == known["papers"].keys()
    assert known["stages"].keys() <= STAGES.keys()
    for key, entry in known["papers"].items():
        assert re.match(rf"@\w+\{{{key},\n", entry)
        assert entry.count("{") == entry.count("}")
        assert {"title", "author", "year"} <= set(re.findall(r"^  (\w+) = \{", entry, re.MULTILINE))
