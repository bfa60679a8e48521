"""Stanford Alpaca's rows, with the `system`, `history` and preference columns that LLaMA-Factory adds.

`{"instruction", "input", "output"}`; `input` is "" when unused. An empty `output` is an answer that is not there yet.
A row with `history` has several user turns: its `input` is then joined to its own turn, as LLaMA-Factory does, since a
record keeps apart only the first one's.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.json_text import tools_text
from pipeline.formats.shape import Fields, Format, text, text_or_none, wrong_type
from pipeline.formats.turns import chat, content_losses, leading_system, read_choice, read_label
from pipeline.record import Message, Record, joined

_KNOWN = frozenset(("instruction", "input", "output", "system", "history", "tools", "chosen", "rejected"))
_QUESTION_ONLY = frozenset(("instruction", "input", "system", "history", "tools", "id"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Alpaca row",
    "type": "object",
    "properties": {
        "instruction": {"type": "string"},
        "input": {"type": "string"},
        "output": {"type": "string"},
        "system": {"type": "string"},
        "history": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
        },
        "tools": {"type": "string"},
        "chosen": {"type": "string"},
        "rejected": {"type": "string"},
        "kto_tag": {"type": "boolean"},
    },
    "required": ["instruction", "input"],
    "anyOf": [{"required": ["output"]}, {"required": ["chosen", "rejected"]}],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """An instruction with an answer, or with nothing that could be an answer under another name."""
    if "instruction" not in row or "instances" in row:
        return False
    return "output" in row or ("chosen" in row and "rejected" in row) or row.keys() <= _QUESTION_ONLY


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    instruction, input, output = text(row, "instruction"), text_or_none(row, "input"), text_or_none(row, "output")
    answer = (Message(role="assistant", content=output),) if output else ()
    if len(row) == 3 and "output" in row and "input" in row:
        return [{"messages": (Message(role="user", content=instruction), *answer), "input": input or None}]
    system = text_or_none(row, "system")
    before = (Message(role="system", content=system),) if system else ()
    if history := _history(row.get("history")):
        instruction, input = joined(instruction, input), None
    label, label_column = read_label(row)
    fields: Fields = {
        "messages": (*before, *history, Message(role="user", content=instruction), *answer),
        "input": input or None,
        "tools": tools_text(row.get("tools")),
        "chosen": read_choice(row, "chosen"),
        "rejected": read_choice(row, "rejected"),
        "label": label,
    }
    return [{**fields, **leftover(row, _KNOWN | label_column)}]


def _history(value: Any) -> tuple[Message, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise wrong_type("history", "a list", value)
    turns: list[Message] = []
    for i, pair in enumerate(value):
        if not isinstance(pair, list) or len(pair) != 2:
            raise wrong_type(f"history[{i}]", "a list of a question and an answer", pair)
        for role, content in zip(("user", "assistant"), pair, strict=True):
            if not isinstance(content, str):
                raise wrong_type(f"history[{i}]", "two texts", content)
            turns.append(Message(role=role, content=content))
    return tuple(turns)


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    start = leading_system(record)
    # A single user turn keeps its input apart; with more of them the input belongs to the first, which is history.
    single = sum(m.role == "user" for m in record.messages) == 1
    turns = (record.messages if single else chat(record))[start:]
    answered = turns[-1].role == "assistant"
    last = len(turns) - (2 if answered else 1)
    row: dict[str, Any] = {"instruction": turns[last].content, "input": (single and record.input) or ""}
    if answered or record.chosen is None or record.rejected is None:
        row["output"] = turns[-1].content if answered else ""
    if start:
        row["system"] = record.messages[0].content
    if last:
        row["history"] = [[turns[i].content, turns[i + 1].content] for i in range(0, last, 2)]
    if record.tools is not None:
        row["tools"] = record.tools
    for name in ("chosen", "rejected"):
        choice = getattr(record, name)
        if choice is not None:
            row[name] = choice[0].content
    if record.label is not None:
        row["kto_tag"] = record.label
    return row


def refuses(record: Record) -> str | None:
    """Alpaca holds questions and answers in turn, after at most one system text."""
    turns = record.messages[leading_system(record) :]
    if not turns:
        return "no-messages"
    if any(m.role == "tool" or m.tool_calls is not None for m in turns):
        return "tool-turns"
    if any(m.role != ("user", "assistant")[i % 2] for i, m in enumerate(turns)):
        return "role-order"
    choices = [choice for choice in (record.chosen, record.rejected) if choice is not None]
    if any(len(c) != 1 or c[0].role != "assistant" or c[0].tool_calls is not None for c in choices):
        return "preference-turns"
    return None


def losses(record: Record) -> list[str]:
    """Message details; and the input's column when there are several turns."""
    lost = content_losses(record, flat=True)
    single = sum(m.role == "user" for m in record.messages) == 1
    return [slug for slug in lost if slug != "separate-input"] if single else lost


FORMAT = Format(
    name="alpaca",
    about="Stanford Alpaca's rows, with LLaMA-Factory's columns (also BELLE 2M)",
    recognise=recognise,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
)
