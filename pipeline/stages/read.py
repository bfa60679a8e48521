"""Read seeds or datasets from files: the first entry of every recipe."""

from collections import Counter
from collections.abc import Iterator, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import polars as pl

from pipeline.bulk.json_rows import source_ids
from pipeline.errors import UsageError
from pipeline.formats import FORMATS
from pipeline.formats.columns import frame_of, frame_of_plain
from pipeline.formats.elements import Unreadable, shown
from pipeline.formats.extras import own_license
from pipeline.formats.files import expand
from pipeline.formats.plain import Plain
from pipeline.formats.reading import blocks, format_named
from pipeline.formats.shape import Fields
from pipeline.licenses import combined, of_source
from pipeline.record import Drop, Record, digest, source_id, to_drop_frame
from pipeline.stage import Outcome, Stream, Tools

BLOCK_ROWS = 5_000


@dataclass(frozen=True, kw_only=True)
class Read:
    """Files to records; a row that cannot be read is a drop with file, line and raw text.

    Attributes:
        seeds: files, globs or addresses (`s3://`, `hf://datasets/`) of seed tasks; exactly one of `seeds` and `data` is
            given.
        data: files, globs or addresses of a dataset.
        format: what their rows are (`seedmill formats`); `auto` tells it from each row.
        language: BCP 47 tag of every record, when it is known.
        license: licence of every record, such as cc-by-4.0; what a row says of its own licence holds beside it. Where
            neither is there, that of a known dataset (`pipeline/licenses.yaml`).
        source: where the records come from; the file's name when not given.
        limit: read no more than this many records, the first ones.
    """

    scope: ClassVar[Literal["dataset"]] = "dataset"

    seeds: tuple[str, ...] | None = field(default=None, metadata={"file": True})
    data: tuple[str, ...] | None = field(default=None, metadata={"file": True})
    format: str = field(default="auto", metadata={"schema": {"enum": ["auto", *FORMATS]}})
    language: str | None = None
    license: str | None = None
    source: str | None = None
    limit: int | None = field(default=None, metadata={"schema": {"minimum": 1}})

    def __post_init__(self) -> None:
        if bool(self.seeds) == bool(self.data):
            hint = "seeds: [mine.jsonl] to grow from, or data: [set.json] to clean"
            raise UsageError("give either 'seeds' or 'data'", hint)
        if self.format != "auto":
            format_named(self.format)
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit is {self.limit}; it must be 1 or more")

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """Outcomes of about BLOCK_ROWS rows each; `stream` is empty."""
        repeats = Repeats()
        kept: list[Record] = []
        drops: list[Drop] = []
        done = told = 0
        for item in self._items(repeats):
            if isinstance(item, Drop):
                drops.append(item)
            elif isinstance(item, Record):
                kept.append(item)
            if isinstance(item, pl.DataFrame) or len(kept) + len(drops) == BLOCK_ROWS:
                done += len(kept) + len(drops)
                if kept or drops:
                    yield _outcome(kept, drops)
                kept, drops = [], []
                if isinstance(item, pl.DataFrame):
                    done += item.height
                    yield Outcome(kept=item, derived=item.height)
                if done >= told + BLOCK_ROWS:
                    tools.progress(done, None)
                    told = done
        if kept or drops:
            done += len(kept) + len(drops)
            yield _outcome(kept, drops)
        tools.progress(done, done)

    def _items(self, repeats: "Repeats") -> Iterator[Record | Drop | pl.DataFrame]:
        """Records and drops one by one, and frames of SCHEMA of plain rows."""
        format = None if self.format == "auto" else format_named(self.format)
        left = self.limit
        for position, path in enumerate(expand(self.seeds or self.data or ())):
            for item in blocks(path, format):
                if isinstance(item, Unreadable):
                    yield self._drop(path, position, item)
                    continue
                found: Sized
                if isinstance(item, Plain):
                    found = item.rows.head(item.rows.height if left is None else left)
                    frame = frame_of_plain(found, repeats.ids_of(found), self._ours(path, {}))
                    yield from frame.iter_slices(BLOCK_ROWS)
                else:
                    found = item.records if left is None else item.records[:left]
                    yield from (self._record(path, fields, repeats) for fields in found)
                left = None if left is None else left - len(found)
                if left == 0:
                    return

    def _record(self, path: Path, fields: Fields, repeats: "Repeats") -> Record:
        return Record(id=repeats.id_of(fields), **(cast(Any, fields) | self._ours(path, fields)))

    def _ours(self, path: Path, fields: Fields) -> dict[str, str | None]:
        """What this entry says of a record, beside what its row says."""
        return {
            "source": self.source or fields.get("source") or shown(path.name),
            "method": fields.get("method") or ("seed" if self.seeds else "read"),
            "language": self.language or fields.get("language"),
            "license": self._license(fields, path),
        }

    def _license(self, fields: Fields, path: Path) -> str | None:
        own = fields.get("license") or own_license(fields.get("extra"))
        if self.license or own:
            return combined([text for text in (self.license, own) if text])
        return of_source(self.source or fields.get("source")) or of_source(path.name)

    def _drop(self, path: Path, position: int, item: Unreadable) -> Drop:
        detail = {"file": shown(path.name), "line": item.line, "error": item.error, "raw": item.raw}
        record = Record(
            id=digest("unreadable", position, shown(path.name), item.line, item.raw),
            source=self.source or shown(path.name),
            method="seed" if self.seeds else "read",
            license=self.license,
        )
        return Drop(record=record, reason=item.reason, detail=detail | ({"field": item.field} if item.field else {}))


class Repeats:
    """Ids of records read so far, so that an exact repeat gets the next occurrence number."""

    def __init__(self) -> None:
        # Ten bytes each, and a count only of what repeats: about 80 bytes a record.
        self._seen: set[bytes] = set()
        self._counts: Counter[bytes] = Counter()

    def id_of(self, fields: Fields) -> str:
        """The id of the next record."""
        parts = (fields["messages"], fields.get("input"), fields.get("tools"))
        id = source_id(*parts)
        digest = bytes.fromhex(id)
        if digest not in self._seen:
            self._seen.add(digest)
            return id
        self._counts[digest] += 1
        return source_id(*parts, self._counts[digest])

    def ids_of(self, rows: pl.DataFrame) -> pl.Series:
        """The ids of plain rows."""
        ids, digests = source_ids(rows["instruction"], rows["input"], rows["output"])
        new = set(digests)
        if len(new) == len(digests) and self._seen.isdisjoint(new):
            self._seen |= new
            return ids
        read = FORMATS["alpaca"].read
        return pl.Series([self.id_of(fields) for row in rows.iter_rows(named=True) for fields in read(row)])


def _outcome(kept: list[Record], drops: list[Drop]) -> Outcome:
    return Outcome(kept=frame_of(kept), drops=to_drop_frame(drops), derived=len(kept) + len(drops))
