"""What the records of an export have in common: counted once, before anything is written."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from pipeline import signals
from pipeline.export.selection import Selection
from pipeline.record import MESSAGE_FIELDS, view
from pipeline.stage import Stream

Kind = Literal["answers", "preference", "verdicts"]
"""What a trainer can do with a set: `preference` when every row has a chosen and a rejected answer, `verdicts` when
every row has a label, else `answers`."""

_COUNTED = ("language", "license", "source", "method", "model", "prompt")
_OPTIONAL = ("input", "tools", "chosen", "rejected", "label", "language", "model", "prompt", "license", "extra")
_LISTS = ("tags", "scores", "parents")
_NAMED = 5
_CONTAMINATED = "contaminated"
_DIGITS = 3


@dataclass(kw_only=True)
class Origin:
    """Where the rows under one licence come from: how many there are, their sources, and the first ids."""

    rows: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Survey:
    """Counts over all records.

    Attributes:
        counts: column -> value -> records; None stands for a missing value.
        measured: language of the records that name none, as their text tells -> records; None for what cannot be told.
        used: columns, and `messages.<field>`, that are not empty in every record.
        scores: score -> value, to three digits -> records.
        questions, answers: length in characters -> records; an answer that is not there is not counted.
        origins: licence -> where the records under it come from.
        contaminated: records that a tag marks as being in a benchmark.
    """

    rows: int = 0
    contaminated: int = 0
    answered: int = 0
    pairs: int = 0
    labels: int = 0
    counts: dict[str, Counter[str | None]] = field(default_factory=lambda: {name: Counter() for name in _COUNTED})
    measured: Counter[str | None] = field(default_factory=Counter)
    used: set[str] = field(default_factory=set)
    scores: dict[str, Counter[float]] = field(default_factory=dict)
    questions: Counter[int] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    origins: dict[str | None, Origin] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """What kind of training set this is."""
        if self.rows and self.pairs == self.rows:
            return "preference"
        return "verdicts" if self.rows and self.labels == self.rows else "answers"

    @property
    def languages(self) -> Counter[str | None]:
        """Language -> records, as they name it, or else as their text tells."""
        found = self.counts["language"].copy()
        found.pop(None, None)
        return found + self.measured

    def add(self, block: pl.DataFrame) -> None:
        """Count one frame of SCHEMA."""
        self.rows += block.height
        last = block["messages"].list.last().struct
        self.answered += int((last.field("role") == "assistant").sum())
        self.pairs += int((block["chosen"].is_not_null() & block["rejected"].is_not_null()).sum())
        self.labels += block.height - block["label"].null_count()
        for name, counter in self.counts.items():
            counter.update(dict(block[name].value_counts().iter_rows()))
        self.used.update(name for name in _OPTIONAL if block[name].null_count() < block.height)
        self.used.update(name for name in _LISTS if block[name].list.len().sum())
        for column in ("messages", "chosen", "rejected"):
            turns = block[column].drop_nulls().explode(empty_as_null=False)
            if turns.len():
                fields = turns.struct.unnest()
                self.used.update(f"messages.{n}" for n in MESSAGE_FIELDS if fields[n].null_count() < fields.height)
        self._count_texts(view(block))
        if "tags" in self.used:
            marked = pl.element().struct["key"].str.starts_with(_CONTAMINATED)
            self.contaminated += int(block.select(pl.col("tags").list.eval(marked).list.any().sum()).item() or 0)
        self._count_scores(block)
        self._note_origins(block)

    def _count_texts(self, frame: pl.DataFrame) -> None:
        asked = frame["instruction"].str.len_chars() + frame["input"].str.len_chars()
        self.questions.update(_counted(asked))
        said = frame["output"].str.len_chars()
        self.answers.update(_counted(said.filter(said > 0)))
        unnamed = frame.filter(pl.col("language").is_null())["text"]
        if unnamed.len():
            found = signals.identify(unnamed)["language"]
            self.measured.update({None if tag == signals.UNKNOWN else tag: n for tag, n in _counted(found).items()})

    def _count_scores(self, block: pl.DataFrame) -> None:
        if "scores" not in self.used:
            return
        flat = block.select(pl.col("scores").explode(empty_as_null=False)).unnest("scores").drop_nulls()
        rounded = flat.with_columns(pl.col("value").round_sig_figs(_DIGITS))
        for name, value, count in rounded.group_by("key", "value").len().iter_rows():
            self.scores.setdefault(name, Counter())[value] += count

    def _note_origins(self, block: pl.DataFrame) -> None:
        for name, source, ids, count in (
            block.group_by("license", "source", maintain_order=True)
            .agg(pl.col("id").head(_NAMED), pl.len())
            .iter_rows()
        ):
            origin = self.origins.setdefault(name, Origin())
            origin.rows += count
            origin.sources[source or "not named"] += count
            origin.ids = [*origin.ids, *ids][:_NAMED]


def _counted(values: pl.Series) -> dict[Any, int]:
    return dict(values.alias("value").value_counts().iter_rows())


def survey_of(stream: Stream | Selection) -> Survey:
    """Walk the stream once and count."""
    survey = Survey()
    for block in stream.blocks():
        survey.add(block)
    return survey
