"""One text standing where another should: answers and inputs that repeat the question."""

import polars as pl

from filters.check import Check

_CONTENT = pl.element().struct["content"]


def echo(min_chars: int = 12) -> tuple[Check, ...]:
    """Object when answer and input, answer and instruction, or instruction and input are the same text.

    Self-Instruct drops instances whose input equals the output; alpaca_data.json has 55. A short instruction may be
    answered in kind ("Hello" - "Hello"), hence `min_chars` for those two comparisons. In preference data a chosen
    answer equal to the rejected one teaches nothing.

    Args:
        min_chars: instructions shorter than this may be repeated.
    """
    instruction, input, output = (pl.col(name).str.strip_chars() for name in ("instruction", "input", "output"))
    long = instruction.str.len_chars() >= min_chars
    chosen, rejected = (pl.col(name).list.eval(_CONTENT).list.join("\n") for name in ("chosen", "rejected"))
    return (
        Check(
            reason="output-is-input",
            field="output",
            when=(pl.col("output") == pl.col("input")) & (input != ""),
            value=pl.col("output"),
        ),
        Check(
            reason="output-is-instruction",
            field="output",
            when=(instruction == output) & long,
            value=pl.col("output"),
        ),
        Check(
            reason="input-is-instruction",
            field="input",
            when=(instruction == input) & long,
            value=pl.col("input"),
        ),
        Check(
            reason="chosen-is-rejected",
            field="chosen",
            when=chosen == rejected,
            value=chosen,
            scope="record",
        ),
    )
