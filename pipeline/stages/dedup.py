"""Deduplication: equal records, then near-duplicates by MinHash with every candidate verified."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.similar.batches import Index, open_index
from pipeline.similar.cluster import Cluster, Duplicates, Rule, near_duplicates
from pipeline.similar.index import Known, Shelf
from pipeline.similar.minhash import bands_for
from pipeline.similar.variants import Variants
from pipeline.stage import Outcome, Stream, Tools
from pipeline.stages.dedup_against import bytes_of, known_of, shelves_of
from pipeline.stages.dedup_evidence import Names, outcome
from pipeline.stages.dedup_find import Found, find
from pipeline.stages.dedup_sketch import Aspect, Compared, Keep, Sketch, sketch
from pipeline.stages.dedup_spread import near_on_cluster
from pipeline.stages.keeping import require_keep
from pipeline.stages.scratch import scratch

SPREAD_FROM = 200_000
"""Records from which a cluster's shuffle is worth its start; the answer is the same on both sides."""


@dataclass(frozen=True, kw_only=True)
class Dedup:
    """Drops records that repeat another one, exactly or nearly; the partner and the similarity are the evidence.

    Exact: equal after NFKC and with white space evened out; letter case and punctuation count. Near: the Jaccard
    similarity of the sets of n-token shingles (words; single characters of Chinese, Japanese, Korean and Thai) reaches
    the threshold; MinHash finds the candidates, the exact similarity decides. A record whose compared text is empty
    repeats nothing. Every drop's partner is a kept record, or one of `against` or `index`.

    Attributes:
        method: `exact`, `minhash`, or `both`, exact first.
        threshold: Jaccard similarity from which records are near-duplicates, between 0 and 1.
        num_perm: MinHash permutations; more find more of the pairs close to the threshold.
        ngram: tokens in a shingle.
        fields: what is compared: `conversation` (every message, input, tool call and preferred or rejected answer),
            `pair` (instruction, input and final answer), `instruction` (with its input) or `output`.
        outside_input: two records that both have an `input` are near-duplicates only when what stands outside it is
            alike too: so much Jaccard similarity of its words. So two tasks over one long input both stay. 0 looks at
            the whole alone.
        variants: `same` takes traditional Chinese characters for their simplified forms when near-duplicates are
            looked for; the records stay as they are.
        keep: which of several survives: the `first` one, the `longest` text (the first of equals), the
            `highest_score` (records without that score last, the first of equals), or the `best_source`.
        score: the score's name, for `keep: highest_score`.
        sources: names as in the records' `source`, from the best to the worst, for `keep: best_source`; all others
            come after them.
        cluster: `star` drops what is similar enough to a kept record; `components` keeps one record of each group that
            is tied together by similar pairs, however unlike its ends are.
        against: files (or globs) of other datasets: what repeats a record of theirs is dropped, whatever `keep` says.
        index: a folder that remembers what was kept, made when it is not there: what repeats a record of an earlier
            batch is dropped, and what is kept becomes a batch of its own (not in a rehearsal). With `keep: first` and
            `cluster: star`; the folder is looked up from where the command runs.
        seed: of the permutations.
    """

    method: Literal["both", "exact", "minhash"] = "both"
    threshold: float = 0.7
    num_perm: int = 128
    ngram: int = 5
    fields: Compared = "conversation"
    outside_input: float = 0.5
    variants: Variants = "apart"
    keep: Keep = "first"
    score: str | None = None
    sources: tuple[str, ...] = ()
    cluster: Cluster = "star"
    against: tuple[str, ...] | None = field(default=None, metadata={"file": True})
    index: str | None = None
    seed: int = 1

    scope: ClassVar[Literal["dataset"]] = "dataset"

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise UsageError(
                f"dedup: a threshold of {self.threshold} makes no sense", "it lies between 0 and 1; 0.7 is usual"
            )
        if not 0 <= self.outside_input <= 1:
            raise UsageError(f"dedup: outside_input is {self.outside_input}", "it lies between 0 and 1; 0 turns it off")
        if self.num_perm < 16 or self.ngram < 1 or self.seed < 0:
            raise UsageError("dedup: num_perm must be at least 16, ngram at least 1 and seed at least 0")
        require_keep("dedup", self.keep, self.score, self.sources)
        if self.index is not None and (self.keep, self.cluster) != ("first", "star"):
            raise UsageError(
                "dedup: an index goes with 'keep: first' and 'cluster: star' only",
                "what an earlier batch kept cannot be taken back; leave 'keep' and 'cluster' out",
            )

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """One outcome per slice, kept records in input order.

        In memory at once: every record's id, digest and shingles, but no texts; on a cluster no shingles either.
        """
        if not stream.slices:
            return
        aspect = self._aspect()
        with ExitStack() as stack:
            shelves, notes = shelves_of(self.against or (), aspect, stack.enter_context(scratch(tools)))
            files = len(shelves)
            index = stack.enter_context(self._open_index(tools)) if self._has_index(tools) else None
            shelves += [] if index is None else index.shelves()
            sketches = _sketches(stream, tools, aspect, shelves)
            known, shelf_of = _known(shelves, sketches)
            found = self._find(known, sketches, stream, tools)
            if index is not None and tools.folder is not None:
                _remember(index, found, sketches, stream, tools, aspect)
        names = Names(known, shelf_of, shelves, files, pl.concat([one.ids for one in sketches]))
        del sketches
        begin = 0
        for piece in stream.slices:
            block = outcome(piece.load(), begin, found, names)
            yield block if begin else replace(block, notes=notes)
            begin += piece.rows

    def _aspect(self) -> Aspect:
        bands = None if self.method == "exact" else bands_for(self.threshold, self.num_perm, self.seed)
        aside = self.outside_input > 0 and self.fields != "output"
        return Aspect(bands, self.ngram, self.fields, self.variants, aside, self.keep, self.score, self.sources)

    def _has_index(self, tools: Tools) -> bool:
        """Whether there is one, or one may be made."""
        return self.index is not None and (tools.folder is not None or (self._index_folder() / "index.json").exists())

    def _index_folder(self) -> Path:
        return Path(str(self.index)).expanduser()

    def _open_index(self, tools: Tools) -> Any:
        names = ("method", "threshold", "num_perm", "ngram", "fields", "outside_input", "variants", "seed")
        settings = {name: getattr(self, name) for name in names}
        made_by = "" if tools.folder is None else str(tools.folder.resolve())
        return open_index(self._index_folder(), settings, made_by)

    def _find(self, known: Known, sketches: Sequence[Sketch], stream: Stream, tools: Tools) -> Found:
        aspect = self._aspect()
        rule = Rule(self.threshold, self.cluster, len(known), self.outside_input)

        def near(priority: NDArray[np.int64]) -> Duplicates:
            assert aspect.bands is not None
            if tools.regroup is not None and _is_spread(stream, tools):
                return near_on_cluster(stream, known, priority, aspect, rule, tools.regroup)
            parts = [known.sets, *(one.shingles for one in sketches if one.shingles is not None)]
            aside = [known.aside, *(one.aside for one in sketches if one.aside is not None)]
            return near_duplicates(parts, aspect.bands, priority, rule, aside if aspect.aside else None)

        return find(known, sketches, equal=self.method != "minhash", near=None if aspect.bands is None else near)


