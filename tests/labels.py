"""The labelled sets of tests/labelled: what each case says, and the record it speaks of."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.record import Message, Record

FOLDER = Path(__file__).parent / "labelled"
ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}
PAGE = "讲一讲。"
"""Stands for the question of a page that is one text."""


@dataclass(frozen=True, slots=True)
class Case:
    """A text and whether its family's rules should object to it."""

    record: Record
    defect: bool
    note: str
    real: bool


def families() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def lines(family: str) -> list[dict[str, Any]]:
    text = (FOLDER / f"{family}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def cases(family: str) -> list[Case]:
    """The family's cases; those of published files only where REAL_DATA names their folder."""
    folder = os.environ.get("REAL_DATA")
    found = []
    for number, line in enumerate(lines(family)):
        if "file" in line and not folder:
            continue
        messages, input = _published(Path(folder or ""), line) if "file" in line else (_spoken(line["turns"]), None)
        record = Record(id=str(number), messages=messages, input=line.get("input", input))
        found.append(Case(record, line["defect"], line["note"], "file" in line))
    return found


def pairs(file: str) -> list[Record]:
    """Every answer of a published file of conversations with its question, as records of their own."""
    folder = Path(os.environ["REAL_DATA"])
    found = []
    for number, row in enumerate(rows(folder / file)):
        texts = [turn["value"] for turn in row["conversations"]]
        found += [
            Record(id=f"{number}/{at}", messages=_spoken(texts[at - 1 : at + 1])) for at in range(1, len(texts), 2)
        ]
    return found


def _spoken(turns: Sequence[str | None]) -> tuple[Message, ...]:
    return tuple(
        Message(role="assistant" if at % 2 else "user", content=text)
        for at, text in enumerate(turns)
        if text is not None
    )


def _published(folder: Path, line: Mapping[str, Any]) -> tuple[tuple[Message, ...], str | None]:
    """A row of a published file, or one answer of it with its question."""
    row = rows(folder / line["file"])[line["row"]]
    if "content" in row:
        return _spoken([PAGE, row["content"]]), None
    if "instances" in row:
        row = row | row["instances"][0]
    chat = row.get("conversations") or row.get("messages")
    if chat is None:
        question, input = row.get("instruction"), row.get("input")
        return _spoken([question or input, row["output"]]), input if question else None
    messages = tuple(
        Message(role=ROLES[m.get("from") or m["role"]], content=m.get("value", m.get("content"))) for m in chat
    )
    return messages if "message" not in line else messages[max(0, line["message"] - 1) : line["message"] + 1], None


@cache
def rows(path: Path) -> list[Any]:
    text = path.read_text(encoding="utf-8")
    try:
        return list(json.loads(text))
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
