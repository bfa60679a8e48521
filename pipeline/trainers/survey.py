"""What the rows of a file have in common: its shape as trainers see it, told before any row is judged.

Trainers do not look at rows one by one: `datasets` loads the file as one table first, and a configuration names the
columns and roles for all rows. So a row is judged by the shape of the whole.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, cast

from pipeline.errors import DataError
from pipeline.formats.compression import open_bytes
from pipeline.formats.elements import Row, Unreadable
from pipeline.formats.files import rows
from pipeline.formats.tables import delimiter_of

Base = Literal["alpaca", "sharegpt", "messages", "prompt", "prompt-turns", "implicit", "text", "openai-pairs"]
"""Where a row's conversation is: instruction/input/output; a list of {from, value}; a list of {role, content}; prompt
and completion as texts, or as lists of messages; chosen and rejected as whole conversations; a text; OpenAI's pairs."""

Kind = Literal["answers", "preference", "verdicts"]
Container = Literal["array", "lines", "object", "parquet", "table", "page"]

TURN_COLUMNS = ("conversations", "messages")

_TAGS = {
    "user": ("human", "user"),
    "assistant": ("gpt", "assistant", "chatgpt", "bing", "bard", "model"),
    "observation": ("observation", "tool", "tool_response", "function"),
    "function": ("function_call", "tool_call"),
    "system": ("system", "developer"),
}
_DEFAULT_TAGS = {
    "sharegpt": ("human", "gpt", "observation", "function_call", "system"),
    "messages": ("user", "assistant", "tool", "function_call", "system"),
}
_CHUNK = 10 << 20
_KINDS = {str: "text", bool: "true or false", int: "number", float: "number", list: "list", dict: "object"}


