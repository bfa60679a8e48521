"""A prompt and its completion as messages: TRL's conversational form.

`{"prompt": [{"role", "content"}], "completion": [...]}` with an optional `tools`; without `completion` TRL's
prompt-only, with `label` (true or false) its unpaired preference for KTO. See docs/source/dataset_formats.md of
huggingface/trl.
"""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.json_text import tools_text
from pipeline.formats.messages import MESSAGE
from pipeline.formats.prompt_completion import PROMPT_ONLY
from pipeline.formats.shape import Fields, Format
from pipeline.formats.turns import (
    chat,
    content_losses,
    leading_system,
    openai_turn,
    read_label,
    read_turns,
    unknown_keys,
)
from pipeline.record import Record

_KNOWN = frozenset(("prompt", "completion", "tools"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Prompt-completion row of messages",
    "type": "object",
    "properties": {
        "prompt": {"type": "array", "items": MESSAGE},
        "completion": {"type": "array", "items": MESSAGE, "minItems": 1},
        "tools": {"type": ["array", "object"]},
        "label": {"type": "boolean"},
    },
    "required": ["prompt"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """As `prompt-completion`; see `marks`."""
    return "prompt" in row and ("completion" in row or row.keys() <= PROMPT_ONLY)


def marks(row: Mapping[str, Any]) -> bool:
    """The prompt is a list."""
    return isinstance(row["prompt"], list)


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    prompt = read_turns(row, "prompt")
    completion = () if row.get("completion") is None else read_turns(row, "completion")
    label, label_column = read_label(row)
    rest = unknown_keys(row, "prompt") | unknown_keys(row, "completion", len(prompt))
    fields: Fields = {"messages": prompt + completion, "tools": tools_text(row.get("tools")), "label": label}
    return [{**fields, **leftover(row, _KNOWN | label_column, rest)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    turns = [openai_turn(m) for m in chat(record)]
    asks = [i for i, turn in enumerate(turns) if turn["role"] == "user"]
    # What follows the last question is what a trainer learns.
    start = asks[-1] + 1 if asks else leading_system(record)
    row: dict[str, Any] = {"prompt": turns[:start]}
    if turns[start:]:
        row["completion"] = turns[start:]
    if record.tools is not None:
        row["tools"] = json.loads(record.tools)
    if record.label is not None:
        row["label"] = record.label
    return row


def refuses(record: Record) -> str | None:
    """Anything with a message, but choices."""
    if not record.messages:
        return "no-messages"
    if (record.chosen, record.rejected) != (None, None):
        return "preference-turns"
    return "no-answer" if record.label is not None and "completion" not in write(record) else None


def losses(record: Record) -> list[str]:
    """Only that the input no longer stands apart."""
    return content_losses(record, flat=False)


def find(row: Mapping[str, Any], name: str, index: str) -> Any:
    """The object of one message, in the prompt or after it."""
    turns = [*row["prompt"], *row.get("completion", ())]
    return turns[int(index)] if name == "messages" and index.isdecimal() and int(index) < len(turns) else None


FORMAT = Format(
    name="prompt-completion-chat",
    about="TRL's conversational prompt-completion, prompt-only and KTO rows",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
    find=find,
)
