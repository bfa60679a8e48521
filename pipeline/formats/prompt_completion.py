"""A prompt and its completion as plain texts: TRL's standard form, and OpenAI's first fine-tuning files.

`{"prompt", "completion"}`; without `completion` TRL's prompt-only, with `label` (true or false) its unpaired
preference for KTO. See docs/source/dataset_formats.md of huggingface/trl; `prompt-completion-chat` is the
conversational form.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import TAG_COLUMNS, leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.shape import Fields, Format, text, text_or_none
from pipeline.formats.turns import read_label
from pipeline.record import Message, Record

ROOM = Room(several=False, label="may")
_KNOWN = frozenset(("prompt", "completion"))
PROMPT_ONLY = frozenset(("prompt", "id", "prompt_id", "tools", *TAG_COLUMNS))
"""Columns beside which a prompt may stand without an answer: any other could be the answer under its own name."""

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Prompt-completion row",
    "type": "object",
    "properties": {"prompt": {"type": "string"}, "completion": {"type": "string"}, "label": {"type": "boolean"}},
    "required": ["prompt"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """A prompt with a completion, or with nothing that could be an answer under another name."""
    return "prompt" in row and ("completion" in row or row.keys() <= PROMPT_ONLY)


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    user, completion = Message(role="user", content=text(row, "prompt")), text_or_none(row, "completion")
    answer = () if completion is None else (Message(role="assistant", content=completion),)
    label, label_column = read_label(row)
    return [{"messages": (user, *answer), "label": label, **leftover(row, _KNOWN | label_column)}]


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    row: dict[str, Any] = dict(zip(("prompt", "completion"), (m.content for m in asked(record)), strict=False))
    if record.label is not None:
        row["label"] = record.label
    return row


def refuses(record: Record) -> str | None:
    """One question and its answer; a verdict without an answer says nothing, and a prompt alone may have no columns."""
    if reason := ROOM.refuses(record):
        return reason
    return "no-answer" if len(asked(record)) == 1 and record.label is not None else None


FORMAT = Format(
    name="prompt-completion",
    about="TRL's standard prompt-completion, prompt-only and KTO rows",
    recognise=recognise,
    read=read,
    write=write,
    refuses=refuses,
    losses=ROOM.losses,
    schema=SCHEMA,
)
