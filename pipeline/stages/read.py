"""Read seeds or datasets from files: the first entry of every recipe."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from pipeline.errors import UsageError
from pipeline.formats import FORMATS
from pipeline.formats.columns import frame_of
from pipeline.formats.elements import Unreadable, shown
from pipeline.formats.files import expand
from pipeline.formats.reading import examples, format_named
from pipeline.formats.shape import Fields
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
        license: licence of every record, such as cc-by-4.0.
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
        repeats = _Repeats()
        kept: list[Record] = []
        drops: list[Drop] = []
        done = 0
        for item in self._items(repeats):
            if isinstance(item, Drop):
                drops.append(item)
            else:
                kept.append(item)
            done += 1
            if len(kept) + len(drops) == BLOCK_ROWS:
                tools.progress(done, None)
                yield _outcome(kept, drops)
                kept, drops = [], []
        if kept or drops:
            yield _outcome(kept, drops)
        tools.progress(done, done)

    def _items(self, repeats: "_Repeats") -> Iterator[Record | Drop]:
        format = None if self.format == "auto" else format_named(self.format)
        left = self.limit
        for position, path in enumerate(expand(self.seeds or self.data or ())):
            for item in examples(path, format):
                if isinstance(item, Unreadable):
                    yield self._drop(path, position, item)
                    continue
                found = item.records if left is None else item.records[:left]
                yield from (self._record(path, fields, repeats) for fields in found)
                left = None if left is None else left - len(found)
                if left == 0:
                    return

    def _record(self, path: Path, fields: Fields, repeats: "_Repeats") -> Record:
        ours = {
            "source": self.source or fields.get("source") or shown(path.name),
            "method": fields.get("method") or ("seed" if self.seeds else "read"),
            "language": self.language or fields.get("language"),
            "license": self.license or fields.get("license"),
        }
        return Record(id=repeats.id_of(fields), **(cast(Any, fields) | ours))

    def _drop(self, path: Path, position: int, item: Unreadable) -> Drop:
        detail = {"file": shown(path.name), "line": item.line, "error": item.error, "raw": item.raw}
        record = Record(
            id=digest("unreadable", position, shown(path.name), item.line, item.raw),
            source=self.source or shown(path.name),
            method="seed" if self.seeds else "read",
            license=self.license,
        )
        return Drop(record=record, reason=item.reason, detail=detail | ({"field": item.field} if item.field else {}))


class _Repeats:
    """Ids of records read so far, so that an exact repeat gets the next occurrence number."""

    def __init__(self) -> None:
        # Whole numbers and a count only of what repeats: about 70 bytes a record.
        self._seen: set[int] = set()
        self._counts: Counter[int] = Counter()

    def id_of(self, fields: Fields) -> str:
        parts = (fields["messages"], fields.get("input"), fields.get("tools"))
        id = source_id(*parts)
        number = int(id, 16)
        if number not in self._seen:
            self._seen.add(number)
            return id
        self._counts[number] += 1
        return source_id(*parts, self._counts[number])


def _outcome(kept: list[Record], drops: list[Drop]) -> Outcome:
    return Outcome(kept=frame_of(kept), drops=to_drop_frame(drops), derived=len(kept) + len(drops))
