"""What trainers ask of the files: rows that LLaMA-Factory accepts, and its `dataset_info.json`.

Its rules are in `src/llamafactory/data/converter.py`: after an optional system turn, human or observation alternates
with gpt or function_call, and the turns are even in number (odd for preference rows, whose answer stands apart). A row
that breaks them is skipped there with a line in the log; here it is left out beforehand, counted and listed.
"""

from collections.abc import Collection, Mapping
from typing import Any

from pipeline.export.survey import Kind
from pipeline.formats.sharegpt import ROLES
from pipeline.formats.turns import chat, leading_system
from pipeline.record import Record
from pipeline.trainers.described import OPENAI_TAGS, columns_of, tags_of
from pipeline.trainers.survey import Tags

_TAGS = Tags(ROLES["user"], ROLES["assistant"], ROLES["tool"], "function_call", ROLES["system"])


def objection(format: str, record: Record, kind: Kind) -> str | None:
    """Why a trainer would skip or misread the record in a file of this format, as a slug, or None."""
    if format == "messages":
        return None
    if kind != "preference" and record.chosen is not None:
        return "preference-row"
    return _alternation(record, kind) if format == "sharegpt" else None


def _alternation(record: Record, kind: Kind) -> str | None:
    turns = chat(record)[leading_system(record) :]
    for i, message in enumerate(turns):
        if (message.role == "assistant") != (i % 2 == 1) or message.role == "system":
            return "role-order"
    if kind == "preference":
        return "even-length" if len(turns) % 2 == 0 else None
    return "odd-length" if len(turns) % 2 else None


def dataset_info(name: str, columns: Mapping[str, Collection[str]], kind: Kind, *, tool_turns: bool) -> dict[str, Any]:
    """LLaMA-Factory's description of the files.

    Args:
        name: stem of the dataset's names.
        columns: format -> the columns its rows have; only these formats are described.
        tool_turns: whether tools are called; OpenAI's way of writing that is read by a converter which also changes
            system prompts, so that `messages.jsonl` is then not described.
    """
    info: dict[str, Any] = {}
    if "alpaca" in columns:
        pairs = {"prompt": "instruction", "query": "input", "response": "output"}
        described = _columns(pairs, ("system", "history", "tools"), columns["alpaca"], kind)
        info[f"{name}_alpaca"] = {"file_name": "alpaca.json", "formatting": "alpaca", **described}
    if "sharegpt" in columns:
        described = _columns({"messages": "conversations"}, ("tools",), columns["sharegpt"], kind)
        tags = tags_of(_TAGS, "from", "value")
        info[f"{name}_sharegpt"] = {"file_name": "sharegpt.json", "formatting": "sharegpt", **described, "tags": tags}
    if "messages" in columns and not tool_turns:
        described = _columns({"messages": "messages"}, (), columns["messages"], kind)
        tags = tags_of(OPENAI_TAGS, "role", "content")
        entry = {"file_name": "messages.jsonl", "formatting": "sharegpt", **described, "tags": tags}
        info[f"{name}_messages"] = entry
    return info


def _columns(first: dict[str, str], more: Collection[str], there: Collection[str], kind: Kind) -> dict[str, Any]:
    return columns_of(first, more, there, kind, "label" if "label" in there else "kto_tag")
