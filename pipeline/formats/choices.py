"""Comparisons of messages: the turns that two conversations share, what such formats refuse, and where turns stand."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.record import MESSAGE_FIELDS, Message, Record

TURN_KEYS = tuple(MESSAGE_FIELDS)

REPEATED = "repeated"
"""Name of the places of those turns of `rejected` that only repeat the prompt."""


def shared(chosen: Sequence[Message], rejected: Sequence[Message]) -> int:
    """How many first messages both have in common, leaving each at least one of its own."""
    most = max(0, min(len(chosen), len(rejected)) - 1)
    return next((i for i in range(most) if chosen[i] != rejected[i]), most)


def moved(rest: dict[str, dict[str, Any]], both: int) -> dict[str, dict[str, Any]]:
    """Places of turns after the first ones of both choices have become the messages."""
    found: dict[str, dict[str, Any]] = {}
    for place, keys in rest.items():
        name, _, index = place.partition(".")
        i = int(index)
        if i >= both:
            found[f"{name}.{i - both}"] = keys
        else:
            found[f"messages.{i}" if name == "chosen" else f"{REPEATED}.{i}"] = keys
    return found


def same_start(chosen: Sequence[Mapping[str, Any]], rejected: Sequence[Mapping[str, Any]]) -> int:
    """How many first turns two written conversations have in common, unknown keys apart."""
    pairs = enumerate(zip(chosen, rejected, strict=False))
    return next((i for i, (a, b) in pairs if any(a.get(key) != b.get(key) for key in TURN_KEYS)), 0)


def refuses(record: Record) -> str | None:
    """Two choices after messages that no answer ends, and no verdict on one answer."""
    if not record.messages:
        return "no-messages"
    if record.chosen is None and record.rejected is None:
        return "no-preference"
    if not record.chosen or not record.rejected or record.label is not None:
        return "preference-turns"
    last = record.messages[-1]
    return "answer-beside-choices" if last.role == "assistant" and last.tool_calls is None else None


def turn_in(columns: Mapping[str, Any], name: str, index: str) -> Any:
    """The object of one turn; `columns` names the lists that hold messages, chosen and rejected."""
    turns = columns.get(name, ())
    return turns[int(index)] if index.isdecimal() and int(index) < len(turns) else None
