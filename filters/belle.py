"""BELLE's rules for a generated record."""

import polars as pl

from filters.check import Check

BLOCKED = (
    "图像 图片 照片 文件 图表 图层 曲线图 折线图 直线图 柱形图 饼状图 链接 http OpenAI chatgpt gpt-3 gpt-3.5 gpt-4"
)
_ADDRESSED = r"(?:请|要求|希望|需要|让)\s*(?:该|这个)?\s*GPT\s?(?:语言)?(?:模型)?(?:能够|能|可以)?"
"""Ways of addressing the model, which BELLE deletes from an instruction before it looks for "GPT"."""


def belle(min_chars: int = 4, max_chars: int = 99, max_chars_with_examples: int = 149) -> tuple[Check, ...]:
    """Object to what BELLE's generate_instruction.py drops; made for Chinese.

    A listed word anywhere in the record, its letters as they are written; an instruction of three characters or fewer;
    "GPT" in instruction or input where it does not merely address the model; a long instruction beside an input, where
    one that mentions examples may be longer.

    Args:
        min_chars: fewest characters of an instruction.
        max_chars: most characters of an instruction that has an input.
        max_chars_with_examples: the same where it mentions examples.
    """
    instruction, size = pl.col("instruction"), pl.col("instruction").str.len_chars()
    text = pl.concat_str("instruction", "input", "output", separator="\n")
    found = text.str.extract_many(BLOCKED.split())
    asked = pl.concat_str("instruction", "input", separator="\n").str.replace_all(_ADDRESSED, "")
    limit = (
        pl.when(instruction.str.contains("示例|例子"))
        .then(pl.lit(max_chars_with_examples))
        .otherwise(pl.lit(max_chars))
    )
    beside = (pl.col("input") != "") & (size > limit)
    return (
        Check(reason="belle-blocked-word", field="text", when=found.list.len() > 0, value=found.list.first()),
        Check(reason="belle-length", field="instruction", when=(size < min_chars) | beside, value=size),
        Check(
            reason="belle-model",
            field="instruction",
            when=asked.str.contains("GPT", literal=True),
            value=asked.str.extract(r"(.{0,20}GPT.{0,20})", 0),
        ),
    )
