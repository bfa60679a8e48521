"""The dataset card: README.md with the Hub's YAML front matter, from the records and the run's facts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.expect import Verdict
from pipeline.export import made
from pipeline.export.figures import Spread, spread
from pipeline.export.front import TOOL, Split, front_matter, is_made
from pipeline.export.licensing import license_table
from pipeline.export.markdown import code, plain, table
from pipeline.export.plots import labels
from pipeline.export.survey import Kind, Survey
from pipeline.licenses import UNKNOWN, parts

_UNKNOWN_LICENSE = "The licence of {} rows is not known: check their sources before you use or publish them."
_PARTLY_UNKNOWN = "Of the licence of {} rows only a part is known: something they were made from, or by, names none."
_STATED = "The publisher states {} for the whole; {} rows name no licence of their own."
_MODEL_TEXT = "Language models wrote text in it that can be wrong, biased or out of date, and that no person has read."
_SMALL_MODEL = (
    "{} is a very small model: its texts and scores show the mechanism, not quality; do not train on them for "
    "anything but a test."
)
_KINDS: dict[Kind, str] = {
    "answers": "instructions with answers",
    "preference": "instructions with a chosen and a rejected answer",
    "verdicts": "instructions with an answer and a verdict on it",
}
_PURPOSES = {
    "alpaca": "Alpaca rows (instruction, input, output)",
    "sharegpt": "ShareGPT conversations that LLaMA-Factory accepts",
    "messages": "OpenAI messages",
    "parquet": "`datasets`: messages, with the provenance of each row",
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card is written from.

    Attributes:
        title: name of the dataset for people.
        survey: counts over the records.
        schema: Arrow schema of the parquet files, or None when there are none.
        splits: the splits of the parquet files.
        files: rows of each file, and what was left out of it, as in report.json.
        facts: the run, as `pipeline.run.read_run` gives it.
        license: the licence the user names for the whole, or None.
        not_selected: licence -> rows left out for it, as in report.json.
        verdicts: of the recipe's expectations.
        notes: what people should be told of the splits.
        pictures: those that stand beside the card.
    """

    title: str
    survey: Survey
    schema: Any
    splits: list[Split]
    files: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]
    license: str | None = None
    not_selected: Mapping[str, Mapping[str, Any]] | None = None
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = ()
    pictures: frozenset[str] = frozenset()


def card_text(card: Card) -> str:
    """The whole README.md."""
    block_of = front_matter(card.title, card.survey, card.schema, card.splits, card.files, card.license)
    front = yaml.safe_dump(block_of, sort_keys=False, allow_unicode=False, width=1_000)
    run = made.Made(card.facts, card.survey, card.pictures)
    sections = (_what(card), _licences(card), run.how(), run.funnel(), run.tables(), _measures(card), _expected(card))
    body = "\n\n".join(section for section in (*sections, _limits(card), run.citations()) if section)
    return f"---\n{front}---\n\n# {plain(card.title)}\n\n{body}\n"


def _what(card: Card) -> str:
    survey = card.survey
    languages = ", ".join(
        f"{plain(name or 'not determined')} ({n:,})" for name, n in ranked(survey.languages | _untold(survey))
    )
    lines = [f"{survey.rows:,} {_KINDS[survey.kind]}, made with {TOOL}. Languages: {languages or 'none'}.", ""]
    rows = [(name, f"{facts['rows']:,}", _purpose(facts)) for name, facts in card.files.items()]
    lines.append(table(("file", "rows", "for"), rows, "lrl"))
    if len(card.splits) > 1:
        lines += ["", _SPLIT_NOTE]
    lines += [f"- {plain(note)}" for note in card.notes]
    return "\n".join([*lines, "", "`dataset_info.json` describes them to LLaMA-Factory, `SHA256SUMS` their bytes."])


_SPLIT_NOTE = (
    "No near-duplicate, no repeated question and no version of a row (its translation, what was evolved from it) "
    "stands in another split than the row itself: whole groups were assigned, by a hash of their first record."
)


def _purpose(facts: Mapping[str, Any]) -> str:
    return _PURPOSES[facts["format"]] + ("" if facts["split"] == "train" else f", split `{facts['split']}`")