@dataclass(frozen=True)
class Tags:
    """The name that most turns give to each role: a configuration has room for one."""

    user: str
    assistant: str
    observation: str
    function: str
    system: str


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The shape of a file.

    Attributes:
        turns: column of the conversation, when there is one.
        role_key, content_key: keys of a turn.
        columns: columns that hold something in some row.
        turn_keys: keys that hold something in some turn.
        tools: whether any turn is a tool call or a tool's answer.
    """

    base: Base
    kind: Kind
    turns: str | None
    role_key: str
    content_key: str
    tags: Tags
    columns: frozenset[str]
    turn_keys: frozenset[str]
    tools: bool = False


@dataclass(kw_only=True)
class Survey:
    """Counts over all rows of a file; `layout` is what they come to.

    Attributes:
        late: column or `column[].key` -> line of its first value, where that is beyond the first 10 MiB of JSON Lines.
        mixed: column or `column[].key` -> the kinds of values in it, where there is more than one, and the line where
            the second begins.
        unreadable: pieces that are no rows.
    """

    path: Path
    container: Container
    rows: int = 0
    unreadable: int = 0
    layout: Layout | None = None
    late: dict[str, int] = field(default_factory=dict)
    mixed: dict[str, tuple[tuple[str, ...], int]] = field(default_factory=dict)
    first_keys: str = ""


class _Counts:
    """What is counted while the rows go by."""

    def __init__(self, first_chunk: int | None) -> None:
        self.first_chunk = first_chunk
        self.rows = self.unreadable = 0
        self.bases: Counter[Base | None] = Counter()
        self.turn_columns: Counter[str] = Counter()
        self.roles: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()
        self.columns: Counter[str] = Counter()
        self.kinds: dict[str, dict[str, int]] = {}
        self.late: dict[str, int] = {}
        self.seen: set[str] = set()
        self.verdicts = self.pairs = 0

    def add(self, line: int, row: Mapping[str, Any]) -> None:
        base, column = base_of(row)
        self.bases[base] += 1
        for name, value in row.items():
            if value is not None:
                self.columns[name] += 1
                self._place(name, value, line)
        if isinstance(row.get("kto_tag"), bool) or isinstance(row.get("label"), bool):
            self.verdicts += 1
        if row.get("chosen") is not None and row.get("rejected") is not None:
            self.pairs += 1
        if column is not None:
            self.turn_columns[column] += 1
        for name in TURN_COLUMNS if column is None else (column,):
            turns = row.get(name)
            for turn in turns if isinstance(turns, list) else ():
                self._turn(name, turn, line)

    def _turn(self, column: str, turn: Any, line: int) -> None:
        if not isinstance(turn, dict):
            return
        role = turn.get("from", turn.get("role"))
        if isinstance(role, str):
            self.roles[role] += 1
        for key, value in turn.items():
            if value is not None:
                self.keys[key] += 1
                self._place(f"{column}[].{key}", value, line)

    def _place(self, name: str, value: Any, line: int) -> None:
        kind = _KINDS.get(type(value), type(value).__name__)
        self.kinds.setdefault(name, {}).setdefault(kind, line)
        if name not in self.seen:
            self.seen.add(name)
            if self.first_chunk is not None and line > self.first_chunk:
                self.late[name] = line


def base_of(row: Mapping[str, Any]) -> tuple[Base | None, str | None]:
    """The shape one row speaks for, and the column of its turns."""
    for column in TURN_COLUMNS:
        turns = row.get(column)
        if isinstance(turns, list):
            first = next((turn for turn in turns if isinstance(turn, dict)), {})
            return ("sharegpt" if "from" in first or (column == "conversations" and not first) else "messages"), column
    asked = row.get("input")
    if isinstance(asked, dict) and "messages" in asked:
        return "openai-pairs", None
    if "prompt" in row and not {"completion", "chosen"}.isdisjoint(row):
        return ("prompt-turns" if isinstance(row["prompt"], list) else "prompt"), None
    if "instruction" in row:
        return "alpaca", None
    if isinstance(row.get("chosen"), list):
        return "implicit", None
    return ("text" if "text" in row else None), None


def is_row(value: Mapping[str, Any]) -> bool:
    """Whether the one object of a file is a row rather than something around rows."""
    return base_of(value)[0] is not None


def survey_of(path: Path) -> Survey:
    """Walk the file once and count; the layout is there.

    Raises:
        DataError: it cannot be read at all, holds no row, or rows of no shape that a trainer reads.
    """
    found_rows = rows(path, is_row)  # Says what is wrong with a file that is missing, empty or no text.
    container = _container(path)
    counts = _Counts(_first_chunk(path) if container == "lines" else None)
    survey = Survey(path=path, container=container)
    for item in found_rows:
        if isinstance(item, Unreadable) or not isinstance(item.value, dict):
            counts.unreadable += 1
            continue
        counts.rows += 1
        survey.first_keys = survey.first_keys or ", ".join(f"'{key[:40]}'" for key in list(item.value)[:12])
        counts.add(item.line, item.value)
    survey.rows, survey.unreadable, survey.late = counts.rows, counts.unreadable, counts.late
    survey.mixed = {
        name: (tuple(sorted(kinds)), sorted(kinds.values())[1])
        for name, kinds in counts.kinds.items()
        if len(kinds) > 1
    }
    survey.layout = _layout(counts)
    if survey.layout is None:
        found = f"the first has the keys {survey.first_keys}" if counts.rows else "none could be read"
        hint = "convert it first: seedmill convert FILE --to alpaca|sharegpt|messages -o OUT"
        raise DataError(f"{path}: its rows are of no shape that a trainer reads; {found}", hint)
    return survey


def _layout(counts: _Counts) -> Layout | None:
    known = Counter({base: count for base, count in counts.bases.items() if base is not None})
    if not known:
        return None
    base = known.most_common(1)[0][0]
    turns = counts.turn_columns.most_common(1)[0][0] if counts.turn_columns else None
    role_key = "from" if base == "sharegpt" else "role"
    content_key = "content" if counts.keys["content"] > counts.keys["value"] or base != "sharegpt" else "value"
    half = counts.rows / 2
    preference = counts.pairs > half or base in ("implicit", "openai-pairs")
    kind: Kind = "preference" if preference else "verdicts" if counts.verdicts > half else "answers"
    defaults = _DEFAULT_TAGS["sharegpt" if base == "sharegpt" else "messages"]
    tools = {"tool_calls", "tool_call_id"} & counts.keys.keys() or any(
        counts.roles[role] for role in (*_TAGS["observation"], *_TAGS["function"])
    )
    return Layout(
        base=base,
        kind=kind,
        turns=turns if base in ("sharegpt", "messages") else None,
        role_key=role_key,
        content_key=content_key,
        tags=Tags(*(_tag(counts.roles, names, name) for names, name in zip(_TAGS.values(), defaults, strict=True))),
        columns=frozenset(counts.columns),
        turn_keys=frozenset(counts.keys),
        tools=bool(tools),
    )


def _tag(roles: Counter[str], names: Iterable[str], default: str) -> str:
    found = {name: roles[name] for name in names if roles[name]}
    return max(found, key=lambda name: found[name]) if found else default


def _container(path: Path) -> Container:
    """How rows stand in the file; one object that is no row itself is something around rows."""
    try:
        with open_bytes(path) as file:
            first = file.readline().removeprefix(b"\xef\xbb\xbf").strip()
            while not first and (line := file.readline()):
                first = line.strip()
            if first.startswith(b"PAR1"):
                return "parquet"
            if first.startswith(b"["):
                return "array"
            if first.startswith(b"<"):
                return "page"
            return "table" if delimiter_of(path) is not None else _of_object(first, cast(IO[bytes], file))
    except (OSError, EOFError, zlib.error):
        return "lines"  # A damaged file: reading it tells.


def _of_object(first: bytes, file: IO[bytes]) -> Container:
    try:
        value, alone = json.loads(first), not file.read(_CHUNK).strip()
    except ValueError:
        if first.endswith(b"}"):
            return "lines"  # A broken row; the next ones may be whole.
        try:
            value, _ = json.JSONDecoder().raw_decode((first + b"\n" + file.read()).decode("utf-8", "replace"))
            alone = True
        except (ValueError, RecursionError):
            return "lines"
    return "object" if alone and isinstance(value, dict) and not is_row(value) else "lines"


def _first_chunk(path: Path) -> int:
    """Lines that begin in the first 10 MiB: what `datasets` tells a JSON Lines file's columns from."""
    try:
        with open_bytes(path) as file:
            return file.read(_CHUNK).count(b"\n") + 1
    except (OSError, EOFError, zlib.error):
        return 1


def read_rows(path: Path) -> Iterable[Row | Unreadable]:
    """The rows of a file, as `survey_of` saw them."""
    return rows(path, is_row)
