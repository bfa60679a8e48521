"""The record: one type in memory, one Arrow schema on disk, ids, addressed randomness and the columns rules read."""

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import polars as pl

SCHEMA_VERSION = 1
"""Raised whenever the columns below change meaning; part of every stage's fingerprint."""

Role = Literal["system", "user", "assistant", "tool"]

MESSAGE_FIELDS: dict[str, type[pl.DataType]] = {
    "role": pl.String,
    "content": pl.String,
    "thinking": pl.String,
    "tool_calls": pl.String,
    "tool_call_id": pl.String,
    "name": pl.String,
    "weight": pl.Float64,
}
MESSAGES = pl.List(pl.Struct(MESSAGE_FIELDS))
TEXT_MAP = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))
NUMBER_MAP = pl.List(pl.Struct({"key": pl.String, "value": pl.Float64}))

_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,
    "messages": MESSAGES,
    "input": pl.String,
    "tools": pl.String,
    "chosen": MESSAGES,
    "rejected": MESSAGES,
    "label": pl.Boolean,
    "language": pl.String,
    "tags": TEXT_MAP,
    "scores": NUMBER_MAP,
    "source": pl.String,
    "method": pl.String,
    "parents": pl.List(pl.String),
    "model": pl.String,
    "prompt": pl.String,
    "license": pl.String,
    "calls": pl.List(pl.String),
    "extra": pl.String,
}
SCHEMA = pl.Schema(_COLUMNS)
"""Columns of kept-*.parquet. Maps are lists of {key, value} sorted by key, so that equal maps are equal bytes."""

DROP_SCHEMA = pl.Schema({**_COLUMNS, "reason": pl.String, "detail": pl.String})
"""Columns of drops-*.parquet: the record as it stood, a slug that is counted and the evidence as JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation; `tool_calls` is JSON text as OpenAI writes it."""

    role: str
    content: str
    thinking: str | None = None
    tool_calls: str | None = None
    tool_call_id: str | None = None
    name: str | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One training example with its provenance. The first user message is the instruction.

    Attributes:
        input: Alpaca's `input`, kept apart from the first user message; None when the source has none.
        tools: JSON text of the tool definitions, or None.
        language: BCP 47 tag, or None when nobody has said or measured it.
        parents: ids of the records this one was made from.
        prompt: `name@hash` of the prompt that made it.
        calls: ledger keys of every call that shaped it, judges included.
        extra: JSON text of source columns we do not know.
    """

    id: str
    messages: tuple[Message, ...] = ()
    input: str | None = None
    tools: str | None = None
    chosen: tuple[Message, ...] | None = None
    rejected: tuple[Message, ...] | None = None
    label: bool | None = None
    language: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    source: str | None = None
    method: str | None = None
    parents: tuple[str, ...] = ()
    model: str | None = None
    prompt: str | None = None
    license: str | None = None
    calls: tuple[str, ...] = ()
    extra: str | None = None

    @property
    def instruction(self) -> str:
        """The first user message's text, or an empty string."""
        return next((m.content for m in self.messages if m.role == "user"), "")

    @property
    def question(self) -> str:
        """Instruction and input as a model should read them."""
        return joined(self.instruction, self.input)

    @property
    def output(self) -> str:
        """The final assistant message's text, or an empty string when the conversation does not end in one."""
        return self.messages[-1].content if self.messages and self.messages[-1].role == "assistant" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """A record taken out, why, and the evidence (JSON-serialisable values)."""

    record: Record
    reason: str
    detail: Mapping[str, Any] = field(default_factory=dict)


def joined(instruction: str, input: str | None) -> str:
    """Instruction and input as one user turn, joined the way LLaMA-Factory joins them."""
    return f"{instruction}\n{input}" if input else instruction


def source_id(messages: Sequence[Message], input: str | None, tools: str | None, occurrence: int = 0) -> str:
    """Id of a record read from outside: its content as first read, and which exact repeat it is."""
    turns = [[m.role, m.content, m.thinking, m.tool_calls, m.tool_call_id, m.name, m.weight] for m in messages]
    return digest("source", turns, input, tools, occurrence)


