"""What the records of an export have in common: counted once, before anything is written."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from pipeline.record import MESSAGE_FIELDS
from pipeline.stage import Stream

Kind = Literal["answers", "preference", "verdicts"]
"""What a trainer can do with a set: `preference` when every row has a chosen and a rejected answer, `verdicts` when
every row has a label, else `answers`."""

_COUNTED = ("language", "license", "source", "method", "model", "prompt")
_OPTIONAL = ("input", "tools", "chosen", "rejected", "label", "language", "model", "prompt", "license", "extra")
_LISTS = ("tags", "scores", "parents")


@dataclass(kw_only=True)
class Survey:
    """Counts over all records.

    Attributes:
        counts: column -> value -> records; None stands for a missing value.
        used: columns, and `messages.<field>`, that are not empty in every record.
    """

    rows: int = 0
    answered: int = 0
    pairs: int = 0
    labels: int = 0
    counts: dict[str, Counter[str | None]] = field(default_factory=lambda: {name: Counter() for name in _COUNTED})
    used: set[str] = field(default_factory=set)

    @property
    def kind(self) -> Kind:
        """What kind of training set this is."""
        if self.rows and self.pairs == self.rows:
            return "preference"
        return "verdicts" if self.rows and self.labels == self.rows else "answers"

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


def survey_of(stream: Stream) -> Survey:
    """Walk the stream once and count."""
    survey = Survey()
    for block in stream.blocks():
        survey.add(block)
    return survey
