"""Dataset files to another format: `seedmill convert IN --to FORMAT -o OUT`; what that costs can be told beforehand."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pipeline.errors import DataError, UsageError
from pipeline.export.check import RowCheck
from pipeline.formats import candidates, settled
from pipeline.formats.addresses import placed
from pipeline.formats.elements import Unreadable
from pipeline.formats.extras import own_license, whole_row
from pipeline.formats.files import expand
from pipeline.formats.plain import Plain
from pipeline.formats.reading import blocks, examples, format_named
from pipeline.formats.shape import Fields, Format
from pipeline.formats.tables import comes_back, delimiter_of
from pipeline.formats.writing import container_of, write_rows
from pipeline.licenses import of_source, selected
from pipeline.record import Record, source_id

_LISTED = 10
_STRICT_HINT = "leave out --strict to write the rest, or choose a format that holds more: seedmill formats"

LOSSES = {
    "separate-input": "have their input joined to the instruction",
    "thinking": "are written without the reasoning before the answer",
    "name": "are written without the names of speakers",
    "weight": "are written without the weights of turns",
    "tool-call-id": "are written without the ids of tool calls",
    "text-beside-tool-call": "are written without the text beside a tool call",
    "extra": "have a column of their own whose name the format uses itself",
    "turn-keys": "are written without unknown keys of single turns",
    "tags": "are written without some of their tags",
    "scores": "are written without their scores",
    "provenance": "are written without parents, model, prompt and calls",
    "language": "are written without their language",
    "license": "are written without their licence",
    "outer-space": "are written without white space around their texts",
    "other-format": "would be read as another format's, or as none, when their format is not named",
    "cell-type": "have columns whose numbers, lists or empty texts a table gives back as text, or not at all",
}
"""What a format may leave behind, as formats name it, and how to say it after a number of rows."""


@dataclass(kw_only=True)
class Conversion:
    """What became of a file's rows: every one is written, or stands in the drops file.

    Attributes:
        dry: nothing was written; the counts say what would be.
        written: rows of the output.
        dropped: reason -> rows that could not be read, or that the format cannot hold.
        lost: what the format cannot carry -> rows that were written without it.
        drops: where the dropped rows are, or None when there are none.
        first: the first few of them, each as a line with file and line number.
    """

    source: str
    output: str
    format: str
    dry: bool = False
    written: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    drops: Path | None = None
    first: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, Any]:
        """The counts as plain JSON values."""
        return {
            "source": self.source,
            "output": self.output,
            "format": self.format,
            "dry_run": self.dry,
            "written": self.written,
            "dropped": dict(sorted(self.dropped.items())),
            "lost": dict(sorted(self.lost.items())),
            "drops": None if self.drops is None else str(self.drops),
        }

    def sentence(self) -> str:
        """The counts for a person, some lines."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        written = "would be written" if self.dry else "written"
        yield f"{self.written:,} rows {written} to {self.output} as {self.format}"
        for what, count in sorted(self.lost.items()):
            yield f"  {count:,} {LOSSES[what]}"
        for reason, count in sorted(self.dropped.items()):
            yield f"  {count:,} not written: {reason}"
        yield from (f"    {line}" for line in self.first)
        if self.drops is not None:
            more = sum(self.dropped.values()) - len(self.first)
            yield f"  all of them, with the reason: {self.drops}" + (f" ({more:,} more)" if more else "")


