"""Self-Instruct's finetuning data: a prompt and a completion that ends in `<|endoftext|>`.

`{"prompt", "completion"}`, as prepare_for_finetuning.py of yizhongw/self-instruct writes them: by one of several
templates, of which the last word `Output:` and white space are not read as the question's. `seeds` are its seed
tasks.
"""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.packed import packing_losses
from pipeline.formats.shape import Fields, Format, text
from pipeline.record import Message, Record

ROOM = Room(several=False, answer="must")
END = "<|endoftext|>"
_CUE = re.compile(r"\s*(?<!\w)Output:\s*\Z")
_KNOWN = frozenset(("prompt", "completion"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Self-Instruct finetuning row",
    "type": "object",
    "properties": {"prompt": {"type": "string"}, "completion": {"type": "string"}},
    "required": ["prompt", "completion"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """A prompt with a completion; see `marks`."""
    return row.keys() >= _KNOWN


def marks(row: Mapping[str, Any]) -> bool:
    """The completion ends as GPT-3's had to."""
    value = row["completion"]
    return isinstance(value, str) and value.endswith(END)


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    prompt, completion = (text(row, name) for name in ("prompt", "completion"))
    user = Message(role="user", content=_question(prompt))
    answer = Message(role="assistant", content=completion.removesuffix(END).strip())
    return [{"messages": (user, answer), **leftover(row, _KNOWN)}]


def _question(prompt: str) -> str:
    return _CUE.sub("", prompt).strip()


def write(record: Record) -> dict[str, Any]:
    """The record as a row, by the template of two line breaks; see `refuses` for those that have none."""
    question, answer = asked(record)
    return {"prompt": question.content.strip() + "\n\n", "completion": answer.content.strip() + END}


def refuses(record: Record) -> str | None:
    """One question and its answer, that do not themselves end in the marks."""
    if reason := ROOM.refuses(record):
        return reason
    question, answer = (m.content.strip() for m in asked(record))
    return "not-separable" if _question(question) != question or answer.endswith(END) else None


def losses(record: Record) -> list[str]:
    """The input's column, message details, and white space around texts."""
    return packing_losses(ROOM, record)


FORMAT = Format(
    name="self-instruct",
    about="Self-Instruct's finetuning data: prompt, and completion up to '<|endoftext|>'",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
)
