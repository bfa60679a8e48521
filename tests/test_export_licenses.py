"""The licence of an export: derived from its rows, never stated over rows that do not allow it, and selected by."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.errors import DataError
from pipeline.export.files import write_export
from pipeline.export.settings import Settings
from pipeline.record import Message, Record
from tests.doubles import stream_of

BASE = Record(id="", messages=(Message(role="user", content="Q"), Message(role="assistant", content="A")), method="m")
ALPACA = [
    replace(BASE, id=f"a{i}", license="cc-by-nc-4.0 AND openai-terms", source="alpaca_data.json") for i in range(9)
]
FREE = [replace(BASE, id=f"f{i}", license="mit", source="mine.jsonl") for i in range(3)]
SILENT = [replace(BASE, id=f"s{i}", source="found.json") for i in range(2)]


def export(folder: Path, found: Sequence[Record], **settings: Any) -> tuple[dict[str, Any], str]:
    write_export(stream_of(folder, found), folder / "export", Settings(**settings), fingerprint="f")
    _, front, body = (folder / "export" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def test_mit_over_non_commercial_rows_is_refused_and_the_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        export(tmp_path, [*FREE, *ALPACA, *SILENT], license="mit")
    said, hint = caught.value.message, str(caught.value.hint)
    assert "the licence 'mit' cannot be stated over these rows: 9 under cc-by-nc-4.0 AND openai-terms" in said
    assert "no commercial use" in said
    assert "compete" in said
    assert "from alpaca_data.json, such as a0, a1, a2" in said
    assert "license: cc-by-nc-4.0 AND mit AND openai-terms" in hint
    assert "only_licenses: [mit, unknown]" in hint
    assert not (tmp_path / "export").exists()


def test_what_the_hint_proposes_is_accepted(tmp_path: Path) -> None:
    front, _ = export(tmp_path, [*FREE, *ALPACA], license="cc-by-nc-4.0 AND mit AND openai-terms")
    assert front["license"] == "other"
    assert front["license_name"] == "cc-by-nc-4.0-and-mit-and-openai-terms"
    front, body = export(tmp_path, [*FREE, *ALPACA], license="mit", only_licenses=("mit",))
    assert front["license"] == "mit"
    assert "9 rows under cc-by-nc-4.0 AND openai-terms were left out for it" in body


def test_rows_of_other_licences_are_left_out_counted_and_listed(tmp_path: Path) -> None:
    front, _ = export(tmp_path, [*FREE, *ALPACA, *SILENT], only_licenses=("MIT", "Apache 2.0"))
    assert front["license"] == "mit"
    assert [row["id"] for row in pq.read_table(tmp_path / "export" / "data").to_pylist()] == ["f0", "f1", "f2"]
    report = json.loads((tmp_path / "export" / "report.json").read_text())
    assert report["rows"] == 3
    assert report["not_selected"] == {
        "cc-by-nc-4.0 AND openai-terms": {"rows": 9, "ids": [r.id for r in ALPACA]},
        "not known": {"rows": 2, "ids": ["s0", "s1"]},
    }


def test_the_derived_licence_names_the_terms_of_the_teacher(tmp_path: Path) -> None:
    front, body = export(tmp_path, ALPACA)
    assert front["license"] == "other"
    assert front["license_name"] == "cc-by-nc-4.0-and-openai-terms"
    assert front["license_link"] == "LICENSE.md"
    page = (tmp_path / "export" / "LICENSE.md").read_text()
    assert "| cc-by-nc-4.0 AND openai-terms | 9 | alpaca\\_data.json |" in page
    assert "not for developing models that compete with the provider's" in page
    assert "<https://openai.com/policies/terms-of-use/> (as of 2024-01-31)" in page
    assert "## Licence" in body


def test_an_unknown_licence_is_said_to_be_unknown(tmp_path: Path) -> None:
    partly = replace(FREE[0], id="p", license="mit AND unknown")
    front, body = export(tmp_path, [partly, *SILENT])
    assert front["license"] == "other"
    assert "The licence of 2 rows is not known" in body
    assert "Of the licence of 1 rows only a part is known" in body
    assert export(tmp_path, SILENT, title="x")[0]["license"] == "unknown"
    _, body = export(tmp_path, [*FREE, *SILENT], license="mit")
    assert "The publisher states mit for the whole; 2 rows name no licence of their own." in body


def test_a_selection_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row is under gpl-3\.0 alone: 3 under mit"):
        export(tmp_path, FREE, only_licenses=("gpl-3.0",))
