"""The dataset card: front matter that the Hub accepts, and figures that are those of the files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.export.files import write_export
from pipeline.export.front import size_category
from pipeline.export.licensing import HUB_LICENSES
from pipeline.export.settings import Settings
from pipeline.record import Message, Record, source_id
from tests.doubles import stream_of

USER, ANSWER = Message(role="user", content="Say hi"), Message(role="assistant", content="Hi")

FACTS: dict[str, Any] = {
    "run": "tuesday",
    "recipe": "/home/kim/demo.yaml",
    "text": "name: demo\nentries:\n  - stage: read  # ```not the end\n",
    "models": {"default": {"model": "tiny|135M", "small": True}, "judge": {"model": "large"}},
    "entries": [
        {
            "name": "read",
            "stage": "read",
            "manifest": {
                "in": 0,
                "derived": 9,
                "kept": 8,
                "dropped": 1,
                "reasons": {"bad-utf8": 1},
                "fixed": {},
                "hits": {},
            }
            | {"notes": {}, "seconds": 1.25, "models": {}},
        },
        {
            "name": "self-instruct",
            "stage": "self-instruct",
            "manifest": {
                "in": 8,
                "derived": 3,
                "kept": 3,
                "dropped": 8,
                "reasons": {"seed": 8},
                "fixed": {},
                "hits": {},
            }
            | {
                "notes": {"after_target": 2},
                "seconds": 2.5,
                "models": {"default": {"model": "tiny|135M", "small": True}},
            },
        },
    ],
}


def records(count: int, **more: Any) -> list[Record]:
    turns = [(replace(USER, content=f"Say {i}"), ANSWER) for i in range(count)]
    return [Record(id=source_id(t, None, None), messages=t, source="mine.jsonl", method="read", **more) for t in turns]


def card(folder: Path, found: list[Record], **options: Any) -> tuple[dict[str, Any], str]:
    """Front matter and text of the card of an export."""
    facts = options.pop("facts", None)
    write_export(stream_of(folder, found), folder / "export", Settings(**options), facts, fingerprint="f")
    _, front, body = (folder / "export" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_front_matter_has_the_values_that_the_hub_knows(tmp_path: Path) -> None:
    made = records(3, language="en", license="CC BY 4.0", model="tiny", prompt="p@1")
    front, _ = card(tmp_path, made, facts=FACTS, title="My set")
    assert {key: front[key] for key in front if key != "dataset_info"} == {
        "language": ["en"],
        "multilinguality": ["monolingual"],
        "license": "cc-by-4.0",
        "pretty_name": "My set",
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "source_datasets": ["original"],
        "size_categories": ["n<1K"],
        "task_categories": ["text-generation"],
        "tags": ["synthetic", "instruction-tuning", "seedmill"],
        "configs": [
            {
                "config_name": "default",
                "default": True,
                "data_files": [{"split": "train", "path": "data/train-*.parquet"}],
            }
        ],
    }


def test_the_figures_are_those_of_the_parquet_files(tmp_path: Path) -> None:
    front, body = card(tmp_path, records(3, tags={"a": "b"}, scores={"accuracy": 4.5}, parents=("p",)))
    folder = tmp_path / "export" / "data"
    table = pq.read_table(folder)
    info = front["dataset_info"]
    # Reading gives some columns a validity bitmap that they were written without.
    assert info["splits"] == [{"name": "train", "num_bytes": pytest.approx(table.nbytes, abs=16), "num_examples": 3}]
    assert info["download_size"] == sum(p.stat().st_size for p in folder.iterdir())
    assert info["dataset_size"] == info["splits"][0]["num_bytes"]
    assert [feature["name"] for feature in info["features"]] == table.schema.names
    features = {feature.pop("name"): feature for feature in info["features"]}
    text = {"dtype": "string"}
    assert features == {
        "id": text,
        "messages": {"list": [{"name": "role", **text}, {"name": "content", **text}]},
        "tags": {"list": [{"name": "key", **text}, {"name": "value", **text}]},
        "scores": {"list": [{"name": "key", **text}, {"name": "value", "dtype": "float64"}]},
        "parents": {"list": "string"},
        "source": text,
        "method": text,
    }
    assert "| data/train-*.parquet | 3 |" in body


def test_without_parquet_the_card_promises_none(tmp_path: Path) -> None:
    front, body = card(tmp_path, records(2), formats=("alpaca",))
    assert "dataset_info" not in front
    data = [{"split": "train", "path": "alpaca.json"}]
    assert front["configs"] == [{"config_name": "default", "default": True, "data_files": data}]
    assert "parquet" not in body


@pytest.mark.parametrize(
    ("licenses", "stated", "expected", "page"),
    [
        (["mit", "mit"], None, {"license": "mit"}, []),
        (["CC BY-NC 4.0"], None, {"license": "cc-by-nc-4.0"}, []),
        ([None, None], None, {"license": "unknown"}, []),
        (["mit", None], None, {"license": "other", "license_name": "mixed"}, ["| mit | 1 |", "| not known | 1 |"]),
        (["mit", "gpl-3.0"], None, {"license": "other", "license_name": "mixed"}, ["| gpl-3.0 | 1 |"]),
        (["My Own 1"], None, {"license": "other", "license_name": "my-own-1"}, ["| My Own 1 | 1 |"]),
        (["mit", None], "Apache-2.0", {"license": "apache-2.0"}, []),
        ([None], "house rules", {"license": "other", "license_name": "house-rules"}, ["states: house rules"]),
    ],
)
def test_the_licence_is_that_of_the_records_or_what_the_publisher_states(
    tmp_path: Path, licenses: list[str | None], stated: str | None, expected: dict[str, str], page: list[str]
) -> None:
    found = [replace(r, license=name) for r, name in zip(records(len(licenses)), licenses, strict=True)]
    front, body = card(tmp_path, found, license=stated)
    assert front["license"] in HUB_LICENSES
    link = {"license_link": "LICENSE.md"} if expected["license"] == "other" else {}
    assert {key: front[key] for key in front if key.startswith("license")} == expected | link
    place = tmp_path / "export" / "LICENSE.md"
    assert place.exists() == bool(page)
    assert all(line in place.read_text(encoding="utf-8") for line in page)
    unknown = licenses.count(None)
    assert (f"The licence of {unknown} rows is not known" in body) == bool(unknown and not stated)


def test_languages_are_listed_by_what_the_records_say(tmp_path: Path) -> None:
    found = [replace(r, language=tag) for r, tag in zip(records(4), ["zh-Hant", "en", "en", None], strict=True)]
    front, body = card(tmp_path, found)
    assert front["language"] == ["en", "zh"]
    assert front["language_bcp47"] == ["en", "zh-Hant"]
    assert front["multilinguality"] == ["multilingual"]
    assert "Languages: en (2), not determined (1), zh-Hant (1)" in body
    front, _ = card(tmp_path / "export", records(1))
    assert "language" not in front


def test_a_cleaned_dataset_is_not_called_synthetic(tmp_path: Path) -> None:
    front, body = card(tmp_path, records(1))
    assert front["tags"] == ["instruction-tuning", "seedmill"]
    assert "annotations_creators" not in front
    assert "Language models wrote" not in body


def test_the_card_tells_how_the_set_was_made_and_what_its_limits_are(tmp_path: Path) -> None:
    found = [*records(3, model="tiny", prompt="p@1"), Record(id="q", messages=(replace(USER, content="And?"),))]
    _, body = card(tmp_path, found, facts=FACTS)
    assert "# demo\n" in body
    assert "4 instructions with answers, made with seedmill" in body
    assert "| self-instruct | self-instruct | tiny\\|135M (default) |" in body
    assert "Sources: `mine.jsonl` (3 rows)." in body
    assert "Models that wrote: `tiny` (3 rows)." in body
    assert "Prompts: `p@1` (3 rows)." in body
    assert "````yaml\nname: demo\nentries:\n  - stage: read  # ```not the end\n````" in body
    assert "dropped 1 bad-utf8" in body
    assert "| self-instruct | 8 | 3 | 3 |" in body
    assert "`tiny¦135M` is a very small model: its texts and scores show the mechanism, not quality" in body
    assert "`large` is a very small model" not in body
    assert "1 rows have no answer yet" in body
    assert "sharegpt.json leaves out 1 rows: odd-length" in body
    assert "1.25" not in body
    assert "tuesday" not in body
    assert "/home/kim" not in body


def test_the_kind_of_training_set_is_named(tmp_path: Path) -> None:
    pairs = records(2, chosen=(ANSWER,), rejected=(ANSWER,))
    assert "a chosen and a rejected answer" in card(tmp_path, pairs)[1]
    (tmp_path / "b").mkdir()
    assert "a verdict on it" in card(tmp_path / "b", records(2, label=True))[1]


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1_000, "1K<n<10K"),
        (52_002, "10K<n<100K"),
        (10**12 - 1, "100B<n<1T"),
        (10**12, "n>1T"),
    ],
)
def test_size_categories_are_those_of_the_hub(rows: int, name: str) -> None:
    assert size_category(rows) == name