def convert(
    source: Path | str,
    to: str,
    output: Path | str,
    format: str = "auto",
    *,
    dry_run: bool = False,
    strict: bool = False,
    only_licenses: Sequence[str] = (),
) -> Conversion:
    """Write the rows of `source` to `output` in the format `to`; rows that cannot be go to `<output>.drops.jsonl`.

    Args:
        source: a file, or an address (see `pipeline.formats.addresses`).
        format: what the source's rows are; `auto` tells it from their keys.
        dry_run: only count what would be written, lost and dropped.
        strict: write nothing when anything would be lost or dropped.
        only_licenses: write rows under these alone, as they or a known source's name tell; all rows when empty.

    Raises:
        UsageError: an unknown format, or an output name that does not tell its kind.
        DataError: the source as a whole cannot be read, or `strict` forbids what would be lost.
    """
    target = format_named(to)
    read_as = None if format == "auto" else format_named(format)
    only = tuple(only_licenses)
    with placed(output) as place:
        container_of(place)
        paths = expand([str(source)])
        if place.exists() and any(place.samefile(path) for path in paths):
            raise UsageError(f"{output}: is the input itself", "give another file with -o")
        if dry_run or strict:
            told = Conversion(source=str(source), output=str(output), format=to, dry=True)
            told.written = sum(_height(row) for row in _rows(paths, read_as, target, told, [], place, only))
            if dry_run:
                return told
            if told.lost or told.dropped:
                raise DataError(f"{output}: not written, since not all would be in it\n{told.sentence()}", _STRICT_HINT)
        done = Conversion(source=str(source), output=str(output), format=to)
        drops: list[dict[str, Any]] = []
        done.written = write_rows(place, _rows(paths, read_as, target, done, drops, place, only), target.envelope)
        _write_drops(done, Path(output) if place == Path(output) else Path(place.name), drops)
    return done


def _write_drops(done: Conversion, output: Path, drops: list[dict[str, Any]]) -> None:
    place = output.with_name(output.name + ".drops.jsonl")
    place.unlink(missing_ok=True)
    if drops:
        write_rows(place, drops)
        done.drops = place


def _rows(
    paths: list[Path],
    read_as: Format | None,
    target: Format,
    done: Conversion,
    drops: list[dict[str, Any]],
    output: Path,
    only: tuple[str, ...],
) -> Iterator[dict[str, Any] | Plain]:
    table = delimiter_of(output) is not None
    check = RowCheck(target.schema)
    own = target.schema["properties"].keys()
    known: dict[tuple[str, ...], tuple[Format, ...]] = {}
    # Plain Alpaca rows to Alpaca: what `read` and `write` make of them is what they are, their licence apart.
    items = blocks if target.name == "alpaca" and not table and not only else examples
    for path in paths:
        for item in items(path, read_as):
            if isinstance(item, Plain):
                yield item
                continue
            if isinstance(item, Unreadable):
                _drop(done, drops, path, item.line, item.reason, item.error, item.raw)
                continue
            for fields in item.records:
                record = _record(path, fields)
                license = record.license or own_license(record.extra) or of_source(path.name)
                if only and not selected(license, only):
                    error = f"it is under {license or 'no known licence'}"
                    _drop(done, drops, path, item.line, "license-not-wanted", error, item.raw)
                    continue
                refused = target.refuses(record)
                if refused is not None:
                    error = f"{target.name} cannot hold this row"
                    _drop(done, drops, path, item.line, refused, error, item.raw)
                    continue
                row, unplaced = whole_row(target, record)
                check.check({key: value for key, value in row.items() if key in own})
                keys = tuple(row)
                if keys not in known:
                    known[keys] = candidates(row)
                done.lost.update(target.losses(record) + unplaced)
                done.lost["other-format"] += settled(known[keys], row) is not target
                done.lost["cell-type"] += table and not comes_back(row)
                yield row
    done.lost = +done.lost


def _height(row: dict[str, Any] | Plain) -> int:
    return row.rows.height if isinstance(row, Plain) else 1


def _record(source: Path, fields: Fields) -> Record:
    parts = (fields["messages"], fields.get("input"), fields.get("tools"))
    known = {"source": source.name, "method": "read"} | {k: v for k, v in fields.items() if v is not None}
    return Record(id=source_id(*parts), **cast(Any, known))


def _drop(
    done: Conversion, drops: list[dict[str, Any]], path: Path, line: int, reason: str, error: str, raw: str
) -> None:
    done.dropped[reason] += 1
    if len(done.first) < _LISTED:
        done.first.append(f"{path}:{line}: {reason}: {error}")
    drops.append({"file": str(path), "line": line, "reason": reason, "error": error, "raw": raw})
