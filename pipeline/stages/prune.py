"""Pruning: keep the records whose score is high enough, or the best of each group."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import polars as pl

from pipeline.errors import UsageError
from pipeline.quality.folder import FILES, MADE_BY, read_model
from pipeline.record import detail_text, view
from pipeline.stage import Outcome, Stream, Tools


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Keeps records by one of their scores: those that reach a threshold, the best k, or the best share.

    A record that lacks the score is dropped as `unscored`: nobody has judged it, so no number stands in for one; or it
    is kept beside the best, when you say so. Among
    equal scores the longer answer is kept, then the smaller id, which is a hash and so favours nobody.

    Attributes:
        score: name of the score.
        threshold: lowest score that is kept (AlpaGasus: 4.5 of 5).
        top_k: how many records are kept at most, in each group; after the threshold when both are given.
        top_share: share of the scored records that is kept, in each group, rounded up; above 0 up to 1.
        classifier: folder of a quality model, in place of a threshold: its own is taken, for the score that an entry
            `quality` has put.
        unscored: whether to `drop` records without the score, or to `keep` them, counted as `unscored_kept`.
        per: groups for `top_k` and `top_share`: `language`, or `tag:NAME` such as `tag:category`. Records without it
            are a group of their own.
    """

    score: str = "accuracy"
    threshold: float | None = None
    top_k: int | None = None
    top_share: float | None = None
    classifier: str | None = field(default=None, metadata={"file": True, "folder": FILES, "made_by": MADE_BY})
    unscored: Literal["drop", "keep"] = "drop"
    per: str | None = None

    scope: ClassVar[Literal["dataset"]] = "dataset"

    def __post_init__(self) -> None:
        limits = ("threshold", "classifier", "top_k", "top_share")
        given = [name for name in limits if getattr(self, name) is not None]
        lines = (["threshold"], ["classifier"])
        if given not in (*lines, ["top_k"], ["top_share"], *([*line, "top_k"] for line in lines)):
            raise UsageError(
                "prune: needs a threshold (or the classifier that has one), top_k, both of these or top_share; "
                f"given: {', '.join(given) or 'none'}",
                "AlpaGasus keeps what has 'threshold: 4.5'; 'top_share: 0.5' keeps the better half",
            )
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise UsageError(f"prune: a threshold of {self.threshold} makes no sense", "give a finite number")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"prune: top_k is {self.top_k}, which keeps nothing", "give at least 1")
        if self.top_share is not None and not 0 < self.top_share <= 1:
            raise UsageError(
                f"prune: top_share is {self.top_share}", "a share is above 0 and at most 1: 0.25 is a quarter"
            )
        if self.per is not None and self.per != "language" and not self.per.removeprefix("tag:"):
            raise UsageError("prune: 'per: tag:' names no tag", "write it like 'per: tag:category'")
        if self.per is not None and self.per != "language" and not self.per.startswith("tag:"):
            raise UsageError(f"prune: unknown grouping 'per: {self.per}'", "valid ones: language, tag:NAME")
        if self.per is not None and self.top_k is None and self.top_share is None:
            raise UsageError("prune: 'per' groups do not matter to a threshold", "add top_k, or leave 'per' out")

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """One outcome per slice, kept records in input order.

        The stream is walked twice: for the scores, and for the records. In memory at once: id, score, group and answer
        length of every record.
        """
        if not stream.slices:
            return
        if self.classifier is not None:
            line = read_model(Path(self.classifier)).threshold
            yield from replace(self, classifier=None, threshold=line).run(stream, tools)
            return
        parts = list(tools.map(partial(_measured, stage=self), stream.slices))
        verdicts = _judged(pl.concat(parts), self)
        begin = 0
        for piece in stream.slices:
            block = piece.load()
            yield _outcome(block, verdicts.slice(begin, len(block)), self)
            begin += len(block)
            tools.progress(begin, stream.rows)


def score_named(name: str) -> pl.Expr:
    """The score of that name from a frame of SCHEMA; null where there is none, or none that is a finite number."""
    pair = pl.element().struct
    value = pl.col("scores").list.eval(pair["value"].filter(pair["key"] == name)).list.first()
    return pl.when(value.is_finite()).then(value).alias("score")


def _group(per: str | None) -> pl.Expr:
    if per is None:
        return pl.lit(None, dtype=pl.String).alias("group")
    if per == "language":
        return pl.col("language").alias("group")
    pair = pl.element().struct
    name = per.removeprefix("tag:")
    return pl.col("tags").list.eval(pair["value"].filter(pair["key"] == name)).list.first().alias("group")


def _measured(block: pl.DataFrame, stage: Prune) -> pl.DataFrame:
    """Columns id, score, group, length (characters of the answer)."""
    columns = [pl.col("id"), score_named(stage.score), _group(stage.per)]
    return view(block).select(*columns, pl.col("output").str.len_chars().alias("length"))


def _judged(measured: pl.DataFrame, stage: Prune) -> pl.DataFrame:
    """The reason for which each record is dropped (null: kept) and the score at the cut, in stream order."""
    scored = pl.col("score").is_not_null()
    passed = scored if stage.threshold is None else scored & (pl.col("score") >= stage.threshold)
    frame = measured.with_row_index("place").with_columns(
        passed=passed,
        reason=pl.when(~scored)
        .then(pl.lit("unscored" if stage.unscored == "drop" else None, dtype=pl.String))
        .when(~passed)
        .then(pl.lit("below-threshold")),
        cut=pl.when(scored & ~passed).then(pl.lit(stage.threshold, dtype=pl.Float64)),
    )
    if stage.top_k is None and stage.top_share is None:
        return frame
    best_first = frame.filter("passed").sort(
        "group", "score", "length", "id", descending=[False, True, True, False], nulls_last=True
    )
    cuts = [_top(group, stage) for group in best_first.partition_by("group", maintain_order=True)]
    beyond = pl.concat(cuts) if cuts else best_first.clear().select("place", "reason", "cut")
    return frame.update(beyond, on="place").sort("place")


def _top(group: pl.DataFrame, stage: Prune) -> pl.DataFrame:
    """Reason and cut for those of a group, best first, that are too many."""
    if stage.top_share is not None:
        # As a fraction of what was written, for 0.07 * 100 is a little more than 7.
        reason, size = "below-top-share", math.ceil(Fraction(str(stage.top_share)) * len(group))
    else:
        reason, size = "below-top-k", stage.top_k or 0
    size = min(size, len(group))
    return group.slice(size).select("place", reason=pl.lit(reason), cut=pl.lit(group["score"][size - 1]))


def _outcome(block: pl.DataFrame, verdicts: pl.DataFrame, stage: Prune) -> Outcome:
    dropped = verdicts["reason"].is_not_null()
    evidence = verdicts.filter(dropped).select("score", "cut", "group").iter_rows(named=True)
    details = [detail_text({"name": stage.score} | {k: v for k, v in row.items() if v is not None}) for row in evidence]
    return Outcome(
        kept=block.filter(~dropped),
        drops=block.filter(dropped).with_columns(
            reason=verdicts.filter(dropped)["reason"], detail=pl.Series(details, dtype=pl.String)
        ),
        notes={"unscored_kept": spared} if (spared := int((~dropped & verdicts["score"].is_null()).sum())) else {},
    )