def _untold(survey: Survey) -> Counter[str | None]:
    """Records whose language nobody has named and nothing could tell."""
    return Counter({None: survey.measured[None]}) if survey.measured[None] else Counter()


def _licences(card: Card) -> str:
    origins = card.survey.origins
    if set(origins) <= {None} and not card.not_selected:
        return ""
    lines = ["## Licence", "", license_table(card.survey)]
    if card.license:
        unknown = sum(origin.rows for name, origin in origins.items() if name is None)
        lines += ["", _STATED.format(plain(card.license), f"{unknown:,}")]
    for name, entry in (card.not_selected or {}).items():
        lines += ["", f"{entry['rows']:,} rows under {plain(name)} were left out for it (listed in report.json)."]
    return "\n".join(lines)


def _measures(card: Card) -> str:
    survey = card.survey
    rows = [("question, characters", spread(survey.questions)), ("answer, characters", spread(survey.answers))]
    names = labels(sorted(survey.scores))
    rows += [(f"score {plain(name)}", spread(survey.scores[name])) for name in sorted(survey.scores)]
    shown = [(name, *_figures(found)) for name, found in rows if found is not None]
    if not shown:
        return ""
    header = ("", "rows", "mean", "least", "median", "95th percentile", "most")
    lines = ["## Scores and lengths", "", table(header, shown)]
    for picture, alt in (("lengths", "Lengths of questions and answers"), ("scores", "Scores")):
        if f"plots/{picture}.png" in card.pictures:
            lines += ["", f"![{alt}](plots/{picture}.png)"]
    keyed = [f"{label} is {plain(name)}" for name, label in names.items() if label != name]
    return "\n".join([*lines, *(["", f"In the picture {'; '.join(keyed)}."] if keyed else [])])


def _figures(found: Spread) -> tuple[str, ...]:
    values = (found.mean, found.least, found.median, found.high, found.most)
    return (f"{found.count:,}", *(f"{value:,.4g}" if value < 1_000 else f"{value:,.0f}" for value in values))


def _expected(card: Card) -> str:
    if not card.verdicts:
        return ""
    rows = [(code(v.what), plain(v.asked), plain(v.found), "yes" if v.met else "**no**") for v in card.verdicts]
    return "## Expectations\n\n" + table(("expectation", "asked for", "found", "met"), rows, "llll")


def _limits(card: Card) -> str:
    survey = card.survey
    lines = ["## Limits", ""]
    unknown = survey.counts["license"][None]
    partly = sum(n for name, n in survey.counts["license"].items() if name and UNKNOWN in parts(name))
    if not card.license:
        lines += [f"- {_UNKNOWN_LICENSE.format(f'{unknown:,}')}"] if unknown else []
        lines += [f"- {_PARTLY_UNKNOWN.format(f'{partly:,}')}"] if partly else []
    if is_made(survey):
        lines.append(f"- {_MODEL_TEXT}")
    roles = (card.facts.get("models") or {}).values()
    small = dict.fromkeys(model["model"] for model in roles if model.get("small"))
    lines += [f"- {_SMALL_MODEL.format(code(name))}" for name in small]
    told = sum(n for name, n in survey.measured.items() if name)
    if told:
        lines.append(f"- The language of {told:,} rows was told from their text, which fails on short ones.")
    if survey.answered < survey.rows and survey.kind == "answers":
        lines.append(f"- {survey.rows - survey.answered:,} rows have no answer yet.")
    for file, facts in card.files.items():
        for reason, rows in facts["left_out"].items():
            lines.append(f"- {file} leaves out {rows['rows']:,} rows: {reason} (listed in report.json).")
        for what, count in facts["lost"].items():
            lines.append(f"- {file} cannot carry everything: {what} of {count:,} rows.")
    lines.append("- Rules decide by patterns: some good rows were dropped and some bad ones were kept.")
    return "\n".join(lines)


def ranked(counts: Mapping[str | None, int]) -> list[tuple[str | None, int]]:
    """The counts from the largest, equal ones by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0] or ""))
