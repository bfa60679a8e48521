"""Open-Assistant's flat files: a message a row, put together to trees before they are read as `oasst`.

`{"message_id", "parent_id", "message_tree_id", "text", "role", ...}`, as the parquet files of OpenAssistant/oasst1
and the `*_messages.jsonl` files have them, a tree's messages one after the other.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.formats.elements import RAW_CHARACTERS, Row, Unreadable, shown
from pipeline.formats.json_text import dumps
from pipeline.formats.plain import Plain

_OF_THE_TREE = ("message_tree_id", "tree_state")


def grown(rows: Iterator[Row | Unreadable | Plain]) -> Iterator[Row | Unreadable | Plain]:
    """The rows, with the messages of a tree as one row that stands where its first message stood.

    A message whose parent is not in the rows of its tree is Unreadable.
    """
    open_tree: list[Row] = []
    for row in rows:
        message = isinstance(row, Row) and _is_message(row.value)
        if open_tree and not (message and _same_tree(open_tree[0].value, row.value)):  # type: ignore[union-attr]
            yield from _tree(open_tree)
            open_tree = []
        if message:
            open_tree.append(row)  # type: ignore[arg-type]
        else:
            yield row
    yield from _tree(open_tree)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and "message_id" in value and "text" in value and "prompt" not in value


def _same_tree(first: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if "message_tree_id" in first or "message_tree_id" in other:
        return first.get("message_tree_id") == other.get("message_tree_id")
    return other.get("parent_id") is not None


def _tree(rows: list[Row]) -> Iterator[Row | Unreadable]:
    nodes: dict[Any, dict[str, Any]] = {}
    root: dict[str, Any] | None = None
    for row in rows:
        message = row.value
        node = {key: value for key, value in message.items() if key not in _OF_THE_TREE} | {"replies": []}
        parent = message.get("parent_id")
        place = nodes.get(parent) if isinstance(parent, str) else None
        if parent is None and root is None:
            root = node
        elif place is None:
            error = "its parent is not among the messages before it of the same tree"
            yield Unreadable(row.line, "no-parent", error, shown(row.raw), "parent_id")
            continue
        else:
            place["replies"].append(node)
        if isinstance(message["message_id"], str):
            nodes[message["message_id"]] = node
    if root is not None:
        told = {key: rows[0].value[key] for key in _OF_THE_TREE if key in rows[0].value}
        whole = {**told, "prompt": root}
        yield Row(rows[0].line, whole, dumps(whole)[:RAW_CHARACTERS])
