"""The YAML block at the top of a dataset card, with the keys and values that the Hub knows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.export.licensing import license_fields
from pipeline.export.markdown import one_line
from pipeline.export.survey import Survey
from pipeline.licenses import dataset_named

TOOL = "seedmill"

SIZES = (
    *((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")),
    *((10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"), (10**11, "10B<n<100B")),
    *((10**12, "100B<n<1T"),),
)
"""The Hub's size categories: a count below the number is in the category."""

_NOTEWORTHY = 0.01
"""Share of the rows from which a measured language is listed; of single short texts a wrong one is measured."""

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split as the Hub counts it: rows, bytes in memory, bytes on disk."""

    name: str
    rows: int
    arrow_bytes: int
    download_bytes: int


def front_matter(
    title: str,
    survey: Survey,
    schema: Any,
    splits: list[Split],
    files: Mapping[str, Mapping[str, Any]],
    license: str | None,
) -> dict[str, Any]:
    """The block as a mapping.

    Args:
        schema: Arrow schema of the parquet files, or None when there are none.
        files: file -> its facts as in report.json.
        license: what the publisher states.
    """
    front = _languages(survey) | license_fields(survey, license)
    front["pretty_name"] = one_line(title)
    if is_made(survey):
        front |= {"annotations_creators": ["machine-generated"], "language_creators": ["machine-generated"]}
    extended = sorted({f"extended|{id}" for source in survey.counts["source"] if (id := dataset_named(source))})
    if extended or is_made(survey):
        front["source_datasets"] = [*extended, *(["original"] if is_made(survey) else [])]
    front["size_categories"] = [size_category(survey.rows)]
    front["task_categories"] = ["text-generation"]
    front["tags"] = [*(["synthetic"] if is_made(survey) else []), "instruction-tuning", TOOL]
    return front | _configs(files, schema is not None) | ({} if schema is None else _info(schema, splits))


def is_made(survey: Survey) -> bool:
    """Whether a model wrote some of it."""
    return bool(survey.counts["model"].keys() - {None})


def _languages(survey: Survey) -> dict[str, Any]:
    stated = {tag for tag in survey.counts["language"] if tag}
    tags = sorted(tag for tag in listed_languages(survey) if _LANGUAGE.fullmatch(tag))
    primary = sorted({tag.split("-")[0] for tag in tags})
    front: dict[str, Any] = {}
    if primary:
        front["language"] = primary
        if any("-" in tag for tag in tags):
            front["language_bcp47"] = sorted(tag for tag in tags if tag in stated or "-" in tag)
        front["multilinguality"] = ["monolingual" if len(primary) == 1 else "multilingual"]
    return front


def listed_languages(survey: Survey) -> list[str]:
    """The languages that records name, and those that were measured in a noteworthy share of the rows."""
    stated = {tag for tag in survey.counts["language"] if tag}
    measured = {tag for tag, count in survey.measured.items() if tag and count >= _NOTEWORTHY * survey.rows}
    return sorted(stated | measured)


def _configs(files: Mapping[str, Mapping[str, Any]], parquet: bool) -> dict[str, Any]:
    """What `datasets` loads: parquet, or else the first JSON format, so that pictures are not taken for data."""
    format = "parquet" if parquet else next((facts["format"] for facts in files.values()), None)
    data = [{"split": f["split"], "path": name} for name, f in files.items() if f["format"] == format and f["rows"]]
    return {"configs": [{"config_name": "default", "default": True, "data_files": data}]} if data else {}


def _info(schema: Any, splits: list[Split]) -> dict[str, Any]:
    return {
        "dataset_info": {
            "config_name": "default",
            "features": [_feature(field.name, field.type) for field in schema],
            "splits": [{"name": s.name, "num_bytes": s.arrow_bytes, "num_examples": s.rows} for s in splits],
            "download_size": sum(split.download_bytes for split in splits),
            "dataset_size": sum(split.arrow_bytes for split in splits),
        }
    }


def _feature(name: str, kind: Any) -> dict[str, Any]:
    return {"name": name, **_feature_type(kind)}


def _feature_type(kind: Any) -> dict[str, Any]:
    """An Arrow type as `datasets` writes features into cards."""
    if pa.types.is_struct(kind):
        return {"struct": [_feature(field.name, field.type) for field in kind]}
    if pa.types.is_list(kind):
        inner = _feature_type(kind.value_type)
        return {"list": inner.get("struct") or inner.get("dtype") or inner}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind))}


def size_category(rows: int) -> str:
    """The Hub's name for a number of rows."""
    return next((name for limit, name in SIZES if rows < limit), "n>1T")
