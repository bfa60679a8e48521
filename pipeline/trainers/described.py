"""LLaMA-Factory's description of a file: an entry of its `dataset_info.json`.

Read from llamafactory 0.9.5, `data/parser.py`: giving `columns` or `tags` resets those that are left out to none, so
every one that is used is listed. Preference sets need `ranking`. `formatting: openai` is never given, see
llama_factory.py.
"""

from collections.abc import Collection, Mapping
from typing import Any

from pipeline.trainers.alpaca_rows import answer_column, question_columns
from pipeline.trainers.llama_factory import label_column
from pipeline.trainers.llama_factory_tools import describes_tools
from pipeline.trainers.survey import Kind, Layout, Tags

OPENAI_TAGS = Tags("user", "assistant", "tool", "function_call", "system")


def tags_of(tags: Tags, role_key: str, content_key: str) -> dict[str, str]:
    """All seven tags."""
    return {
        "role_tag": role_key,
        "content_tag": content_key,
        "user_tag": tags.user,
        "assistant_tag": tags.assistant,
        "observation_tag": tags.observation,
        "function_tag": tags.function,
        "system_tag": tags.system,
    }


def columns_of(
    first: Mapping[str, str], more: Collection[str], there: Collection[str], kind: Kind, label: str
) -> dict[str, Any]:
    """The columns of a file, and whether it is for ranking.

    Args:
        first: LLaMA-Factory's name -> the column.
        more: columns that it calls as the file does.
        there: columns that some row has; others are left out.
        label: the column of verdicts.
    """
    named = {key: column for key, column in first.items() if column in there}
    named |= {column: column for column in more if column in there}
    if kind == "preference":
        named.pop("response", None)
        return {"ranking": True, "columns": {**named, "chosen": "chosen", "rejected": "rejected"}}
    if kind == "verdicts":
        named["kto_tag"] = label
    return {"columns": named}


def entry_of(layout: Layout, file_name: str) -> dict[str, Any] | None:
    """The entry for a file of this shape; None for a shape that is not read."""
    there, label = layout.columns, label_column(layout)
    if layout.turns is not None:
        more = ("system", "tools") if describes_tools(layout) else ("system",)
        described = columns_of({"messages": layout.turns}, more, there, layout.kind, label)
        tags = tags_of(layout.tags, layout.role_key, layout.content_key)
        return {"file_name": file_name, "formatting": "sharegpt", **described, "tags": tags}
    if layout.base == "text":
        return {"file_name": file_name, "columns": {"prompt": "text"}}
    if layout.base not in ("alpaca", "prompt"):
        return None
    first = dict(zip(("prompt", "query"), question_columns(layout), strict=False))
    first["response"] = answer_column(layout)
    described = columns_of(first, ("system", "history", "tools"), there, layout.kind, label)
    return {"file_name": file_name, "formatting": "alpaca", **described}
