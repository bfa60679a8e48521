"""The dataset card: README.md with the Hub's YAML front matter, from the records and the run's facts."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from pipeline.export.survey import Kind, Survey
from pipeline.report import funnel, tables

TOOL = "seedmill"

SIZES = (
    *((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")),
    *((10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"), (10**11, "10B<n<100B")),
    *((10**12, "100B<n<1T"),),
)
"""The Hub's size categories: a count below the number is in the category."""

HUB_LICENSES = frozenset(
    (
        *("apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigcode-openrail-m"),
        *("afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda"),
        *("cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"),
        *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
        *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0"),
        *("cdla-permissive-2.0", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0"),
        *("gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "mpl-2.0", "ms-pl", "ncsa"),
        *("odc-by", "odbl", "ofl-1.1", "openrail++", "osl-3.0", "pddl", "postgresql", "unlicense", "wtfpl", "zlib"),
        *("llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma", "unknown", "other"),
    )
)
"""Licence identifiers that the Hub accepts (its documentation's list, common ones)."""

_UNKNOWN_LICENSE = "The licence of {} rows is not known: check their sources before you use or publish them."
_MODEL_TEXT = "Language models wrote text in it that can be wrong, biased or out of date, and that no person has read."
_SMALL_MODEL = (
    "`{}` is a very small model: its texts and scores show the mechanism, not quality; do not train on them for "
    "anything but a test."
)


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card is written from.

    Attributes:
        title: name of the dataset for people.
        survey: counts over the records.
        schema: Arrow schema of the parquet files, or None when there are none.
        arrow_bytes, download_bytes: their size in memory and on disk.
        files: rows of each file, and what was left out of it, as in report.json.
        facts: the run, as `pipeline.run.read_run` gives it.
        license: the licence the user names for the whole, or None.
    """

    title: str
    survey: Survey
    schema: Any
    arrow_bytes: int
    download_bytes: int
    files: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]
    license: str | None = None


def card_text(card: Card) -> str:
    """The whole README.md."""
    front = yaml.safe_dump(front_matter(card), sort_keys=False, allow_unicode=True, width=1_000)
    sections = [_what(card), _how(card), _funnel(card), _limits(card)]
    return f"---\n{front}---\n\n# {card.title}\n\n" + "\n\n".join(section for section in sections if section) + "\n"


def front_matter(card: Card) -> dict[str, Any]:
    """The YAML block, with the keys and values that the Hub knows."""
    survey = card.survey
    tags = [tag for tag in survey.counts["language"] if tag]
    primary = sorted({tag.split("-")[0].lower() for tag in tags})
    made = any(survey.counts["model"].keys() - {None})
    front: dict[str, Any] = {}
    if primary:
        front["language"] = primary
        if any("-" in tag for tag in tags):
            front["language_bcp47"] = sorted(tags)
        front["multilinguality"] = ["monolingual" if len(primary) == 1 else "multilingual"]
    front |= license_fields(card)
    front["pretty_name"] = card.title
    if made:
        front |= {"annotations_creators": ["machine-generated"], "language_creators": ["machine-generated"]}
        front["source_datasets"] = ["original"]
    front["size_categories"] = [size_category(survey.rows)]
    front["task_categories"] = ["text-generation"]
    front["tags"] = [*(["synthetic"] if made else []), "instruction-tuning", TOOL]
    return front | (_loading(card) if card.schema is not None else {})


def _loading(card: Card) -> dict[str, Any]:
    split = {"name": "train", "num_bytes": card.arrow_bytes, "num_examples": card.survey.rows}
    return {
        "configs": [
            {
                "config_name": "default",
                "default": True,
                "data_files": [{"split": "train", "path": "data/train-*.parquet"}],
            }
        ],
        "dataset_info": {
            "config_name": "default",
            "features": [_feature(field.name, field.type) for field in card.schema],
            "splits": [split],
            "download_size": card.download_bytes,
            "dataset_size": card.arrow_bytes,
        },
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


def license_fields(card: Card) -> dict[str, str]:
    """`license`, and for one that the Hub has no name for also `license_name` and `license_link`."""
    found = [card.license] if card.license else list(card.survey.counts["license"])
    if len(found) != 1:
        known = [name for name in found if name]
        return _other("mixed") if known else {"license": "unknown"}
    if found[0] is None:
        return {"license": "unknown"}
    name = "-".join(found[0].lower().split())
    return {"license": name} if name in HUB_LICENSES else _other(name)


def _other(name: str) -> dict[str, str]:
    return {"license": "other", "license_name": name, "license_link": "LICENSE.md"}


def license_page(card: Card) -> str | None:
    """LICENSE.md, which `license_link` points at; None when the licence needs no explanation."""
    if "license_link" not in license_fields(card):
        return None
    lines = ["# Licences of the rows", ""]
    if card.license:
        lines += [f"The publisher states: {card.license}", ""]
    lines += ["| licence | rows |", "|---|---:|"]
    lines += [f"| {_cell(name or 'not known')} | {count:,} |" for name, count in _ranked(card.survey.counts["license"])]
    return "\n".join(lines) + "\n"


def _what(card: Card) -> str:
    survey = card.survey
    languages = ", ".join(f"{name or 'not determined'} ({n:,})" for name, n in _ranked(survey.counts["language"]))
    kinds: dict[Kind, str] = {
        "answers": "instructions with answers",
        "preference": "instructions with a chosen and a rejected answer",
        "verdicts": "instructions with an answer and a verdict on it",
    }
    lines = [f"{survey.rows:,} {kinds[survey.kind]}, made with {TOOL}. Languages: {languages or 'none'}.", ""]
    lines += ["| file | rows | for |", "|---|---:|---|"]
    purposes = {
        "alpaca.json": "Alpaca rows (instruction, input, output)",
        "sharegpt.json": "ShareGPT conversations that LLaMA-Factory accepts",
        "messages.jsonl": "OpenAI messages",
        "data/train-*.parquet": "`datasets`: messages, with the provenance of each row",
    }
    lines += [f"| {file} | {facts['rows']:,} | {purposes[file]} |" for file, facts in card.files.items()]
    return "\n".join([*lines, "", "`dataset_info.json` describes them to LLaMA-Factory, `SHA256SUMS` their bytes."])


def _how(card: Card) -> str:
    lines = ["## How it was made"]
    entries = card.facts.get("entries", ())
    if entries:
        lines += ["", "| entry | stage | models |", "|---|---|---|"]
    for entry in entries:
        models = (entry.get("manifest") or {}).get("models") or {}
        named = ", ".join(f"{_cell(m.get('model', ''))} ({role})" for role, m in models.items())
        lines.append(f"| {entry['name']} | {entry['stage']} | {named} |")
    for title, column in (("Sources", "source"), ("Models that wrote", "model"), ("Prompts", "prompt")):
        found = [(name, count) for name, count in _ranked(card.survey.counts[column]) if name]
        if found:
            lines += ["", f"{title}: " + ", ".join(f"`{_cell(name)}` ({count:,} rows)" for name, count in found) + "."]
    recipe = card.facts.get("text")
    if recipe:
        # A fence longer than any run of backticks in the recipe, so that the recipe cannot end it.
        fence = "`" * (1 + max([2, *map(len, re.findall("`+", recipe))]))
        note = "The recipe, as written (settings changed on the command line are not in it):"
        lines += ["", note, "", f"{fence}yaml", recipe.rstrip("\n"), fence]
    return "\n".join(lines)


def _funnel(card: Card) -> str:
    steps = funnel.steps(card.facts) if card.facts.get("entries") else []
    if not steps:
        return ""
    found = tables.as_markdown(steps)
    return f"## What was kept and dropped\n\n{funnel.as_markdown(steps)}" + (f"\n\n{found}" if found else "")


def _limits(card: Card) -> str:
    survey = card.survey
    lines = ["## Limits", ""]
    unknown = survey.counts["license"][None]
    if unknown and not card.license:
        lines.append(f"- {_UNKNOWN_LICENSE.format(f'{unknown:,}')}")
    if survey.counts["model"].keys() - {None}:
        lines.append(f"- {_MODEL_TEXT}")
    roles = (card.facts.get("models") or {}).values()
    small = dict.fromkeys(model["model"] for model in roles if model.get("small"))
    lines += [f"- {_SMALL_MODEL.format(_cell(name))}" for name in small]
    if survey.answered < survey.rows and survey.kind == "answers":
        lines.append(f"- {survey.rows - survey.answered:,} rows have no answer yet.")
    for file, facts in card.files.items():
        for reason, rows in facts["left_out"].items():
            lines.append(f"- {file} leaves out {rows['rows']:,} rows: {reason} (listed in report.json).")
        for what, count in facts["lost"].items():
            lines.append(f"- {file} cannot carry everything: {what} of {count:,} rows.")
    lines.append("- Rules decide by patterns: some good rows were dropped and some bad ones were kept.")
    return "\n".join(lines)


def _ranked(counts: Counter[str | None]) -> list[tuple[str | None, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0] or ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("`", "'")
