"""Rules for a generated instruction, applied before anything more is paid for it."""

from collections.abc import Sequence
from typing import Any, Literal

import polars as pl

from filters.alpaca import alpaca
from filters.check import Check, matching

Preset = Literal["alpaca", "belle", "none"]

BELLE_BLOCKED = (
    *("图像", "图片", "照片", "文件", "图表", "图层", "曲线图", "折线图", "直线图", "柱形图", "饼状图", "链接", "http"),
    *("OpenAI", "chatgpt", "gpt-3", "gpt-3.5", "gpt-4"),
)
"""What a text model cannot do or should not be asked about, as BELLE lists it."""


def belle(min_characters: int = 4, max_characters: int = 150) -> tuple[Check, ...]:
    """Object to Chinese instructions as BELLE's generator does; inputs and outputs are not looked at.

    Differs from BELLE in three points: a blocked word counts in the instruction alone, case does not matter, and the
    upper bound holds whether or not there is an input.

    Args:
        min_characters: fewest characters (BELLE drops 3 and fewer).
        max_characters: most characters (BELLE allows 150 where an instruction explains itself by an example).
    """
    characters = pl.col("instruction").str.len_chars()
    return (
        Check(
            reason="belle-length",
            field="instruction",
            when=(characters < min_characters) | (characters > max_characters),
            value=characters,
        ),
        matching("belle-blocked-word", "instruction", "(?i)" + "|".join(BELLE_BLOCKED).replace(".", r"\.")),
    )


def objections(instructions: Sequence[str], preset: Preset) -> list[tuple[str, Any] | None]:
    """For each instruction the first rule of the preset that objects, and the value it found; None when none does.

    Alpaca's rules are those of `filters.alpaca`, so that reasons mean the same in both places.
    """
    checks: tuple[Check, ...] = () if preset == "none" else alpaca() if preset == "alpaca" else belle()
    frame = pl.DataFrame({"instruction": list(instructions)}, schema={"instruction": pl.String})
    found: list[tuple[str, Any] | None] = [None] * frame.height
    for check in reversed(checks):
        for row in frame.select(check.when.fill_null(False).alias("when"))["when"].arg_true():
            found[row] = (check.reason, frame[row].select(check.value.alias("value"))["value"][0])
    return found
