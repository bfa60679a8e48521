"""Self-Instruct's seed tasks.

`{"id", "name", "instruction", "instances": [{"input", "output"}], "is_classification"}`; every instance becomes a
record of its own. `is_classification` becomes the tag `task_type`, unless the row names another one.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.shape import Bad, Fields, Format, text, text_or_none, wrong_type
from pipeline.record import Message, Record

TASK_TYPES = {True: "classification", False: "generation"}
"""`is_classification` -> the tag `task_type`: Self-Instruct's own two kinds of task."""

_KNOWN = frozenset(("instruction", "instances"))
_INSTANCE = frozenset(("input", "output"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Self-Instruct seed task",
    "type": "object",
    "properties": {
        "instruction": {"type": "string"},
        "instances": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"input": {"type": "string"}, "output": {"type": "string"}},
                "required": ["input", "output"],
            },
            "minItems": 1,
        },
        "is_classification": {"type": "boolean"},
    },
    "required": ["instruction", "instances"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """An instruction with a list of instances."""
    return "instruction" in row and "instances" in row


def read(row: dict[str, Any]) -> list[Fields]:
    """One record an instance; a task without instances is one record without an answer."""
    user = Message(role="user", content=text(row, "instruction"))
    if "instances" not in row:
        raise Bad("missing-field", "instances is missing", "instances")
    if not isinstance(row["instances"], list):
        raise wrong_type("instances", "a list", row["instances"])
    known, kind = _KNOWN, row.get("is_classification")
    tags: dict[str, str] = {}
    if isinstance(kind, bool) and row.get("task_type", TASK_TYPES[kind]) == TASK_TYPES[kind]:
        known, tags = _KNOWN | {"is_classification"}, {"task_type": TASK_TYPES[kind]}
    found: list[Fields] = []
    for i, instance in enumerate(row["instances"] or [{}]):
        place = f"instances[{i}]"
        if not isinstance(instance, dict):
            raise wrong_type(place, "an object", instance)
        input, output = (text_or_none(instance, key, f"{place}.") for key in ("input", "output"))
        rest = {key: value for key, value in instance.items() if key not in _INSTANCE}
        fields = leftover(row, known, {"instances.0": rest} if rest else None)
        answer = (Message(role="assistant", content=output),) if output else ()
        both: Fields = {**fields, "tags": {**fields.get("tags", {}), **tags}}
        found.append({**both, "messages": (user, *answer), "input": input or None})
    return found


def write(record: Record) -> dict[str, Any]:
    """The record as a seed task of one instance; see `refuses` for those that have none."""
    instance = {"input": record.input or "", "output": record.output}
    row: dict[str, Any] = {"instruction": record.instruction, "instances": [instance]}
    kind = record.tags.get("task_type")
    if kind in TASK_TYPES.values():
        row["is_classification"] = kind == TASK_TYPES[True]
    return row


def refuses(record: Record) -> str | None:
    """A seed task is one question with at most one answer."""
    if not record.messages:
        return "no-messages"
    if any(m.role == "tool" or m.tool_calls is not None for m in record.messages) or record.tools is not None:
        return "tool-turns"
    if record.messages[0].role == "system":
        return "system-turn"
    if tuple(m.role for m in record.messages) not in (("user",), ("user", "assistant")):
        return "several-turns" if len(record.messages) > 2 else "role-order"
    preference = (record.chosen, record.rejected, record.label)
    return None if preference == (None, None, None) else "preference-turns"


def losses(record: Record) -> list[str]:
    """Message details beside role and text."""
    details = ("thinking", "name", "weight")
    return [field for field in details if any(getattr(m, field) is not None for m in record.messages)]


FORMAT = Format(
    name="seeds",
    about="Self-Instruct's seed tasks",
    recognise=recognise,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
)
