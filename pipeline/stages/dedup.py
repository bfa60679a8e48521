"""Deduplication: equal records, then near-duplicates by MinHash with every candidate verified."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.record import detail_text, view
from pipeline.similar.cluster import Cluster, Duplicates, near_duplicates
from pipeline.similar.exact import digests, first_equals
from pipeline.similar.minhash import Bands, band_keys, bands_for
from pipeline.similar.shingles import Shingles, shingles
from pipeline.stage import Outcome, Stream, Tools
from pipeline.stages.prune import score_named

Compared = Literal["conversation", "pair", "instruction", "output"]

_BETWEEN = "\0"
"""Stands between the texts of a record that are compared together: no white space, and no part of a token."""


@dataclass(frozen=True, kw_only=True)
class Dedup:
    """Drops records that repeat another one, exactly or nearly; the partner and the similarity are the evidence.

    Exact: equal after NFKC and with white space evened out; letter case and punctuation count. Near: the Jaccard
    similarity of the sets of n-token shingles (words; single characters of Chinese, Japanese, Korean and Thai) reaches
    the threshold; MinHash finds the candidates, the exact similarity decides. A record whose compared text is empty
    repeats nothing. Every drop's partner is a kept record.

    Attributes:
        method: `exact`, `minhash`, or `both`, exact first.
        threshold: Jaccard similarity from which records are near-duplicates, between 0 and 1.
        num_perm: MinHash permutations; more find more of the pairs close to the threshold.
        ngram: tokens in a shingle.
        fields: what is compared: `conversation` (every message, input, tool call and preferred or rejected answer),
            `pair` (instruction, input and final answer), `instruction` (with its input) or `output`.
        keep: which of several survives: the `first` one, the `longest` text (the first of equals), or the
            `highest_score` (records without that score last, the first of equals).
        score: the score's name, for `keep: highest_score`.
        cluster: `star` drops what is similar enough to a kept record; `components` keeps one record of each group that
            is tied together by similar pairs, however unlike its ends are.
        seed: of the permutations.
    """

    method: Literal["both", "exact", "minhash"] = "both"
    threshold: float = 0.7
    num_perm: int = 128
    ngram: int = 5
    fields: Compared = "conversation"
    keep: Literal["first", "longest", "highest_score"] = "first"
    score: str | None = None
    cluster: Cluster = "star"
    seed: int = 1

    scope: ClassVar[Literal["dataset"]] = "dataset"

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise UsageError(
                f"dedup: a threshold of {self.threshold} makes no sense", "it lies between 0 and 1; 0.7 is usual"
            )
        if self.num_perm < 16 or self.ngram < 1 or self.seed < 0:
            raise UsageError("dedup: num_perm must be at least 16, ngram at least 1 and seed at least 0")
        if (self.keep == "highest_score") != (self.score is not None):
            raise UsageError(
                "dedup: 'keep: highest_score' and 'score' need each other",
                "name the score that decides, such as 'score: accuracy', or leave both out",
            )

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """One outcome per slice, kept records in input order.

        In memory at once: every record's id, shingles and band keys, but no texts.
        """
        if not stream.slices:
            return
        bands = None if self.method == "exact" else bands_for(self.threshold, self.num_perm, self.seed)
        parts: list[_Sketch] = []
        for part in tools.map(partial(_sketch, stage=self, bands=bands), stream.slices):
            parts.append(part)
            tools.progress(sum(len(p.ids) for p in parts), stream.rows)
        sketch = _joined(parts)
        del parts
        found, is_exact = _find(sketch, self)
        begin = 0
        for piece in stream.slices:
            yield _outcome(piece.load(), begin, sketch.ids, found, is_exact)
            begin += piece.rows


@dataclass(frozen=True, slots=True)
class _Sketch:
    """What is remembered of some records; the parts that the method does not need are None.

    Attributes:
        measure: the higher, the sooner kept.
    """

    ids: pl.Series
    measure: NDArray[np.float64] | None
    digests: NDArray[np.uint64] | None
    shingles: Shingles | None
    keys: NDArray[np.uint64] | None


def _sketch(block: pl.DataFrame, stage: Dedup, bands: Bands | None) -> _Sketch:
    frame = view(block)
    texts = _texts(frame, stage.fields)
    measure = None
    if stage.keep == "longest":
        measure = texts.str.len_chars().cast(pl.Float64).to_numpy()
    elif stage.score is not None:
        measure = block.select(score_named(stage.score).fill_null(-np.inf)).to_series().to_numpy()
    equality = None
    if stage.method != "minhash":
        equality = digests(_with_roles(texts, frame["roles"]) if stage.fields == "conversation" else texts)
    if bands is None:
        return _Sketch(block["id"], measure, equality, None, None)
    cut = shingles(texts, stage.ngram)
    return _Sketch(block["id"], measure, equality, cut, band_keys(cut, bands))


def _texts(frame: pl.DataFrame, compared: Compared) -> pl.Series:
    """The compared text of each record of a `view`."""
    question = pl.concat_str("instruction", "input", separator="\n").str.strip_chars()
    if compared == "conversation":
        nothing = pl.lit([], dtype=pl.List(pl.String))
        element = pl.element().struct
        spoken = [pl.col(name).list.eval(element["content"]).fill_null(nothing) for name in ("chosen", "rejected")]
        called = pl.col("messages").list.eval(element["tool_calls"].drop_nulls()).fill_null(nothing)
        parts = pl.concat_list(pl.concat_list("text"), called, *spoken)
    else:
        columns = {"pair": [question, pl.col("output")], "instruction": [question], "output": [pl.col("output")]}
        parts = pl.concat_list(columns[compared])
    visible = parts.list.eval(pl.element().filter(pl.element().str.strip_chars() != ""))
    return frame.select(visible.list.join(_BETWEEN).alias("compared")).to_series()


def _with_roles(texts: pl.Series, roles: pl.Series) -> pl.Series:
    """Equal conversations are spoken by the same roles; an empty text stays empty."""
    frame = pl.select(pl.when(texts != "").then(roles + _BETWEEN + texts).otherwise(pl.lit("")))
    return frame.to_series()


def _joined(parts: Sequence[_Sketch]) -> _Sketch:
    def all_of(name: str) -> Any:
        pieces = [getattr(part, name) for part in parts]
        return None if pieces[0] is None else np.concatenate(pieces)

    cut = [part.shingles for part in parts if part.shingles is not None]
    return _Sketch(
        ids=pl.concat([part.ids for part in parts]),
        measure=all_of("measure"),
        digests=all_of("digests"),
        shingles=Shingles.joined(cut) if cut else None,
        keys=all_of("keys"),
    )


def _find(sketch: _Sketch, stage: Dedup) -> tuple[Duplicates, NDArray[np.bool_]]:
    """Each record's partner, and whether the two are equal rather than similar."""
    size = len(sketch.ids)
    priority = np.arange(size) if sketch.measure is None else np.argsort(-sketch.measure, kind="stable")
    first = np.arange(size) if sketch.digests is None else first_equals(sketch.digests, priority)
    equal = first != np.arange(size)
    if sketch.shingles is None or sketch.keys is None:
        partner = np.where(equal, first, -1)
        return Duplicates(partner, equal.astype(np.float64), partner, equal.astype(np.float64)), equal
    distinct = priority[~equal[priority]]
    near = near_duplicates(sketch.shingles, sketch.keys, distinct, stage.threshold, stage.cluster)
    # What equals a dropped record is exactly as similar to that one's partner, which becomes its own.
    is_exact = equal & (near.partner[first] < 0)
    found = Duplicates(
        partner=np.where(is_exact, first, near.partner[first]),
        similarity=np.where(is_exact, 1.0, near.similarity[first]),
        neighbour=np.where(is_exact, first, near.neighbour[first]),
        neighbour_similarity=np.where(is_exact, 1.0, near.neighbour_similarity[first]),
    )
    return found, is_exact


def _outcome(
    block: pl.DataFrame, begin: int, ids: pl.Series, found: Duplicates, is_exact: NDArray[np.bool_]
) -> Outcome:
    """The outcome of the block that starts at row `begin` of the stream."""
    kept = found.partner[begin : begin + len(block)] < 0
    rows = begin + np.flatnonzero(~kept)
    reasons = ["exact-duplicate" if exact else "near-duplicate" for exact in is_exact[rows].tolist()]
    return Outcome(
        kept=block.filter(kept),
        drops=block.filter(~kept).with_columns(
            reason=pl.Series(reasons, dtype=pl.String),
            detail=pl.Series([detail_text(_detail(row, ids, found)) for row in rows.tolist()], dtype=pl.String),
        ),
    )


def _detail(row: int, ids: pl.Series, found: Duplicates) -> dict[str, Any]:
    partner, neighbour = int(found.partner[row]), int(found.neighbour[row])
    detail: dict[str, Any] = {"partner": ids[partner], "similarity": float(found.similarity[row])}
    if neighbour != partner:
        detail |= {"neighbour": ids[neighbour], "neighbour_similarity": float(found.neighbour_similarity[row])}
    return detail
