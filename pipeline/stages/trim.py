"""Trimming: conversations that begin before the first question or end after the last answer."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from pipeline.record import Drop, Message, Record, from_row, to_drop_frame, to_frame
from pipeline.stage import Outcome, Tools

_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"


@dataclass(frozen=True, kw_only=True)
class Trim:
    """Cuts what is no question with its answer from either end of a conversation; the id stays.

    As FastChat's clean_sharegpt does with what people shared: an answer before the first question goes, everything
    from the first empty message on goes (with the question it answers), and a last question without an answer goes. A
    record of which nothing is left is dropped. Preference data keeps its open question; calls of tools and their
    results are answers.

    Attributes:
        leading: cut answers that come before any question.
        empty: cut from the first empty message on.
        trailing: cut a last question that nobody answered.
    """

    scope: ClassVar[Literal["rows"]] = "rows"

    leading: bool = True
    empty: bool = True
    trailing: bool = True

    def run(self, block: pl.DataFrame, tools: Tools) -> Outcome:
        """The block with trimmed conversations."""
        kept: dict[int, Record] = {}
        drops: dict[int, Drop] = {}
        fixed = Counter[str]()
        for at, row in self._suspects(block):
            record = from_row(row)
            messages, done = self._trimmed(record)
            if any(m.role == "assistant" for m in messages) or record.chosen:
                kept[at] = Record(**{f: getattr(record, f) for f in Record.__slots__} | {"messages": messages})
                fixed.update(done)
            else:
                drops[at] = Drop(record=record, reason="nothing-left", detail={"trimmed": done})
        if not kept and not drops:
            return Outcome(kept=block)
        return Outcome(kept=_replaced(block, kept, set(drops)), drops=to_drop_frame(drops.values()), fixed=fixed)

    def _suspects(self, block: pl.DataFrame) -> Iterator[tuple[int, dict[str, object]]]:
        """The rows that may be in need of it, with their numbers."""
        part = pl.element().struct
        roles = pl.col("messages").list.eval(part["role"].filter(part["role"] != "system"))
        blank = part["content"].fill_null("").str.strip_chars().str.strip_chars(_INVISIBLE) == ""
        suspect = (
            (roles.list.first() != "user")
            | roles.list.last().is_in(["user"])
            | pl.col("messages").list.eval(blank).list.any()
        )
        rows = block.with_row_index("at").filter(suspect.fill_null(True))
        return ((row.pop("at"), row) for row in rows.iter_rows(named=True))

    def _trimmed(self, record: Record) -> tuple[tuple[Message, ...], list[str]]:
        """The messages that are left, and what was cut."""
        messages, done = list(record.messages), []
        if self.leading:
            first = next((at for at, m in enumerate(messages) if m.role == "user"), len(messages))
            if any(m.role != "system" for m in messages[:first]):
                messages = [m for m in messages[:first] if m.role == "system"] + messages[first:]
                done.append("leading-answer")
        if self.empty and (at := next((at for at, m in enumerate(messages) if _empty(m)), None)) is not None:
            begin = max((i for i in range(at + 1) if messages[i].role == "user"), default=0)
            messages = messages[:begin]
            done.append("empty-turn")
        if self.trailing and not record.chosen and messages and messages[-1].role == "user":
            while messages and messages[-1].role == "user":
                messages.pop()
            done.append("open-question")
        return tuple(messages), done


def _empty(message: Message) -> bool:
    return (
        message.role in ("user", "assistant")
        and not message.tool_calls
        and not message.content.strip().strip(_INVISIBLE)
    )


def _replaced(block: pl.DataFrame, kept: dict[int, Record], dropped: set[int]) -> pl.DataFrame:
    """The block with some rows replaced and some left out, in order."""
    numbered = block.with_row_index("at")
    new = to_frame(kept.values()).select(pl.Series("at", list(kept), dtype=pl.UInt32), trimmed="messages")
    joined = numbered.join(new, on="at", how="left", maintain_order="left")
    joined = joined.with_columns(messages=pl.coalesce("trimmed", "messages"))
    return joined.filter(~pl.col("at").is_in(list(dropped))).select(block.columns)
