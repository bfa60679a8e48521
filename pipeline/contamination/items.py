"""The items of a benchmark file, whatever its container and columns: what is asked and what is answered."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pipeline.errors import DataError
from pipeline.formats import recognised
from pipeline.formats.elements import Row, Unreadable
from pipeline.formats.files import rows
from pipeline.formats.shape import Bad, wrong_type
from pipeline.record import Message, joined

QUESTIONS = ("question", "turns", "prompt", "instruction", "problem", "query", "goal", "ctx", "sentence", "text")
"""Columns in which benchmarks keep what is asked; the first that a row has is taken."""

ANSWERS = (
    *("answer", "answers", "reference", "solution", "canonical_solution", "best_answer", "output", "outputs"),
    *("response", "completion"),
)
"""Columns in which they keep the answer; all that a row has are taken."""

IDS = ("id", "question_id", "task_id", "qid", "_id", "uid")

_NAME = re.compile(r"[\w.:/#-]{1,64}")
"""An id that may stand in a pack: a name, not a text."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a benchmark.

    Attributes:
        line: where it begins in its file, from 1 (the row of a parquet file).
        id: what the file calls it, or None.
        questions: the texts that a model is given; several turns are several texts.
        answers: the texts that are expected of it.
    """

    line: int
    id: str | None
    questions: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns that the user has given; empty for those that are known."""

    question: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()


def items_of(path: Path, columns: Columns = Columns()) -> Iterator[Item | Unreadable]:
    """The items of a file in order, and what of it could not be read.

    A file of JSON or parquet is read by the columns named, else by the format its keys speak for (Alpaca, ShareGPT,
    messages, seed tasks, records), else by the columns that benchmarks usually have. A .csv or .tsv file has its
    columns in its first line. Of any other text each line is a question.

    Raises:
        DataError: the file cannot be read as a whole, or its first row has none of the columns.
    """
    seen = False
    for row in _rows(path, columns):
        if isinstance(row, Unreadable):
            yield row
            continue
        try:
            yield _item(row, columns)
        except Bad as bad:
            if bad.reason == "missing-field" and not seen and isinstance(row.value, dict):
                hint = f"its columns: {_keys(row.value)}; name those that matter with 'question' and 'answer'"
                raise DataError(f"{path}:{row.line}: {bad.error}", hint) from None
            yield Unreadable(row.line, bad.reason, bad.error, row.raw, bad.field)
        seen = True


def _rows(path: Path, columns: Columns) -> Iterator[Row | Unreadable]:
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _table(path, "," if suffix == ".csv" else "\t")
    return _lines(path) if _is_plain(path) else rows(path, lambda value: _is_item(value, columns))


def _is_item(value: Mapping[str, Any], columns: Columns) -> bool:
    """Whether the one object of a file is an item rather than something around them."""
    known = any(name in value for name in _named(columns) or QUESTIONS) or recognised(value) is not None
    return known or not any(isinstance(held, list) and held and isinstance(held[0], dict) for held in value.values())


def _named(columns: Columns) -> tuple[str, ...]:
    return (*columns.question, *columns.answer)


def _is_plain(path: Path) -> bool:
    """Whether the file is lines of text and neither JSON, parquet nor anything packed."""
    try:
        with path.open("rb") as handle:
            head = handle.read(4_096)
    except OSError:
        return False  # the reader of datasets has the sentence for it
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    packed = start.startswith(
        (b"PAR1", b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh", b"ARROW1")
    )
    return bool(start) and not packed and b"\0" not in head and start[:1] not in (b"{", b"[")


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        hint = "write it as UTF-8, for example with: iconv -f GB18030 -t UTF-8"
        raise DataError(f"{path}: is not UTF-8 at byte {error.start + 1}", hint) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", "check the path and its permissions") from None


def _lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_text_of(path).split("\n"), 1):
        if text := line.strip():
            yield Row(number, text, text)


def _table(path: Path, delimiter: str) -> Iterator[Row | Unreadable]:
    csv.field_size_limit(1 << 24)
    reader = csv.reader(_text_of(path).splitlines(keepends=True), delimiter=delimiter)
    try:
        header = next(reader, None)
        if header is None:
            raise DataError(f"{path}: is empty", "check that it was written to its end")
        begin = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(header):
                yield Row(begin, dict(zip(header, cells, strict=True)), "")
            elif cells:
                error = f"{len(cells)} cells, but the first line names {len(header)} columns"
                yield Unreadable(begin, "malformed-csv", error, delimiter.join(cells)[:200])
            begin = reader.line_num + 1
    except csv.Error as error:
        yield Unreadable(reader.line_num, "malformed-csv", str(error), "")


def _item(row: Row, columns: Columns) -> Item:
    """The item of a row; raises Bad."""
    if isinstance(row.value, str):
        return Item(row.line, None, (row.value,), ())
    if not isinstance(row.value, dict):
        raise wrong_type("a row", "an object", row.value)
    value = cast(dict[str, Any], row.value)
    id = _id(value)
    if named := _named(columns):
        if not any(name in value for name in named):
            listed = ", ".join(f"'{name}'" for name in named)
            raise Bad("missing-field", f"has none of the columns {listed}")
        return Item(row.line, id, _joined_texts(value, columns.question), _texts(value, columns.answer))
    if format := recognised(value):
        asked, answered = _of_records(format.read(value))
        return Item(row.line, id, asked, answered)
    question = next((name for name in QUESTIONS if name in value), None)
    if question is None:
        raise Bad("missing-field", "has no column in which benchmarks keep their questions")
    return Item(row.line, id, _texts(value, (question,)), _texts(value, ANSWERS))


def _of_records(found: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts of the records of a row: the input belongs to the first question; what is rejected is no answer."""
    asked: list[str] = []
    answered: list[str] = []
    for fields in found:
        input = fields.get("input")
        for message in (*fields["messages"], *(fields.get("chosen") or ())):
            if cast(Message, message).role == "assistant":
                answered.append(message.content)
            elif message.role == "user":
                asked.append(joined(message.content, input))
                input = None
        if input:
            asked.append(input)
    return _kept(asked), _kept(answered)


def _joined_texts(value: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """Several columns of plain text are one question, in the order in which they are named."""
    found = [value[name] for name in names if value.get(name) is not None]
    if len(found) > 1 and all(isinstance(text, str) for text in found):
        return _kept(["\n".join(found)])
    return _texts(value, names)


def _texts(value: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """The texts in these columns, also those in lists; numbers and what else is no text is left out."""
    found: list[str] = []
    for name in names:
        held = value.get(name)
        found += [text for text in (held if isinstance(held, list) else [held]) if isinstance(text, str)]
    return _kept(found)


def _kept(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text.strip()))


def _id(value: Mapping[str, Any]) -> str | None:
    """The item's name in its file, if it has one that is a name and no text."""
    for key in IDS:
        held = value.get(key)
        if isinstance(held, str | int) and not isinstance(held, bool) and _NAME.fullmatch(str(held)):
            return str(held)
    return None


def _keys(value: Mapping[str, Any]) -> str:
    return ", ".join(f"'{str(key)[:40]}'" for key in list(value)[:12])