def _is_spread(stream: Stream, tools: Tools) -> bool:
    return tools.regroup is not None and stream.rows >= SPREAD_FROM


def _sketches(stream: Stream, tools: Tools, aspect: Aspect, shelves: Sequence[Shelf]) -> list[Sketch]:
    sketches: list[Sketch] = []
    done = 0
    # Where shingles are shuffled they stay where they are cut.
    what = partial(sketch, aspect=aspect, shelves=shelves, light=_is_spread(stream, tools))
    for one in tools.map(what, stream.slices):
        sketches.append(one)
        done += len(one.ids)
        tools.progress(done, stream.rows)
    return sketches


def _known(shelves: Sequence[Shelf], sketches: Sequence[Sketch]) -> tuple[Known, NDArray[np.int64]]:
    """The remembered records that matter to these, and which shelf each is on."""
    wanted = [np.unique(np.concatenate([one.known[k] for one in sketches])) for k in range(len(shelves))]
    held = [shelf.load(rows) for shelf, rows in zip(shelves, wanted, strict=True)]
    return Known.joined(held), np.repeat(np.arange(len(held)), [len(one) for one in held])


def _remember(
    index: Index, found: Found, sketches: Sequence[Sketch], stream: Stream, tools: Tools, aspect: Aspect
) -> None:
    """Add what is kept to the index, unless this very batch is there."""
    input = _input_digest(sketches)
    if index.has(input):
        return
    begins = np.cumsum([0, *(len(one.ids) for one in sketches)])

    def kept_parts() -> Iterator[Known]:
        # Cut once more rather than held: on a cluster the shingles are not in this process.
        for begin, one in zip(begins, tools.map(partial(sketch, aspect=aspect), stream.slices), strict=False):
            rows = np.flatnonzero(found.kept[begin : begin + len(one.ids)])
            yield known_of(one, np.zeros(len(one.ids), np.int64)).taken(rows)

    index.add(input, kept_parts(), aspect.bands)


def _input_digest(sketches: Sequence[Sketch]) -> str:
    """Names a batch by its rows, however they are cut into blocks."""
    ids, digests = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    for one in sketches:
        ids.update(b"".join(id + b"\n" for id in bytes_of(one.ids).tolist()))
        digests.update(np.ascontiguousarray(one.digests).tobytes())
    return ids.hexdigest() + digests.hexdigest()
