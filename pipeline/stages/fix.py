"""Mend texts in place: the id stays, nothing is dropped."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from filters import DEFAULT_FIXES, FIXES
from pipeline.errors import UsageError
from pipeline.record import MESSAGE_FIELDS, SCHEMA
from pipeline.stage import Outcome, Tools

_CONVERSATIONS = ("messages", "chosen", "rejected")
_PARTS = ("content", "thinking")


@dataclass(frozen=True, kw_only=True)
class Fix:
    """Mends every message, the input, and the answers of preference data; counts the records that each fix changed.

    Attributes:
        fixes: names of fixes, in the order in which they are applied; by default those that any dataset may need.
            Further ones: `html-to-markdown`, `page-remnants` and `blank-lines` for scraped conversations,
            `model-address` for prompts in BELLE's manner, and `mask-email-address`, `mask-phone-number`,
            `mask-secret-key`, `mask-id-number`, `mask-card-number`, `mask-account-number`, `mask-ip-address`.
    """

    scope: ClassVar[Literal["rows"]] = "rows"

    fixes: tuple[str, ...] = tuple(DEFAULT_FIXES)

    def __post_init__(self) -> None:
        for name in self.fixes:
            if name not in FIXES:
                near = difflib.get_close_matches(name, FIXES, 1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                raise UsageError(f"fix: unknown fix '{name}'", f"{hint}valid ones: {', '.join(FIXES)}")

    def run(self, block: pl.DataFrame, tools: Tools) -> Outcome:
        """The block with mended texts."""
        numbered = block.with_row_index("row")
        flat = {
            column: numbered.select("row", column).filter(pl.col(column).list.len() > 0).explode(column).unnest(column)
            for column in _CONVERSATIONS
        }
        slots = [(column, part) for column in _CONVERSATIONS for part in _PARTS]
        parts = [flat[column].select("row", place="role", text=part) for column, part in slots]
        parts.append(numbered.select("row", place=pl.lit("input"), text="input"))
        texts = pl.concat(parts)
        mended, fixed = _mended(texts, self.fixes)
        if not fixed:
            return Outcome(kept=block)
        changed = texts["row"].filter(mended.ne_missing(texts["text"])).unique()
        begin = 0
        for column, part in slots:
            flat[column] = flat[column].with_columns(mended.slice(begin, flat[column].height).alias(part))
            begin += flat[column].height
        kept = numbered.with_columns(input=mended.slice(begin))
        for column in _CONVERSATIONS:
            rebuilt = (
                flat[column]
                .filter(pl.col("row").is_in(changed.implode()))
                .group_by("row", maintain_order=True)
                .agg(pl.struct(*MESSAGE_FIELDS).alias("mended"))
            )
            kept = kept.join(rebuilt, on="row", how="left", maintain_order="left")
            kept = kept.with_columns(pl.coalesce("mended", column).alias(column)).drop("mended")
        return Outcome(kept=kept.select(SCHEMA.names()), fixed=fixed)


def _mended(texts: pl.DataFrame, names: Sequence[str]) -> tuple[pl.Series, dict[str, int]]:
    """The texts after each fix in turn, and how many records each fix changed (only those that changed any)."""
    fixed: dict[str, int] = {}
    text = texts["text"]
    for name in names:
        fix = FIXES[name]
        meant = pl.col("place").is_in(fix.places)
        new = texts.select(pl.when(meant).then(fix.mend(pl.col("text"))).otherwise("text").alias("text")).to_series()
        rows = texts["row"].filter(new.ne_missing(text)).n_unique()
        if rows:
            fixed[name] = rows
            text = new
            texts = texts.with_columns(text)
    return text, fixed
