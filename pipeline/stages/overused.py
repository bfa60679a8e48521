"""Phrases that too many answers of a set begin or end with."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import polars as pl

from filters.phrases import closing, closing_sentence, opening, opening_sentence
from pipeline.errors import UsageError
from pipeline.record import MESSAGE_FIELDS, SCHEMA, detail_text, draw
from pipeline.stage import Outcome, Stream, Tools

_PLACES = {"opening": (opening, opening_sentence), "closing": (closing, closing_sentence)}


@dataclass(frozen=True, kw_only=True)
class Overused:
    """Thins out answers that share their first or last words with too many others of the set.

    Models have ready-made phrases ("Sure! Here is ...", "希望对你有帮助"); what a tuned model learns from them is the
    phrase. Counted are the first and the last words, up to four (or six characters of Chinese), of every answer of more
    than one sentence, over the whole set. Which answers keep an over-used phrase is drawn by their ids.

    Attributes:
        max_share: largest share of the answers that may share a phrase; more than that are thinned out to it.
        min_count: phrases that fewer answers share are never over-used.
        action: `strip` cuts the sentence with the phrase, where it is short, from the answers that are too many; `drop`
            drops the record.
        places: where phrases are looked for: `opening`, `closing` or `both`.
        max_chars: longest sentence that is cut; longer ones say more than the phrase.
    """

    scope: ClassVar[Literal["dataset"]] = "dataset"

    max_share: float = 0.01
    min_count: int = 20
    action: Literal["strip", "drop"] = "strip"
    places: Literal["both", "opening", "closing"] = "both"
    max_chars: int = 80

    def __post_init__(self) -> None:
        if not 0 <= self.max_share <= 1:
            raise UsageError(
                f"overused: max_share is {self.max_share}", "a share is between 0 and 1: 0.01 is one in a hundred"
            )
        if self.min_count < 1:
            raise UsageError(f"overused: min_count is {self.min_count}", "give at least 1")

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """One outcome per slice; the stream is walked twice, and only the counts of phrases are in memory."""
        many, allowed = self.found(stream, tools)
        quota = {(place, phrase): (allowed / count, count) for place, phrase, count in many.iter_rows()}
        done = 0
        for piece in stream.slices:
            block = piece.load()
            yield self._outcome(block, quota, tools)
            done += len(block)
            tools.progress(done, stream.rows)

    def found(self, stream: Stream, tools: Tools) -> tuple[pl.DataFrame, float]:
        """The over-used phrases (columns place, phrase, count), and how many answers may share one."""
        places: list[str] = list(_PLACES) if self.places == "both" else [self.places]
        parts = list(tools.map(partial(_counted, places=places), stream.slices))
        if not parts:
            return pl.DataFrame(schema={"place": pl.String, "phrase": pl.String, "count": pl.Int64}), 0.0
        counts = pl.concat(parts)
        answers = int(counts.filter(pl.col("phrase").is_null())["count"].sum())
        allowed = max(self.max_share * answers, self.min_count - 1)
        total = counts.drop_nulls("phrase").group_by("place", "phrase").agg(pl.col("count").sum())
        return total.filter(pl.col("count") > allowed).sort("place", "phrase"), allowed

    def _outcome(self, block: pl.DataFrame, quota: dict[tuple[str, str], tuple[float, int]], tools: Tools) -> Outcome:
        found = _phrases(block, sorted({place for place, _ in quota}))
        surplus = []
        for row, at, place, phrase in found.iter_rows():
            share, count = quota.get((place, phrase or ""), (1.0, 0))
            if count and draw(tools.seed, tools.entry, block["id"][row], f"{place}:{at}").random() >= share:
                surplus.append((row, at, place, phrase, count))
        if not surplus:
            return Outcome(kept=block)
        return self._dropped(block, surplus) if self.action == "drop" else self._stripped(block, surplus)

    def _dropped(self, block: pl.DataFrame, surplus: list[tuple[int, int, str, str, int]]) -> Outcome:
        first = {row: (place, phrase, count) for row, _, place, phrase, count in reversed(surplus)}
        rows = sorted(first)
        details = [detail_text(dict(zip(("place", "phrase", "answers"), first[row], strict=True))) for row in rows]
        drops = block[rows].with_columns(reason=pl.lit("overused-phrase"), detail=pl.Series(details, dtype=pl.String))
        kept = block.filter(~pl.int_range(pl.len(), dtype=pl.Int64).is_in(rows))
        return Outcome(kept=kept, drops=drops, hits={"overused-phrase": len(rows)})

    def _stripped(self, block: pl.DataFrame, surplus: list[tuple[int, int, str, str, int]]) -> Outcome:
        """The answers without the sentence; those in which it is long, or all there is, stay as they are."""
        flat = block.with_row_index("row").select("row", "messages").explode("messages").unnest("messages")
        flat = flat.with_columns(at=pl.int_range(pl.len()).over("row"))
        fixed: dict[str, int] = {}
        for place, (_, sentence) in _PLACES.items():
            cut = pl.DataFrame(
                [(row, at) for row, at, where, _, _ in surplus if where == place],
                schema={"row": pl.UInt32, "at": pl.Int64},
                orient="row",
            ).with_columns(surplus=True)
            text = pl.col("content")
            size = sentence(text).str.len_chars()
            rest = text.str.slice(size) if place == "opening" else text.str.head(text.str.len_chars() - size)
            rest = rest.str.strip_chars_start() if place == "opening" else rest.str.strip_chars_end()
            fits = pl.col("surplus").fill_null(False) & (size <= self.max_chars) & (rest.str.strip_chars() != "")
            marked = flat.join(cut, on=["row", "at"], how="left", maintain_order="left")
            rows = marked.filter(fits)["row"].n_unique()
            flat = marked.with_columns(content=pl.when(fits).then(rest).otherwise(text)).drop("surplus")
            if rows:
                fixed["overused-opening" if place == "opening" else "overused-closing"] = rows
        messages = flat.group_by("row", maintain_order=True).agg(pl.struct(*MESSAGE_FIELDS).alias("new"))
        joined = block.with_row_index("row").join(messages, on="row", how="left", maintain_order="left")
        kept = joined.with_columns(messages=pl.coalesce("new", "messages")).select(SCHEMA.names())
        return Outcome(kept=kept, fixed=fixed)


def _phrases(block: pl.DataFrame, places: list[str]) -> pl.DataFrame:
    """Columns row, at (position of the message), place, phrase (null when the answer has none)."""
    flat = block.with_row_index("row").select("row", "messages").explode("messages").unnest("messages")
    flat = flat.with_columns(at=pl.int_range(pl.len()).over("row")).filter(pl.col("role") == "assistant")
    parts = [
        flat.select("row", "at", place=pl.lit(place), phrase=_PLACES[place][0](pl.col("content").fill_null("")))
        for place in places
    ]
    return (
        pl.concat(parts) if parts else pl.DataFrame(schema=dict.fromkeys(("row", "at", "place", "phrase"), pl.String))
    )


def _counted(block: pl.DataFrame, places: list[str]) -> pl.DataFrame:
    """How often each phrase occurs in each place; in one more row, without a phrase, how many answers there are."""
    found = _phrases(block, places)
    counts = found.drop_nulls("phrase").group_by("place", "phrase").agg(count=pl.len().cast(pl.Int64))
    answers = {"place": [""], "phrase": [None], "count": [found.height // max(1, len(places))]}
    return pl.concat([counts, pl.DataFrame(answers, schema=counts.schema)])
