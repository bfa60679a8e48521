"""The parquet files: chat messages with what is known of each row, as `datasets` and the Hub's viewer load them."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.settings import SHARD_MB
from pipeline.export.survey import Survey
from pipeline.formats.arrays import array_of
from pipeline.formats.turns import chat
from pipeline.record import MESSAGE_FIELDS, Message, Record

GROUP_ROWS = 5_000
GROUPS_A_SHARD = 16
"""Rows of a row group, and how many groups of long texts a file has at least: cut where the rows say so, whatever the
blocks were, so that equal rows are equal bytes."""

_LETTER_BYTES = 3
"""Of a Chinese character in UTF-8."""

_CALL = pa.struct(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        ("function", pa.struct([("name", pa.string()), ("arguments", pa.string())])),
    ]
)
_PAIRS = {"tags": pa.string(), "scores": pa.float64()}
_ALWAYS = ("source", "method")
_TEXTS = ("language", "source", "method", "model", "prompt", "license", "extra")


def message_type(survey: Survey) -> Any:
    """The Arrow struct of one message: role, content and the details that some message has."""
    kinds = {name: pa.string() for name in MESSAGE_FIELDS} | {"weight": pa.float64(), "tool_calls": pa.list_(_CALL)}
    names = [n for n in MESSAGE_FIELDS if n in ("role", "content") or f"messages.{n}" in survey.used]
    return pa.struct([(name, kinds[name]) for name in names])


def table_schema(survey: Survey) -> Any:
    """The Arrow schema: id, messages, and the columns that some record uses."""
    turns = pa.list_(message_type(survey))
    columns = [("id", pa.string()), ("messages", turns)]
    columns += [(name, kind) for name, kind in _middle(turns) if name in survey.used]
    columns += [(name, pa.string()) for name in _TEXTS if name in survey.used or name in _ALWAYS]
    return pa.schema(columns)


def _middle(turns: Any) -> list[tuple[str, Any]]:
    pairs = [(name, pa.list_(pa.struct([("key", pa.string()), ("value", kind)]))) for name, kind in _PAIRS.items()]
    choices = [("tools", pa.string()), ("chosen", turns), ("rejected", turns), ("label", pa.bool_())]
    return [*choices, *pairs, ("parents", pa.list_(pa.string()))]


class Table:
    """Writes records as `train-00000-of-00002.parquet` ... with pinned options; call `close` at the end.

    Attributes:
        split: what the files' names begin with.
        schema: the Arrow schema of every file.
        rows: records written.
        arrow_bytes: size in memory, as the Hub's cards count it.
        lost: what of the records the columns cannot hold -> records.
        files: what has been written.
    """

    def __init__(
        self,
        folder: Path,
        survey: Survey,
        split: str = "train",
        shard_bytes: float = SHARD_MB * 1e6,
        group_rows: int = GROUP_ROWS,
    ) -> None:
        self.split = split
        self.schema = table_schema(survey)
        self.rows = self.arrow_bytes = 0
        self.lost: Counter[str] = Counter()
        self.files: list[Path] = []
        self._folder, self._group_rows, self._shard_bytes = folder, group_rows, shard_bytes
        self._group_letters = shard_bytes / GROUPS_A_SHARD / _LETTER_BYTES
        self._in_shard = self._letters = 0
        self._waiting: list[Record] = []
        self._writer: Any = None

    def add(self, record: Record) -> None:
        """Append one record."""
        self._waiting.append(record)
        self._letters += sum(len(message.content) for message in record.messages)
        if len(self._waiting) == self._group_rows or self._letters >= self._group_letters:
            self._write()

    def close(self) -> None:
        """Write what is waiting, and name the files; a set without rows still has one, which tells its columns."""
        if self._waiting or not self.files:
            self._write()
        self._end_shard()
        total = f"{len(self.files):05d}"
        self.files = [path.rename(path.with_stem(f"{path.stem}-of-{total}")) for path in self.files]

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self) -> None:
        table = self._table(self._waiting)
        if self._in_shard and self._in_shard + table.nbytes > self._shard_bytes:
            self._end_shard()
        if self._writer is None:
            path = self._folder / f"{self.split}-{len(self.files):05d}.parquet"
            self.files.append(path)
            self._writer = pq.ParquetWriter(path, self.schema, compression="zstd", compression_level=3, version="2.6")
            self._in_shard = 0
        if table.num_rows:
            self._writer.write_table(table)
        self.rows += table.num_rows
        self.arrow_bytes += table.nbytes
        self._in_shard += table.nbytes
        self._waiting, self._letters = [], 0

    def _table(self, records: Sequence[Record]) -> Any:
        columns = [self._column(name, records) for name in self.schema.names]
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _column(self, name: str, records: Sequence[Record]) -> Any:
        kind = self.schema.field(name).type
        if name == "messages":
            return self._turns([chat(record) for record in records], kind)
        if name in ("chosen", "rejected"):
            return self._turns([getattr(record, name) for record in records], kind)
        if name in _PAIRS:
            maps = [getattr(record, name) for record in records]
            return array_of([[{"key": key, "value": found[key]} for key in sorted(found)] for found in maps], kind)
        return array_of([getattr(record, name) for record in records], kind)

    def _turns(self, values: Sequence[Sequence[Message] | None], kind: Any) -> Any:
        flat = [message for value in values for message in value or ()]
        struct = kind.value_type
        parts = [self._details(struct.field(i).name, struct.field(i).type, flat) for i in range(len(struct))]
        items = pa.StructArray.from_arrays(parts, fields=list(struct))
        ends = list(accumulate((len(value or ()) for value in values), initial=0))
        starts = [None if value is None else start for value, start in zip(values, ends, strict=False)]
        return pa.ListArray.from_arrays(array_of([*starts, ends[-1]], pa.int32()), items)

    def _details(self, name: str, kind: Any, flat: list[Message]) -> Any:
        if name != "tool_calls":
            return array_of([getattr(message, name) for message in flat], kind)
        calls = [None if m.tool_calls is None else self._calls(json.loads(m.tool_calls)) for m in flat]
        return pa.array(calls, type=kind)  # which passes over keys that the columns do not have

    def _calls(self, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        known = [set(c) <= {"id", "type", "function"} and set(c["function"]) == {"name", "arguments"} for c in calls]
        if not all(known):
            self.lost["tool-call-keys"] += 1
        return calls
