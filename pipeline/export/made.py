"""The card's sections on the run: how the rows were made, what was dropped, what stages note, whom to cite."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.export.markdown import block, code, plain, table
from pipeline.export.survey import Survey
from pipeline.report import funnel

TOLD = (
    *("method", "threshold", "num_perm", "ngram", "fields", "cluster", "keep", "variants", "outside_input"),
    *("sides", "in_a_row", "short"),
)
"""Settings of stages that compare texts; what they found depends on these."""

_COMPARING = ("dedup", "decontaminate")
_MOST_NAMED = 20

_COLUMNS = 5
"""So many columns of a table are shown even if they are 0 everywhere."""


@dataclass(frozen=True)
class Made:
    """What a run's books say of its rows.

    Attributes:
        facts: as `pipeline.run.read_run` gives them.
        pictures: those that stand beside the card.
    """

    facts: Mapping[str, Any]
    survey: Survey
    pictures: frozenset[str]

    def how(self) -> str:
        """Entries, models, sources, prompts and the recipe."""
        lines = ["## How it was made"]
        rows = [(plain(e["name"]), plain(e["stage"]), _models(e)) for e in self.facts.get("entries", ())]
        if rows:
            lines += ["", table(("entry", "stage", "models"), rows, "lll")]
        for title, column in (("Sources", "source"), ("Models that wrote", "model"), ("Prompts", "prompt")):
            counts = self.survey.counts[column]
            found = [(name, count) for name, count in sorted(counts.items(), key=lambda i: (-i[1], i[0] or "")) if name]
            if found:
                named = ", ".join(f"{code(name)} ({count:,} rows)" for name, count in found[:_MOST_NAMED])
                more = f" and {len(found) - _MOST_NAMED:,} more" if len(found) > _MOST_NAMED else ""
                lines += ["", f"{title}: {named}{more}."]
        if recipe := self.facts.get("text"):
            note = "The recipe, as written (settings changed on the command line are not in it):"
            lines += ["", note, "", block(recipe, "yaml")]
        return "\n".join(lines)

    def funnel(self) -> str:
        """What each entry kept and dropped."""
        steps = funnel.steps(self.facts) if self.facts.get("entries") else []
        if not steps:
            return ""
        picture = "\n\n![Rows after each entry](plots/funnel.png)" if "plots/funnel.png" in self.pictures else ""
        return f"## What was kept and dropped\n\n{funnel.as_markdown(steps, plain)}{picture}"

    def tables(self) -> str:
        """Of stages that compare rows with others: their settings, and what they dropped and noted."""
        found = [self._compared(entry) for entry in self.facts.get("entries", ()) if entry["stage"] in _COMPARING]
        noted = [
            f"### {plain(entry['name'])}\n\n{shown}"
            for entry in self.facts.get("entries", ())
            if entry["stage"] not in _COMPARING and (shown := "\n\n".join(_nested(_notes(entry))))
        ]
        sections = [section for section in (*found, *noted) if section]
        return "## Repeated and held-out rows\n\n" + "\n\n".join(sections) if sections else ""

    def _compared(self, entry: Mapping[str, Any]) -> str:
        manifest = entry.get("manifest") or {}
        settings = manifest.get("settings") or {}
        told = ", ".join(f"{key} {plain(str(settings[key]))}" for key in TOLD if settings.get(key) is not None)
        rows = [(plain(reason), f"{count:,}") for reason, count in sorted((manifest.get("reasons") or {}).items())]
        plain_notes = {k: v for k, v in _notes(entry).items() if isinstance(v, int | float) and "/" not in k}
        rows += [(plain(name.replace("_", " ")), f"{count:,}") for name, count in plain_notes.items()]
        parts = [
            f"### {plain(entry['name'])}",
            f"{manifest.get('in', 0):,} rows compared" + (f" ({told})." if told else "."),
        ]
        parts += [table(("dropped or noted", "rows"), rows)] if rows else ["Nothing was dropped."]
        return "\n\n".join([*parts, *_nested(_notes(entry))])

    def citations(self) -> str:
        """BibTeX of the papers behind the stages that were used."""
        known = yaml.safe_load(Path(__file__).with_name("citations.yaml").read_text(encoding="utf-8"))
        stages = [entry["stage"] for entry in self.facts.get("entries", ())]
        keys = [key for stage in stages for key in known["stages"].get(stage, ())]
        keys += known["measured_languages"] if self.survey.measured.keys() - {None} else []
        if not keys:
            return ""
        papers = "\n".join(known["papers"][key].rstrip() for key in dict.fromkeys(keys))
        return f"## Citations\n\nThe methods that were used:\n\n{block(papers, 'bibtex')}"


def _models(entry: Mapping[str, Any]) -> str:
    models = (entry.get("manifest") or {}).get("models") or {}
    return ", ".join(f"{plain(str(m.get('model', '')))} ({plain(role)})" for role, m in models.items())


def _notes(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a stage notes: counts, and tables of its own."""
    manifest = entry.get("manifest") or {}
    return {**(manifest.get("notes") or {}), **(manifest.get("tables") or {})}


def _nested(notes: Mapping[str, Any]) -> Iterator[str]:
    """Tables out of notes: a mapping or list of rows by its name, and counts named `row/column` together."""
    together: dict[str, dict[str, Any]] = {}
    for name, value in notes.items():
        if isinstance(value, Mapping):
            rows = {key: row if isinstance(row, Mapping) else {"rows": row} for key, row in value.items()}
            yield _grid(plain(name.replace("_", " ")), rows)
        elif isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            yield _grid(plain(name.replace("_", " ")), {str(i): row for i, row in enumerate(value, 1)})
        elif "/" in name:
            row, _, column = name.partition("/")
            together.setdefault(row, {})[column] = value
    if together:
        yield _grid("", together)


def _grid(title: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    every = list(dict.fromkeys(column for row in rows.values() for column in row))
    columns = [c for i, c in enumerate(every) if i < _COLUMNS or any(row.get(c) for row in rows.values())]
    cells = [(plain(str(name)), *(_cell(row.get(column)) for column in columns)) for name, row in rows.items()]
    return table((title, *(plain(column.replace("_", " ")) for column in columns)), cells)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else plain(str(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
