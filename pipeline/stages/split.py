"""Splitting: conversations that are longer than a trainer's context."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from pipeline.errors import UsageError
from pipeline.measures import measure
from pipeline.record import Drop, Message, Record, derived_id, from_row, to_drop_frame, to_frame
from pipeline.stage import Outcome, Tools

_PER_MESSAGE = 6
"""Tokens that a chat template adds to a message, as FastChat counts them."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Cuts conversations that are too long into pieces of whole questions and answers; no pair is lost.

    As FastChat's split_long_conversation does, but for its faults: the last pair is kept, and nothing empty comes out.
    Every piece repeats the system message; the conversation itself is dropped as `superseded` by its pieces. Tokens are
    estimated, since tokenizers differ: a Chinese character, a mark, three digits or six letters of a word are one.
    Preference data is left as it is.

    Attributes:
        max_tokens: longest conversation that is kept whole, and longest piece.
        keep_long_pairs: whether a single pair that is longer stays as a piece of its own; if not, it is dropped.
    """

    scope: ClassVar[Literal["rows"]] = "rows"

    max_tokens: int = 2048
    keep_long_pairs: bool = True

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"split: max_tokens is {self.max_tokens}", "2048 and 4096 are usual lengths of a context")

    def run(self, block: pl.DataFrame, tools: Tools) -> Outcome:
        """The block, long conversations replaced by their pieces."""
        sizes = _sizes(block)
        whole = block.select(pl.col("chosen").is_not_null())["chosen"].to_list()
        rows: list[pl.DataFrame] = []
        drops: list[Drop] = []
        begin = derived = 0
        for at, tokens in enumerate(sizes):
            if sum(tokens) <= self.max_tokens or whole[at]:
                continue
            record = from_row(block.row(at, named=True))
            pieces = list(self._pieces(record, tokens, tools.entry))
            too_long = [p for p, size in pieces if size > self.max_tokens and not self.keep_long_pairs]
            kept = [p for p, _ in pieces if p not in too_long]
            rows += [block[begin:at], to_frame(kept)]
            drops.append(Drop(record=record, reason="superseded", detail={"pieces": len(pieces)}))
            drops += [Drop(record=p, reason="pair-too-long", detail={"max_tokens": self.max_tokens}) for p in too_long]
            begin, derived = at + 1, derived + len(pieces)
        if not drops:
            return Outcome(kept=block)
        return Outcome(kept=pl.concat([*rows, block[begin:]]), drops=to_drop_frame(drops), derived=derived)

    def _pieces(self, record: Record, tokens: list[int], entry: str) -> Iterator[tuple[Record, int]]:
        """The pieces with their sizes; a piece ends where the next pair would be too much."""
        head = [at for at, m in enumerate(record.messages) if m.role == "system"]
        base = sum(tokens[at] for at in head)
        piece: list[int] = []
        ordinal = 0
        for pair in _pairs(record.messages):
            if piece and base + sum(tokens[at] for at in piece + pair) > self.max_tokens:
                yield _piece(record, head, piece, entry, ordinal), base + sum(tokens[at] for at in piece)
                piece, ordinal = [], ordinal + 1
            piece += pair
        yield _piece(record, head, piece, entry, ordinal), base + sum(tokens[at] for at in piece)


def _sizes(block: pl.DataFrame) -> list[list[int]]:
    """Estimated tokens of each message of each row; the input counts for the first question."""
    part = pl.element().struct
    flat = block.select(
        row=pl.int_range(pl.len()),
        text=pl.col("messages").list.eval(part["content"].fill_null("")),
        input="input",
    ).explode("text")
    tokens = measure(flat["text"], ["token_estimate"])["token_estimate"]
    beside = measure(block["input"], ["token_estimate"])["token_estimate"].cast(pl.Int64)
    per_row = (
        flat.select("row", tokens=tokens.cast(pl.Int64) + _PER_MESSAGE)
        .group_by("row", maintain_order=True)
        .agg("tokens")
    )
    sizes: list[list[int]] = per_row["tokens"].to_list()
    for row, more in enumerate(beside.to_list()):
        sizes[row][0] += more
    return sizes


def _pairs(messages: tuple[Message, ...]) -> list[list[int]]:
    """Where each question with its answers stands; what comes before the first question belongs to it."""
    pairs: list[list[int]] = []
    for at, message in enumerate(messages):
        if message.role == "system":
            continue
        if message.role == "user" or not pairs:
            if pairs and not any(messages[i].role == "user" for i in pairs[-1]):
                pairs[-1].append(at)
                continue
            pairs.append([])
        pairs[-1].append(at)
    return pairs


def _piece(record: Record, head: list[int], piece: list[int], entry: str, ordinal: int) -> Record:
    messages = tuple(record.messages[at] for at in [*head, *piece])
    fields = {f: getattr(record, f) for f in Record.__slots__}
    made = {
        "id": derived_id(entry, [record.id], ordinal),
        "parents": (record.id,),
        "messages": messages,
        "method": "split",
    }
    return Record(**fields | made | {"input": record.input if ordinal == 0 else None})
