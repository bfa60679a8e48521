"""Two whole conversations, a better and a worse one: TRL's preference rows without a prompt.

`{"chosen": [{"role", "content"}], "rejected": [...]}`; what both begin with is the prompt
(docs/source/dataset_formats.md of huggingface/trl). Plain texts are read too: their prompt is the text that both
begin with, without a space at its end.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.formats import choices
from pipeline.formats.extras import leftover
from pipeline.formats.messages import MESSAGE
from pipeline.formats.shape import Bad, Fields, Format
from pipeline.formats.turns import chat, content_losses, openai_turn, read_choice, unknown_keys
from pipeline.record import Message, Record

_KNOWN = frozenset(("chosen", "rejected"))
_ELSEWHERE = frozenset(("prompt", "instruction", "messages", "conversations", "question", "input"))
_TURNS = {"type": "array", "items": MESSAGE, "minItems": 1}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Preference row without a prompt",
    "type": "object",
    "properties": {"chosen": _TURNS, "rejected": _TURNS},
    "required": ["chosen", "rejected"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """Two choices, and nothing that could be their prompt."""
    return row.keys() >= _KNOWN and not row.keys() & _ELSEWHERE


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record."""
    one, other = row.get("chosen"), row.get("rejected")
    if isinstance(one, str) and isinstance(other, str):
        return [{**_of_texts(one, other), **leftover(row, _KNOWN)}]
    chosen, rejected = (read_choice(row, name) or () for name in ("chosen", "rejected"))
    both = choices.shared(chosen, rejected)
    if not both:
        raise _no_prompt()
    rest = choices.moved(unknown_keys(row, ""), both)
    fields: Fields = {"messages": chosen[:both], "chosen": chosen[both:], "rejected": rejected[both:]}
    return [{**fields, **leftover(row, _KNOWN, rest)}]


def _of_texts(chosen: str, rejected: str) -> Fields:
    both = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    start = chosen[: min(len(chosen), len(rejected)) if both is None else both].removesuffix(" ")
    if not start.strip():
        raise _no_prompt()
    answers = [(Message(role="assistant", content=text[len(start) :]),) for text in (chosen, rejected)]
    return {"messages": (Message(role="user", content=start),), "chosen": answers[0], "rejected": answers[1]}


def _no_prompt() -> Bad:
    return Bad("no-prompt", "chosen and rejected do not begin alike, so there is no prompt", "chosen")


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    before = [openai_turn(m) for m in chat(record)]
    # Each choice gets its own copies: what is put back into one must not show in the other.
    return {
        "chosen": [*before, *(openai_turn(m) for m in record.chosen or ())],
        "rejected": [*(dict(turn) for turn in before), *(openai_turn(m) for m in record.rejected or ())],
    }


def refuses(record: Record) -> str | None:
    """Two choices that differ from their first message on, after messages that no answer ends."""
    if reason := choices.refuses(record):
        return reason
    if record.tools is not None:
        return "tool-turns"
    return "not-separable" if choices.shared(record.chosen or (), record.rejected or ()) else None


def losses(record: Record) -> list[str]:
    """Only that the input no longer stands apart."""
    return content_losses(record, flat=False)


def find(row: Mapping[str, Any], name: str, index: str) -> Any:
    """The object of one turn; messages stand at the start of `chosen`."""
    if name == "messages":
        return choices.turn_in({"messages": row["chosen"]}, name, index)
    if name == choices.REPEATED:
        return choices.turn_in({name: row["rejected"]}, name, index)
    both = choices.same_start(row["chosen"], row["rejected"])
    return choices.turn_in({name: row.get(name, ())[both:]}, name, index)


FORMAT = Format(
    name="preference-implicit",
    about="TRL's preference rows without a prompt: two conversations that begin alike",
    recognise=recognise,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
    find=find,
)
