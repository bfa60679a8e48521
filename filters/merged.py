"""Several generated records run together in one answer."""

from filters.check import Check, any_of, matching

MERGED = any_of(
    r"\d{1,2}\.\sInstruction:",
    r"(?:^|\n)[^\S\n]*\d{1,2}[.、．)）][^\S\n]*指令[^\S\n]*[:：]",
    r"(?s)\n\d{1,2}[.、．)）]\s?(?:说明|指示|任务)[:：].*\n\d{1,2}[.、．)）]\s?(?:输入|输出)[:：]",
)


def merged() -> tuple[Check, ...]:
    """Object to an answer that goes on with the next numbered record of the generating prompt.

    The English pattern is AlpacaDataCleaned's; alpaca_data.json has 37 such outputs. The Chinese one is its
    counterpart for prompts in BELLE's manner.
    """
    return (matching("merged-record", "output", MERGED),)
