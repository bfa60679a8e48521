"""What deduplication remembers of records: what they say is compared, then only hashes of it are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.record import view
from pipeline.similar.exact import digests
from pipeline.similar.index import Shelf
from pipeline.similar.minhash import Bands, band_keys
from pipeline.similar.shingles import Shingles, shingles
from pipeline.similar.variants import Variants
from pipeline.stages.prune import score_named

Compared = Literal["conversation", "pair", "instruction", "output"]
Keep = Literal["first", "longest", "highest_score", "best_source"]

BETWEEN = "\0"
"""Stands between the texts of a record that are compared together: no white space, and no part of a token."""


@dataclass(frozen=True, slots=True)
class Aspect:
    """What of a record is compared, and how it is cut.

    Attributes:
        bands: of the MinHash; None when only equal records are looked for.
        ngram: tokens in a shingle.
        fields: what is compared.
        variants: whether traditional Chinese counts as simplified.
        aside: whether what stands outside `input` is looked at by itself too.
        keep: which record of several survives.
        score: the score's name, for `highest_score`.
        sources: from the best to the worst, for `best_source`.
    """

    bands: Bands | None
    ngram: int
    fields: Compared
    variants: Variants
    aside: bool
    keep: Keep
    score: str | None
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sketch:
    """What is remembered of some records; what the method does not need is None.

    Attributes:
        measure: the higher, the sooner kept.
        digests: of the whole compared text, shape (records, 2).
        shingles: of the compared text.
        aside: of what stands outside the input; none for records without an input.
        known: for each shelf, the rows of it that may be equal or similar to one of these records.
    """

    ids: pl.Series
    measure: NDArray[np.float64] | None
    digests: NDArray[np.uint64]
    shingles: Shingles | None
    aside: Shingles | None
    known: tuple[NDArray[np.int64], ...] = ()


def sketch(block: pl.DataFrame, aspect: Aspect, shelves: Sequence[Shelf] = (), *, light: bool = False) -> Sketch:
    """The sketch of a frame of SCHEMA; a light one has no shingles."""
    frame = view(block)
    texts = texts_of(frame, aspect.fields)
    spoken = _with_roles(texts, frame["roles"]) if aspect.fields == "conversation" else texts
    found, measure = digests(spoken), _measure(frame, texts, aspect)
    if aspect.bands is None or (light and not shelves):
        known = tuple(shelf.candidates(found, None) for shelf in shelves)
        return Sketch(block["id"], measure, found, None, None, known)
    cut = shingles(texts, aspect.ngram, aspect.variants)
    keys = band_keys(cut, aspect.bands)[cut.counts > 0] if shelves else None
    known = tuple(shelf.candidates(found, keys) for shelf in shelves)
    if light:
        return Sketch(block["id"], measure, found, None, None, known)
    return Sketch(block["id"], measure, found, cut, _aside(frame, aspect) if aspect.aside else None, known)


def _measure(frame: pl.DataFrame, texts: pl.Series, aspect: Aspect) -> NDArray[np.float64] | None:
    if aspect.keep == "longest":
        return texts.str.len_chars().cast(pl.Float64).to_numpy()
    if aspect.keep == "highest_score":
        return frame.select(score_named(aspect.score or "").fill_null(-np.inf)).to_series().to_numpy()
    if aspect.keep == "best_source":
        places = {source: -float(place) for place, source in enumerate(aspect.sources)}
        last = -float(len(places))
        return np.array([places.get(source, last) for source in frame["source"]], np.float64)
    return None


def texts_of(frame: pl.DataFrame, compared: Compared, *, with_input: bool = True) -> pl.Series:
    """The compared text of each record of a `view`."""
    question = pl.col("instruction")
    if with_input:
        question = pl.concat_str("instruction", "input", separator="\n")
    question = question.str.strip_chars()
    if compared == "conversation":
        parts = _conversation(with_input=with_input)
    else:
        columns = {"pair": [question, pl.col("output")], "instruction": [question], "output": [pl.col("output")]}
        parts = pl.concat_list(columns[compared])
    visible = parts.list.eval(pl.element().filter(pl.element().str.strip_chars() != ""))
    return frame.select(visible.list.join(BETWEEN).alias("compared")).to_series()


def _conversation(*, with_input: bool) -> pl.Expr:
    """Every text of a record: its messages and input, tool calls, preferred and rejected answers."""
    nothing = pl.lit([], dtype=pl.List(pl.String))
    element = pl.element().struct
    said = {
        name: pl.col(name).list.eval(element["content"]).fill_null(nothing)
        for name in ("messages", "chosen", "rejected")
    }
    called = pl.col("messages").list.eval(element["tool_calls"].drop_nulls()).fill_null(nothing)
    text = pl.concat_list("text") if with_input else said["messages"]
    return pl.concat_list(text, called, said["chosen"], said["rejected"])


def _aside(frame: pl.DataFrame, aspect: Aspect) -> Shingles:
    """The words of what stands outside the input, for records that have an input."""
    outside = texts_of(frame, aspect.fields, with_input=False)
    has_input = frame["input"].str.strip_chars() != ""
    return shingles(outside.zip_with(has_input, pl.Series([""], dtype=pl.String)), 1, aspect.variants)


def _with_roles(texts: pl.Series, roles: pl.Series) -> pl.Series:
    """Equal conversations are spoken by the same roles; an empty text stays empty."""
    frame = pl.select(pl.when(texts != "").then(roles + BETWEEN + texts).otherwise(pl.lit("")))
    return frame.to_series()