def derived_id(entry: str, parents: Sequence[str], ordinal: int | str) -> str:
    """Id of a record that an entry made: which entry, from which parents, the how-manieth."""
    return digest("derived", entry, list(parents), ordinal)


def digest(*parts: Any) -> str:
    """80 bits of BLAKE2b over the parts as canonical JSON, as 20 hexadecimal digits."""
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def draw(seed: int, entry: str, id: str, purpose: str) -> random.Random:
    """A generator addressed by what it is for, so that no draw depends on how many came before it."""
    return random.Random(int(digest("draw", seed, entry, id, purpose), 16))


def to_row(record: Record) -> dict[str, Any]:
    """The record as a plain row of SCHEMA."""
    row = {f.name: getattr(record, f.name) for f in fields(record)}
    for name in ("messages", "chosen", "rejected"):
        if row[name] is not None:
            row[name] = [{key: getattr(m, key) for key in MESSAGE_FIELDS} for m in row[name]]
    for name in ("tags", "scores"):
        row[name] = [{"key": key, "value": row[name][key]} for key in sorted(row[name])]
    row["parents"], row["calls"] = list(record.parents), list(record.calls)
    return row


def from_row(row: Mapping[str, Any]) -> Record:
    """The record of a row of SCHEMA; further columns (a drop's) are ignored."""
    values = {f.name: row[f.name] for f in fields(Record)}
    for name in ("messages", "chosen", "rejected"):
        if values[name] is not None:
            values[name] = tuple(Message(**m) for m in values[name])
    values["messages"] = values["messages"] or ()
    for name in ("tags", "scores"):
        values[name] = {item["key"]: item["value"] for item in values[name] or ()}
    values["parents"], values["calls"] = tuple(values["parents"] or ()), tuple(values["calls"] or ())
    return Record(**values)


def to_frame(records: Iterable[Record]) -> pl.DataFrame:
    """A frame of SCHEMA, one row a record, in order."""
    return pl.DataFrame([to_row(record) for record in records], schema=SCHEMA, orient="row")


NO_ROWS, NO_DROPS = pl.DataFrame(schema=SCHEMA), pl.DataFrame(schema=DROP_SCHEMA)
"""Frames without rows, to be cloned: to make one anew takes a millisecond, as one of some hundred plain rows does."""


def to_drop_frame(drops: Iterable[Drop]) -> pl.DataFrame:
    """A frame of DROP_SCHEMA, one row a drop, in order."""
    rows = [to_row(d.record) | {"reason": d.reason, "detail": detail_text(d.detail)} for d in drops]
    return pl.DataFrame(rows, schema=DROP_SCHEMA, orient="row") if rows else NO_DROPS.clone()


def detail_text(detail: Mapping[str, Any]) -> str:
    """A drop's evidence as canonical JSON text."""
    return json.dumps(detail, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def records_of(frame: pl.DataFrame) -> Iterator[Record]:
    """The records of a frame of SCHEMA, in order."""
    return (from_row(row) for row in frame.iter_rows(named=True))


def view(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the columns that rules read; none of them is null.

    Adds `instruction` (first user message), `input` (null becomes ""), `output` (final assistant message, else ""),
    `text` (every message and the input, newline-joined), `n_turns` (messages that are not system) and `roles`
    (comma-joined).
    """
    role, content = pl.element().struct["role"], pl.element().struct["content"]
    messages = pl.col("messages")
    last = messages.list.last()
    return frame.with_columns(
        instruction=messages.list.eval(content.filter(role == "user")).list.first().fill_null(""),
        input=pl.col("input").fill_null(""),
        output=pl.when(last.struct["role"] == "assistant").then(last.struct["content"]).fill_null(""),
        n_turns=messages.list.eval(role.filter(role != "system")).list.len().fill_null(0),
        roles=messages.list.eval(role).list.join(",").fill_null(""),
        text=pl.concat_list(
            messages.list.eval(content).fill_null(pl.lit([], dtype=pl.List(pl.String))),
            pl.when(pl.col("input").fill_null("") != "")
            .then(pl.concat_list("input"))
            .otherwise(pl.lit([], dtype=pl.List(pl.String))),
        )
        .list.join("\n", ignore_nulls=True)
        .fill_null(""),
    )
