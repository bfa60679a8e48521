"""Open-Assistant's message trees: a prompt, its replies, theirs, and how people ranked them.

`{"message_tree_id", "tree_state", "prompt": {"message_id", "text", "role": "prompter" | "assistant", "lang", "rank",
"replies": [...], ...}}`, see oasst-data/oasst_data/schemas.py of LAION-AI/Open-Assistant. Every way from the prompt
to a last message is a record (a thread), and every question with two ranked answers or more is one with the best and
the worst as choices (rank 0 is the best). Flat files, a message a row, are put together to such trees
(`oasst_messages.py`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked
from pipeline.formats.shape import Bad, Fields, Format, text, text_or_none, wrong_type
from pipeline.record import Message, Record

ROOM = Room()
ROLES = {"prompter": "user", "assistant": "assistant"}
_NAMES = {ours: theirs for theirs, ours in ROLES.items()}
_KNOWN = frozenset(("prompt",))
_NODE = frozenset(("text", "role", "replies"))

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Open-Assistant message tree",
    "type": "object",
    "properties": {
        "prompt": {
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "role": {"enum": ["prompter", "assistant"]},
                "lang": {"type": "string"},
                "replies": {"type": "array"},
            },
            "required": ["text", "role", "replies"],
        }
    },
    "required": ["prompt"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """A prompt; see `marks`."""
    return "prompt" in row


def marks(row: Mapping[str, Any]) -> bool:
    """It is a message of a tree."""
    prompt = row["prompt"]
    return isinstance(prompt, dict) and "text" in prompt


def read(row: dict[str, Any]) -> list[Fields]:
    """The tree's threads, and its comparisons after them."""
    root = row.get("prompt")
    if not isinstance(root, dict):
        raise wrong_type("prompt", "an object", root)
    language = text_or_none(root, "lang", "prompt.")
    threads: list[Fields] = []
    comparisons: list[Fields] = []
    for way, replies in _ways(root):
        messages = tuple(message for message, _ in way)
        kept = {f"messages.{i}": rest for i, (_, rest) in enumerate(way) if rest}
        if not replies:
            threads.append({"messages": messages, "language": language, **leftover(row, _KNOWN, kept)})
        elif (pair := _extremes(replies)) is not None:
            (better, better_rest), (worse, worse_rest) = pair
            kept |= {name: rest for name, rest in (("chosen.0", better_rest), ("rejected.0", worse_rest)) if rest}
            fields: Fields = {"messages": messages, "chosen": (better,), "rejected": (worse,), "language": language}
            comparisons.append({**fields, **leftover(row, _KNOWN, kept)})
    return threads + comparisons


MOST_TURNS = 40
"""A tree is nested two deep a turn, and deeper than `pipeline.formats.decode.MAX_DEPTH` nothing is read."""

Node = tuple[Message, dict[str, Any]]
"""A message of the tree and what else is known of it."""


def _ways(root: dict[str, Any]) -> Iterator[tuple[tuple[Node, ...], list[Node]]]:
    """For every message: the way to it, and its replies, in the order of the tree."""
    waiting: list[tuple[dict[str, Any], str, tuple[Node, ...]]] = [(root, "prompt", ())]
    while waiting:
        value, place, before = waiting.pop()
        way = (*before, _node(value, place, root=not before))
        replies = value.get("replies") or []
        if not isinstance(replies, list):
            raise wrong_type(f"{place}.replies", "a list", replies)
        for i, reply in enumerate(replies):
            if not isinstance(reply, dict):
                raise wrong_type(f"{place}.replies[{i}]", "an object", reply)
        yield way, [_node(reply, f"{place}.replies[{i}]") for i, reply in enumerate(replies)]
        waiting += [(reply, f"{place}.replies[{i}]", way) for i, reply in reversed(list(enumerate(replies)))]


def _node(value: Mapping[str, Any], place: str, *, root: bool = False) -> Node:
    role = text(value, "role", f"{place}.")
    if role not in ROLES:
        raise Bad("unknown-role", f"{place}.role is '{role[:40]}', not prompter or assistant", f"{place}.role")
    known = _NODE | {"lang"} if root else _NODE
    rest = {key: item for key, item in value.items() if key not in known}
    return Message(role=ROLES[role], content=text(value, "text", f"{place}.")), rest


def _extremes(replies: list[Node]) -> tuple[Node, Node] | None:
    """The best and the worst of the ranked answers, or None when fewer than two are ranked."""
    ranked = [node for node in replies if _rank(node) is not None and node[0].role == "assistant"]
    ranked.sort(key=lambda node: _rank(node) or 0)
    return (ranked[0], ranked[-1]) if len(ranked) > 1 and _rank(ranked[0]) != _rank(ranked[-1]) else None


def _rank(node: Node) -> int | None:
    rank = node[1].get("rank")
    return rank if isinstance(rank, int) and not isinstance(rank, bool) else None


def write(record: Record) -> dict[str, Any]:
    """The record as a tree without branches; see `refuses` for those that have none."""
    replies: list[dict[str, Any]] = []
    for message in reversed(asked(record)):
        replies = [{"text": message.content, "role": _NAMES[message.role], "replies": replies}]
    language = {} if record.language is None else {"lang": record.language}
    return {"prompt": {**replies[0], **language}}


def refuses(record: Record) -> str | None:
    """Questions and answers in turn, not too many of them."""
    return ROOM.refuses(record) or ("too-many-turns" if len(asked(record)) > MOST_TURNS else None)


def find(row: Mapping[str, Any], name: str, index: str) -> Any:
    """The object of one message of a tree without branches."""
    if name != "messages" or not index.isdecimal():
        return None
    node: Any = row["prompt"]
    for _ in range(int(index)):
        node = node["replies"][0] if node["replies"] else None
        if node is None:
            return None
    return node


FORMAT = Format(
    name="oasst",
    about="Open-Assistant's message trees; read: a record for every thread and every ranking",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=refuses,
    losses=ROOM.losses,
    schema=SCHEMA,
    find=find,
    keeps=("language",),
)
