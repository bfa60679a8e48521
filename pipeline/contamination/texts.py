"""The texts of records in which a benchmark may be found, with the side they are on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

Sides = Literal["both", "question", "answer"]

_COLUMNS = ("messages", "chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts of a block of records, in the records' order.

    Attributes:
        rows: the record each is of.
        text: the first user message comes with the record's input, as `pipeline.record.joined` puts them together.
        place: `messages[0]`, `messages[0] + input`, `input`, `messages[3].thinking`, `chosen[0]` ...
        answers: whether it is on the answer side: what an assistant says, preferred and rejected too.
        parts: whether it is a part of the text before it and counts only as a whole: the message or the input alone.
    """

    rows: NDArray[np.int64]
    text: pl.Series
    place: pl.Series
    answers: NDArray[np.bool_]
    parts: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)


def texts_of(block: pl.DataFrame, sides: Sides) -> Texts:
    """The texts of every record on these sides; tool calls and definitions of tools are not among them."""
    numbered = block.select("messages", "chosen", "rejected", "input").with_row_index("row")
    pieces = [_turns(numbered, column) for column in _COLUMNS]
    pieces[0], alone = _with_input(pieces[0], numbered)
    found = pl.concat([*pieces, alone]).filter(pl.col("text") != "")
    if sides != "both":
        found = found.filter(pl.col("answer") == (sides == "answer"))
    found = found.sort("row", "order", maintain_order=True)
    return Texts(
        found["row"].to_numpy().astype(np.int64),
        found["text"],
        found["place"],
        found["answer"].to_numpy().astype(np.bool_),
        found["part"].to_numpy().astype(np.bool_),
    )


_TEXT = ("row", "order", "text", "place", "answer", "part")


def _turns(numbered: pl.DataFrame, column: str) -> pl.DataFrame:
    """One row a message of the column, and one a message's thinking."""
    turns = (
        numbered.lazy()
        .select("row", pl.col(column), turn=pl.int_ranges(pl.col(column).list.len().fill_null(0)))
        .filter(pl.col(column).list.len() > 0)
        .explode(column, "turn")
        .select("row", "turn", pl.col(column).struct.unnest())
    )
    shift = 1_000_000 * _COLUMNS.index(column)
    base = pl.format(column + "[{}]", "turn")
    common = {"answer": pl.col("role") == "assistant", "part": pl.lit(False)}
    said = turns.select(
        "row", order=pl.col("turn") * 8 + shift, text=pl.col("content").fill_null(""), place=base, **common
    )
    thought = turns.filter(pl.col("thinking").is_not_null()).select(
        "row", order=pl.col("turn") * 8 + shift + 4, text="thinking", place=pl.format("{}.thinking", base), **common
    )
    return pl.concat([said, thought]).select(_TEXT).collect()


def _with_input(turns: pl.DataFrame, numbered: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The turns with each record's input joined to its first user message, and the two of them alone."""
    inputs = numbered.filter(pl.col("input").fill_null("") != "").select("row", "input")
    if not inputs.height:
        return turns, turns.clear()
    firsts = _first_users(numbered, inputs)
    joined = turns.join(firsts, on=["row", "place"], how="left", maintain_order="left")
    has = pl.col("input").is_not_null()
    whole = joined.with_columns(
        text=pl.when(has).then(pl.format("{}\n{}", "text", "input")).otherwise("text"),
        place=pl.when(has).then(pl.format("{} + input", "place")).otherwise("place"),
    ).select(_TEXT)
    message = joined.filter(has).with_columns(order=pl.col("order") + 1, part=True).select(_TEXT)
    alone = inputs.join(firsts.select("row", known=True), on="row", how="left", maintain_order="left")
    orders = joined.filter(has).select("row", at="order")
    alone = alone.join(orders, on="row", how="left", maintain_order="left").select(
        "row",
        order=pl.col("at").fill_null(-2) + 2,
        text="input",
        place=pl.lit("input"),
        answer=pl.lit(False),
        part=pl.col("known").fill_null(False),
    )
    return whole, pl.concat([message, alone.cast(message.schema)])


def _first_users(numbered: pl.DataFrame, inputs: pl.DataFrame) -> pl.DataFrame:
    """Where the first user message of each record with an input stands."""
    is_user = pl.element().struct["role"] == "user"
    first = pl.col("messages").list.eval(is_user).list.arg_max()
    any_user = pl.col("messages").list.eval(is_user).list.any()
    return (
        numbered.filter(any_user.fill_null(False))
        .select("row", place=pl.format("messages[{}]", first))
        .join(inputs, on="row", how="inner", maintain_order="left")
    )
