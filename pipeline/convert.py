"""One dataset file to another format: `seedmill convert IN --to FORMAT -o OUT`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pipeline.errors import UsageError
from pipeline.formats.elements import Unreadable
from pipeline.formats.extras import own_license, whole_row
from pipeline.formats.plain import Plain
from pipeline.formats.reading import blocks, examples, format_named
from pipeline.formats.shape import Fields, Format
from pipeline.formats.writing import container_of, write_rows
from pipeline.licenses import of_source, selected
from pipeline.record import Record, source_id

_LISTED = 10

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
}
"""What a format may leave behind, as formats name it, and how to say it after a number of rows."""


@dataclass(kw_only=True)
class Conversion:
    """What became of a file's rows: every one is written, or stands in the drops file.

    Attributes:
        written: rows of the output.
        dropped: reason -> rows that could not be read, or that the format cannot hold.
        lost: what the format cannot carry -> rows that were written without it.
        drops: where the dropped rows are, or None when there are none.
        first: the first few of them, each as a line with file and line number.
    """

    source: Path
    output: Path
    format: str
    written: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    drops: Path | None = None
    first: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, Any]:
        """The counts as plain JSON values."""
        return {
            "source": str(self.source),
            "output": str(self.output),
            "format": self.format,
            "written": self.written,
            "dropped": dict(sorted(self.dropped.items())),
            "lost": dict(sorted(self.lost.items())),
            "drops": None if self.drops is None else str(self.drops),
        }

    def sentence(self) -> str:
        """The counts for a person, some lines."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.written:,} rows written to {self.output} as {self.format}"
        for what, count in sorted(self.lost.items()):
            yield f"  {count:,} {LOSSES[what]}"
        for reason, count in sorted(self.dropped.items()):
            yield f"  {count:,} not written: {reason}"
        yield from (f"    {line}" for line in self.first)
        if self.drops is not None:
            more = sum(self.dropped.values()) - len(self.first)
            yield f"  all of them, with the reason: {self.drops}" + (f" ({more:,} more)" if more else "")


def convert(source: Path, to: str, output: Path, format: str = "auto", only_licenses: Sequence[str] = ()) -> Conversion:
    """Write the rows of `source` to `output` in the format `to`; rows that cannot be go to `<output>.drops.jsonl`.

    Args:
        format: what the source's rows are; `auto` tells it from their keys.
        only_licenses: write rows under these alone, as they or a known source's name tell; all rows when empty.

    Raises:
        UsageError: an unknown format, or an output name that does not tell its kind.
        DataError: the source as a whole cannot be read.
    """
    target = format_named(to)
    container_of(output)
    if output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output}: is the input itself", "give another file with -o")
    done = Conversion(source=source, output=output, format=to)
    drops: list[dict[str, Any]] = []
    read_as = None if format == "auto" else format_named(format)
    done.written = write_rows(output, _rows(source, read_as, target, tuple(only_licenses), done, drops))
    place = output.with_name(output.name + ".drops.jsonl")
    place.unlink(missing_ok=True)
    if drops:
        write_rows(place, drops)
        done.drops = place
    return done


def _rows(
    source: Path,
    read_as: Format | None,
    target: Format,
    only: tuple[str, ...],
    done: Conversion,
    drops: list[dict[str, Any]],
) -> Iterator[dict[str, Any] | Plain]:
    # Plain Alpaca rows to Alpaca: what `read` and `write` make of them is what they are, their licence apart.
    for item in (blocks if target.name == "alpaca" and not only else examples)(source, read_as):
        if isinstance(item, Plain):
            yield item
            continue
        if isinstance(item, Unreadable):
            _drop(done, drops, item.line, item.reason, item.error, item.raw)
            continue
        for fields in item.records:
            record = _record(source, fields)
            license = record.license or own_license(record.extra) or of_source(source.name)
            if only and not selected(license, only):
                _drop(
                    done,
                    drops,
                    item.line,
                    "license-not-wanted",
                    f"it is under {license or 'no known licence'}",
                    item.raw,
                )
                continue
            refused = target.refuses(record)
            if refused is not None:
                _drop(done, drops, item.line, refused, f"{target.name} cannot hold this row", item.raw)
                continue
            row, unplaced = whole_row(target, record)
            done.lost.update(target.losses(record) + unplaced)
            yield row


def _record(source: Path, fields: Fields) -> Record:
    parts = (fields["messages"], fields.get("input"), fields.get("tools"))
    known = {"source": source.name, "method": "read"} | {k: v for k, v in fields.items() if v is not None}
    return Record(id=source_id(*parts), **cast(Any, known))


def _drop(done: Conversion, drops: list[dict[str, Any]], line: int, reason: str, error: str, raw: str) -> None:
    done.dropped[reason] += 1
    if len(done.first) < _LISTED:
        done.first.append(f"{done.source}:{line}: {reason}: {error}")
    drops.append({"file": str(done.source), "line": line, "reason": reason, "error": error, "raw": raw})
