"""Files against trainers: every row by every rule, counted by what would happen to it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import DataError, UsageError
from pipeline.formats.elements import Unreadable
from pipeline.formats.files import expand
from pipeline.trainers import TRAINERS
from pipeline.trainers.finding import EFFECTS, Effect, Finding, note, stops
from pipeline.trainers.lengths import ESTIMATE_ERROR, Count, Length, counter_of, length_of
from pipeline.trainers.sample import Sample
from pipeline.trainers.survey import Survey, read_rows, survey_of
from pipeline.trainers.trainer import RowRule, Trainer

_SHOWN = 3
_HARMLESS = ("not-finite",)
"""Unreadable for us, and read by `datasets` and json.load: NaN becomes null."""


class Objection(NamedTuple):
    """A row and what a trainer would do with it; `line` is the row's number in parquet."""

    file: str
    line: int
    trainer: str
    finding: Finding


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How long a row may be.

    Attributes:
        tokens: None for no check of lengths.
        count: of a text; None for the estimate.
        named: what counts, for people.
    """

    tokens: int | None
    count: Count
    named: str
    estimated: bool


@dataclass(kw_only=True)
class Verdict:
    """What one trainer would do with one file.

    Attributes:
        rows: rows of the file, unreadable ones included.
        of_file: objections to the file as a whole; one that stops the trainer leaves the rows unjudged.
        reasons: effect -> reason -> rows; a row counts once, under the first of its gravest objections.
        first: (effect, reason) -> the first few rows, as (line, detail).
        near: rows that the estimate puts within its error of the cut-off.
    """

    trainer: Trainer
    survey: Survey
    rows: int
    of_file: list[Finding] = field(default_factory=list)
    reasons: dict[Effect, Counter[str]] = field(default_factory=lambda: {effect: Counter() for effect in EFFECTS})
    first: dict[tuple[Effect, str], list[tuple[int, str]]] = field(default_factory=dict)
    near: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def refused(self) -> bool:
        """Whether the trainer cannot take the file at all."""
        return any(found.effect == "stops" for found in self.of_file)

    @property
    def good(self) -> bool:
        """Whether every row is trained on as it stands in the file."""
        grave = ("stops", "skipped", "wrong")
        return not any(found.effect in grave for found in self.of_file) and not any(
            self.reasons[e] for e in EFFECTS[:3]
        )

    def add(self, line: int, finding: Finding) -> None:
        """Count one row."""
        self.reasons[finding.effect][finding.reason] += 1
        shown = self.first.setdefault((finding.effect, finding.reason), [])
        if len(shown) < _SHOWN:
            shown.append((line, finding.detail))


def trainers_named(names: Sequence[str]) -> list[Trainer]:
    """The trainers of these names, `all` for every one; UsageError that lists the names otherwise."""
    if "all" in names:
        return list(TRAINERS.values())
    for name in names:
        if name not in TRAINERS:
            raise UsageError(f"there is no trainer '{name}'", f"trainers: {', '.join(TRAINERS)}, all")
    return [TRAINERS[name] for name in dict.fromkeys(names)]


def cut_at(tokens: int | None, tokenizer: str | None) -> Cut:
    """How long a row may be, in tokens of this tokenizer (None: estimated)."""
    if tokens is None and tokenizer is not None:
        raise UsageError(
            "--tokenizer counts nothing without --cutoff", "say how many tokens a row may have: --cutoff 2048"
        )
    named = f"an estimate, ±{ESTIMATE_ERROR:.0%}" if tokenizer is None else tokenizer
    return Cut(tokens=tokens, count=counter_of(tokenizer), named=named, estimated=tokenizer is None)


def check_files(places: Sequence[str], trainers: Sequence[Trainer], cut: Cut) -> Iterator[Verdict | Objection]:
    """Judge every file for every trainer: the objections to rows as they come, and at the end of a file its verdicts.

    Args:
        places: files, globs, or export folders; of a folder each trainer judges the file that suits it best.

    Raises:
        DataError: a file cannot be read, or its rows are of no shape that a trainer reads.
    """
    for surveyed, judges in _assigned(places, trainers):
        yield from _judge(surveyed, judges, cut)


def _assigned(places: Sequence[str], trainers: Sequence[Trainer]) -> Iterator[tuple[Survey, list[Trainer]]]:
    for place in places:
        folder = Path(place)
        if not folder.is_dir():
            for path in expand([place]):
                yield survey_of(path), list(trainers)
            continue
        for paths in _splits_in(folder):
            surveys = [survey_of(path) for path in paths]
            suited = {trainer.name: _best(trainer, surveys) for trainer in trainers}
            for survey in surveys:
                if judges := [trainer for trainer in trainers if suited[trainer.name] is survey]:
                    yield survey, judges


def _splits_in(folder: Path) -> list[list[Path]]:
    """The row files of an export, those of one split together: JSON ones, or parquet where there is no other."""
    splits: dict[str, list[Path]] = {}
    for stem, suffix in (("messages", ".jsonl"), ("sharegpt", ".json"), ("alpaca", ".json")):
        for path in sorted(folder.glob(f"{stem}*{suffix}"), key=lambda path: path.stem):
            if path.stem == stem or path.stem.startswith(f"{stem}-"):
                splits.setdefault(path.stem.removeprefix(stem), []).append(path)
    found = list(splits.values()) or [[path] for path in sorted(folder.glob("data/*.parquet"))]
    if not found:
        raise DataError(f"{folder}: holds no file of an export", "name the files themselves")
    return found


def _best(trainer: Trainer, surveys: Sequence[Survey]) -> Survey:
    """The file that the trainer takes at all, of the shape that it likes best; the first when it takes none."""

    def rank(survey: Survey) -> tuple[bool, int]:
        shapes = list(trainer.row_rules)
        base = survey.layout.base if survey.layout else None
        refused = any(found.effect == "stops" for found in _of_file(trainer, survey))
        return refused, shapes.index(base) if base in shapes else len(shapes)

    return min(surveys, key=rank)


def _of_file(trainer: Trainer, survey: Survey) -> list[Finding]:
    found = [finding for rule in trainer.file_rules if (finding := rule(survey)) is not None]
    if survey.layout is not None and survey.layout.base not in trainer.row_rules:
        shapes = ", ".join(trainer.row_rules)
        known = f"its rows have the shape '{survey.layout.base}'; read are {shapes}"
        mended = "the snippet of --glue brings it into shape, as does" if survey.layout.base in trainer.mends else "try"
        return [stops("shape-not-read", f"{known}; {mended} seedmill convert FILE --to FORMAT -o OUT")]
    return found


def _judge(survey: Survey, trainers: Sequence[Trainer], cut: Cut) -> Iterator[Verdict | Objection]:
    layout = survey.layout
    assert layout is not None
    verdicts = [Verdict(trainer=t, survey=survey, rows=survey.rows + survey.unreadable) for t in trainers]
    for verdict in verdicts:
        verdict.of_file = _of_file(verdict.trainer, survey)
        verdict.notes = verdict.trainer.notes(layout)
    open_ones = [(verdict, verdict.trainer.row_rules[layout.base]) for verdict in verdicts if not verdict.refused]
    for item in read_rows(survey.path) if open_ones else ():
        length: Length | None = None
        if not isinstance(item, Unreadable) and isinstance(item.value, dict):
            sample = Sample(item.value, layout)
            length = None if cut.tokens is None else length_of(sample, cut.count)
        for verdict, rules in open_ones:
            if isinstance(item, Unreadable):
                found = [_unreadable(item)]
            elif not isinstance(item.value, dict):
                found = [stops("unreadable-row", "is no object: loading the file ends with an error")]
            else:
                found = objections(sample, rules)
                found += _too_long(verdict, length, cut, found) if length is not None else []
            if found:
                verdict.add(item.line, min(found, key=lambda f: EFFECTS.index(f.effect)))
                for finding in found:
                    yield Objection(str(survey.path), item.line, verdict.trainer.name, finding)
    yield from verdicts


def objections(sample: Sample, rules: Sequence[RowRule]) -> list[Finding]:
    """What the rules object to, up to the first that keeps the row out."""
    found: list[Finding] = []
    for rule in rules:
        if (finding := rule(sample)) is not None:
            found.append(finding)
            if finding.effect in ("stops", "skipped"):
                break
    return found


def _unreadable(item: Unreadable) -> Finding:
    if item.reason in _HARMLESS:
        return note("unreadable-row", f"{item.error}: it is read as null")
    return stops("unreadable-row", f"{item.error}: loading the file ends with an error")


def _too_long(verdict: Verdict, length: Length, cut: Cut, found: Sequence[Finding]) -> list[Finding]:
    if cut.tokens is None or any(finding.effect in ("stops", "skipped") for finding in found):
        return []
    rule, about = verdict.trainer.too_long, "about " if cut.estimated else ""
    if cut.estimated and abs(length.tokens - cut.tokens) <= ESTIMATE_ERROR * cut.tokens:
        verdict.near += 1
    if length.tokens <= cut.tokens:
        return []
    told = f"{about}{length.tokens:,} tokens"
    if rule.masked is not None and length.before_answer >= cut.tokens:
        return [
            Finding(
                rule.masked, "answer-cut-off", f"{told}, its answer after {length.before_answer:,}: {rule.masked_does}"
            )
        ]
    return [Finding(rule.effect, "too-long", f"{told}: it is {rule.does}")]


def as_json(verdict: Verdict, cut: Cut) -> dict[str, Any]:
    """A verdict as JSON values."""
    layout = verdict.survey.layout
    rows = {
        effect: {
            reason: {"rows": count, "first": [{"line": n, "detail": d} for n, d in verdict.first[effect, reason]]}
            for reason, count in verdict.reasons[effect].most_common()
        }
        for effect in EFFECTS
    }
    return {
        "file": str(verdict.survey.path),
        "trainer": verdict.trainer.name,
        "version": verdict.trainer.title,
        "shape": None if layout is None else layout.base,
        "kind": None if layout is None else layout.kind,
        "rows": verdict.rows,
        "good": verdict.good,
        "of_file": [finding._asdict() for finding in verdict.of_file],
        "of_rows": rows,
        "cutoff": None if cut.tokens is None else {"tokens": cut.tokens, "counted_by": cut.named, "near": verdict.near},
        "notes": verdict.notes,
    }
