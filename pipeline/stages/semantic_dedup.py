"""Deduplication by meaning: near-duplicates by the cosine similarity of embeddings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.record import view
from pipeline.similar.cluster import Cluster, Duplicates
from pipeline.similar.cosine import Aside, near_vectors
from pipeline.similar.encoder import FILES, MADE_BY
from pipeline.similar.index import Known
from pipeline.similar.kmeans import groups_of
from pipeline.stage import Outcome, Stream, Tools
from pipeline.stages.dedup_evidence import Fault, Names, outcome
from pipeline.stages.dedup_find import Found, find
from pipeline.stages.dedup_sketch import BETWEEN, Aspect, Compared, Keep, Sketch, sketch, texts_of
from pipeline.stages.embedding import Matrix, Source, embed
from pipeline.stages.keeping import require_keep
from pipeline.stages.languages import primary
from pipeline.stages.scratch import scratch


@dataclass(frozen=True, kw_only=True)
class SemanticDedup:
    """Drops records that say what another one says, in whatever words (after SemDeDup, Abbas et al., 2023).

    Each record's text becomes a vector, by a model of a server's `/v1/embeddings` (`model`) or by a local model2vec
    encoder (`encoder` or `hub`; needs the extra `semantic`). Two records are duplicates when the cosine of their
    vectors reaches the threshold, and the drop (`semantic-duplicate`) names the partner and the similarity. Records
    that are equal but for Unicode forms and white space are dropped before (`exact-duplicate`). Run `dedup` first: it
    is cheaper, and what it drops needs no vector. What a threshold means differs from model to model: look at some
    drops.

    The work grows as the square of the records: at 384 dimensions 14 s of processor time for 50,000, 9 min for 300,000,
    in memory for one vector each. `clusters` bounds it for more.

    Further reasons: `embedding-refused`, `embedding-content-filter`, `no-vector`.

    Attributes:
        model: role of the embedding model, with `models: {embedder: {base_url: ..., model: ...}}`.
        encoder: folder of a local model2vec model: `model.safetensors`, `tokenizer.json` and `config.json`.
        hub: name of a model2vec model on the Hub, such as minishlab/potion-multilingual-128M.
        threshold: cosine similarity from which records are duplicates, above 0 up to 1.
        fields: what is compared, as for `dedup`: `conversation`, `pair`, `instruction` or `output`.
        outside_input: two tasks over one long input look alike to any model: so two records that both have an `input`
            are duplicates only when what stands outside it reaches this similarity too (a second, short text to embed
            for each of them). 0 looks at the whole alone.
        within: `language` compares records of one language only, since a translation is no duplicate; `all` any two.
        prefix: put before each text, for models that want it, such as "query: ".
        piece: characters that are embedded at once. A longer text is cut where a sentence ends, and its vector is that
            of its pieces, weighed by their length. Lower it for a model that takes less, such as 1,500 for 512 tokens.
        dimensions: asked for, of models that can be cut short.
        keep: which of several survives: the `first`, the `longest`, the `highest_score` or the `best_source`.
        score: the score's name, for `keep: highest_score`.
        sources: from the best to the worst, for `keep: best_source`.
        cluster: `star` drops what is similar enough to a kept record; `components` keeps one record of each group that
            is tied together by similar pairs, however unlike its ends are.
        clusters: with a number, records are first parted into about so many groups by k-means, and only those in one
            group are compared: so many times less work, and pairs that the parting separates are missed; 0 compares
            all.
        uncompared: whether a record of which there is no vector is dropped, or kept and counted as `not_compared`.
        texts_per_call: how many texts one call holds at most, when a server takes fewer than we know.
        window: how many calls may be under way; enters the fingerprint.
        seed: of the k-means.
    """

    scope: ClassVar[Literal["dataset"]] = "dataset"
    batchable: ClassVar[bool] = True

    model: str | None = None
    encoder: str | None = field(default=None, metadata={"file": True, "folder": FILES, "made_by": MADE_BY})
    hub: str | None = None
    threshold: float = field(default=0.95, metadata={"schema": {"exclusiveMinimum": 0, "maximum": 1}})
    fields: Compared = "conversation"
    outside_input: float = field(default=0.9, metadata={"schema": {"minimum": 0, "maximum": 1}})
    within: Literal["language", "all"] = "language"
    prefix: str = ""
    piece: int = field(default=6000, metadata={"schema": {"minimum": 100}})
    dimensions: int | None = field(default=None, metadata={"schema": {"minimum": 1}})
    keep: Keep = "first"
    score: str | None = None
    sources: tuple[str, ...] = ()
    cluster: Cluster = "star"
    clusters: int = field(default=0, metadata={"schema": {"minimum": 0}})
    uncompared: Literal["drop", "keep"] = "drop"
    texts_per_call: int | None = field(default=None, metadata={"schema": {"minimum": 1}})
    window: int = field(default=64, metadata={"schema": {"minimum": 1}})
    seed: int = field(default=1, metadata={"schema": {"minimum": 0}})

    def __post_init__(self) -> None:
        given = [name for name in ("model", "encoder", "hub") if getattr(self, name) is not None]
        if len(given) != 1:
            raise UsageError(
                f"semantic-dedup: needs one of model, encoder and hub; given: {', '.join(given) or 'none'}",
                "'model: embedder' asks the server that 'models: {embedder: {base_url: ..., model: ...}}' names",
            )
        if self.dimensions is not None and self.model is None:
            raise UsageError("semantic-dedup: 'dimensions' is for a model that is asked", "leave it out")
        require_keep("semantic-dedup", self.keep, self.score, self.sources)

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """One outcome per slice, kept records in input order; ids alone when a call outlasted its deadline.

        In memory at once: every record's id, digest and vector (from 1 GB on the vectors are a file), but no texts.
        """
        if not stream.slices:
            return
        aspect = Aspect(None, 5, self.fields, "apart", False, self.keep, self.score, self.sources)
        sketches = list(tools.map(partial(sketch, aspect=aspect), stream.slices))
        ids = pl.concat([one.ids for one in sketches])
        with scratch(tools) as folder:
            work = _Work(self, stream, tools, folder, ids, sketches)
            found = find(Known.joined([]), sketches, equal=True, near=work.near)
        if work.lost:
            yield Outcome(unavailable=tuple(ids[row] for row in work.lost))
            return
        faults = _with_repeats(work.faults, found)
        notes = {"not_compared": len(work.faults)} if work.faults and self.uncompared == "keep" else {}
        names = Names(Known.joined([]), np.empty(0, np.int64), (), 0, ids)
        begin = 0
        for piece in stream.slices:
            dropped = faults if self.uncompared == "drop" else {}
            block = outcome(piece.load(), begin, found, names, "semantic-duplicate", dropped)
            yield block if begin else replace(block, notes=notes)
            begin += piece.rows


def _with_repeats(faults: dict[int, Fault], found: Found) -> dict[int, Fault]:
    """What equals a record without a vector has none either."""
    partner = found.duplicates.partner
    repeats = {int(row): faults[int(partner[row])] for row in np.flatnonzero(found.is_exact) if partner[row] in faults}
    return {**faults, **repeats}


class _Work:
    """Embeds what is to be compared and finds duplicates in it; afterwards `faults` and `lost` say what went wrong."""

    def __init__(
        self,
        stage: SemanticDedup,
        stream: Stream,
        tools: Tools,
        folder: Path,
        ids: pl.Series,
        sketches: Sequence[Sketch],
    ) -> None:
        self._stage, self._stream, self._tools, self._folder, self._ids = stage, stream, tools, folder, ids
        self._visible = np.concatenate([one.digests.any(axis=1) for one in sketches])
        self.faults: dict[int, Fault] = {}
        self.lost: list[int] = []

    def near(self, priority: NDArray[np.int64]) -> Duplicates:
        """See dedup_find.Near."""
        found = Duplicates.none(len(self._ids))
        rows = np.sort(priority[self._visible[priority]])
        languages: list[str] = []
        matrix = self._embedded(self._texts(rows, languages), rows, "vectors")
        aside = self._beside(rows, matrix.vectors)
        if self.lost or matrix.vectors is None:
            return found
        rank = np.empty(len(self._ids), np.int64)
        rank[priority] = np.arange(len(priority))
        there = np.array([int(row) not in self.faults for row in rows], np.bool_)
        for places in self._parts(matrix.vectors, np.flatnonzero(there), np.array(languages), rows):
            ordered = places[np.argsort(rank[rows[places]], kind="stable")]
            second = None if aside is None else Aside(aside[ordered], self._stage.outside_input)
            whole = len(ordered) == len(rows) and np.array_equal(ordered, np.arange(len(rows)))
            vectors = matrix.vectors if whole else matrix.vectors[ordered]
            _put(found, near_vectors(vectors, self._stage.threshold, self._stage.cluster, second), rows[ordered])
        return found

    def _beside(self, rows: NDArray[np.int64], vectors: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """Vectors of what stands outside the input, zeros for records that have none; None when it does not matter."""
        if self._stage.outside_input == 0 or self._stage.fields == "output" or self.lost or vectors is None:
            return None
        wanted = np.flatnonzero([has and int(row) not in self.faults for row, has in self._with_input(rows)])
        matrix = self._embedded(self._texts(rows[wanted], [], with_input=False), rows[wanted], "aside")
        if matrix.vectors is None:
            return None
        aside = np.zeros((len(rows), matrix.vectors.shape[1]), np.float32)
        aside[wanted] = matrix.vectors
        return aside

    def _embedded(self, texts: Iterator[str], rows: NDArray[np.int64], name: str) -> Matrix:
        """Their vectors; what went wrong is added to `faults` and `lost`."""
        stage = self._stage
        source = Source(
            role=stage.model,
            encoder=stage.encoder,
            hub=stage.hub,
            prefix=stage.prefix,
            piece=stage.piece,
            dimensions=stage.dimensions,
            texts_per_call=stage.texts_per_call,
            window=stage.window,
        )
        matrix = embed(texts, len(rows), source, self._tools, self._folder / f"{name}.npy")
        self.faults |= {int(rows[at]): fault for at, fault in matrix.faults.items()}
        self.lost += [int(rows[at]) for at in matrix.lost]
        return matrix

    def _texts(self, rows: NDArray[np.int64], languages: list[str], *, with_input: bool = True) -> Iterator[str]:
        for frame in self._frames(rows):
            texts = texts_of(frame, self._stage.fields, with_input=with_input)
            languages += [primary(tag or "und") for tag in frame["language"]]
            yield from (text.replace(BETWEEN, "\n\n") for text in texts)

    def _with_input(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, bool]]:
        """Whether each record has an input, and something outside it."""
        at = 0
        for frame in self._frames(rows):
            outside = texts_of(frame, self._stage.fields, with_input=False)
            for input, rest in zip(frame["input"], outside, strict=True):
                yield int(rows[at]), bool((input or "").strip() and rest)
                at += 1

    def _frames(self, rows: NDArray[np.int64]) -> Iterator[pl.DataFrame]:
        """The given rows of the stream, as views."""
        begin = 0
        for piece in self._stream.slices:
            first, last = np.searchsorted(rows, (begin, begin + piece.rows))
            if first < last:
                yield view(piece.load()[rows[first:last] - begin])
            begin += piece.rows

    def _parts(
        self,
        vectors: NDArray[np.float32],
        places: NDArray[np.int64],
        languages: NDArray[np.str_],
        rows: NDArray[np.int64],
    ) -> Iterator[NDArray[np.int64]]:
        """Which rows of the matrix are compared with each other."""
        stage = self._stage
        tongues = sorted(set(languages[places].tolist())) if stage.within == "language" else [""]
        for tongue in tongues:
            mine = places[languages[places] == tongue] if stage.within == "language" else places
            count = round(stage.clusters * len(mine) / len(places))
            if count < 2:
                yield mine
                continue
            group = groups_of(vectors[mine], count, self._ids.gather(rows[mine]).to_list(), stage.seed)
            yield from (mine[group == number] for number in range(count) if (group == number).any())


def _put(found: Duplicates, part: Duplicates, rows: NDArray[np.int64]) -> None:
    """What was found among some rows, named by all."""
    dropped = part.partner >= 0
    at = rows[dropped]
    found.partner[at], found.neighbour[at] = rows[part.partner[dropped]], rows[part.neighbour[dropped]]
    found.similarity[at] = part.similarity[dropped]
    found.neighbour_similarity[at] = part.neighbour_similarity[dropped]
