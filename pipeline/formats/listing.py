"""The list of formats for people: what each is and cannot carry, found out by asking the formats themselves."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.formats import FORMATS
from pipeline.formats.json_text import dumps
from pipeline.formats.shape import Format
from pipeline.record import Message, Record

CONTAINERS = (
    ".json (an array, or an object around one), .jsonl, .csv and .tsv, each also as .gz or .zst; .parquet; "
    "read only: .html pages of ShareGPT"
)
ADDRESSES = "local paths and globs, s3://bucket/key, and to read hf://datasets/owner/name/file"

_USER, _ANSWER = Message(role="user", content="q"), Message(role="assistant", content="a")
_WORSE = Message(role="assistant", content="b")
_CALL = dumps([{"type": "function", "function": {"name": "f", "arguments": "{}"}}])
_CALLING = Message(role="assistant", content="", tool_calls=_CALL)
_PLAIN = Record(id="x", messages=(_USER, _ANSWER))
_CHOICE = Record(id="x", messages=(_USER,), chosen=(_ANSWER,), rejected=(_WORSE,))


def _before(record: Record, *messages: Message) -> Record:
    return replace(record, messages=(*messages, *record.messages))


def _detail(record: Record, **detail: Any) -> Record:
    if record.messages[-1].role == "assistant":
        return replace(record, messages=(*record.messages[:-1], replace(record.messages[-1], **detail)))
    return replace(record, chosen=(replace(_ANSWER, **detail),))


def _probes(base: Record) -> Mapping[str, Record]:
    """What a record may have beside a question and an answer (or two) -> such a record."""
    return {
        "a system text": _before(base, Message(role="system", content="s")),
        "several questions": _before(base, _USER, _ANSWER),
        "a question without an answer": replace(_PLAIN, messages=(_USER,)),
        "an input apart from the question": replace(base, input="i"),
        "tool definitions": replace(base, tools='[{"name":"f"}]'),
        "tool calls": _before(base, _USER, _CALLING, Message(role="tool", content="1"), _ANSWER),
        "chosen and rejected": _CHOICE,
        "a verdict": replace(base, label=True),
        "thinking": _detail(base, thinking="t"),
        "weights": _detail(base, weight=1.0),
        "names": _detail(base, name="n"),
    }


def cannot_hold(format: Format) -> list[str]:
    """What makes the format refuse a record."""
    base = _base(format)
    found = [what for what, record in _probes(base).items() if format.refuses(record) is not None]
    return found if base is _PLAIN else [what for what in found if "without an answer" not in what]


def leaves_out(format: Format) -> list[str]:
    """What the format takes, but not all of it."""
    probes = _probes(_base(format))
    return [w for w, record in probes.items() if format.refuses(record) is None and format.losses(record)]


def _base(format: Format) -> Record:
    return _PLAIN if format.refuses(_PLAIN) is None else _CHOICE


def entries() -> list[dict[str, Any]]:
    """One entry a format, as JSON values."""
    return [
        {
            "name": name,
            "about": format.about,
            "comparisons_only": _base(format) is _CHOICE,
            "cannot_hold": cannot_hold(format),
            "leaves_out": leaves_out(format),
        }
        for name, format in sorted(FORMATS.items())
    ]


def sentence() -> str:
    """The list for a person."""
    lines = []
    for entry in entries():
        lines.append(f"{entry['name']}\n    {entry['about']}")
        if entry["cannot_hold"]:
            lines.append(f"    refuses rows with {_listed(entry['cannot_hold'])}")
        if entry["comparisons_only"]:
            lines.append("    refuses rows without chosen and rejected")
        if entry["leaves_out"]:
            lines.append(f"    does not keep {_listed(entry['leaves_out'])}")
    return "\n".join([*lines, "", f"Files: {CONTAINERS}.", f"Places: {ADDRESSES}."])


def _listed(items: list[str]) -> str:
    return ", ".join(items[:-1]) + (" or " if len(items) > 1 else "") + items[-1]
