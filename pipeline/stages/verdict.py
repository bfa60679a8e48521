"""A judge's reply: the number on its first line, or why there is none."""

import re
import unicodedata
from dataclasses import dataclass

LOWEST, HIGHEST = 0.0, 5.0
"""AlpaGasus' scale (Chen et al., 2023)."""

_LABEL = r"(?:(?:final\s+|overall\s+)?(?:score|rating|grade|mark)|评分|得分|分数|打分)"
_LINE = re.compile(
    rf"(?:{_LABEL}\s*(?::|=|为|是)\s*)?(?P<number>[+-]?\d{{1,4}}(?:\.\d{{1,3}})?)\s*(?:/\s*(?P<top>\d{{1,3}})(?:\.0)?|分)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class NoVerdict:
    """Why a reply gives no score: `empty`, `cut off`, `no number on the first line` or `out of range`."""

    why: str


def read_verdict(reply: str, *, cut_off: bool = False) -> float | NoVerdict:
    """The score in a judge's reply.

    The first line that is not blank must be a number alone: `4`, `4.5`. Accepted around it are a label (`Score: 4.5`,
    `评分：4`), the scale's end (`4.5/5`), `分`, and the marks of bold or code (`**4.5**`); full-width characters count
    as their ordinary forms. Two numbers, words, a range, a decimal comma or another scale's end (`8/10`) are no score.

    Args:
        cut_off: the reply ended at max_tokens, so that its last line may be half a number.
    """
    lines = reply.strip().splitlines()
    if not lines:
        return NoVerdict("cut off" if cut_off else "empty")
    if cut_off and len(lines) == 1:
        return NoVerdict("cut off")
    match = _LINE.fullmatch(unicodedata.normalize("NFKC", lines[0]).replace("*", "").replace("`", "").strip())
    if match is None or (match["top"] is not None and float(match["top"]) != HIGHEST):
        return NoVerdict("no number on the first line")
    score = float(match["number"]) + 0.0  # never minus zero
    if not LOWEST <= score <= HIGHEST:
        return NoVerdict("out of range")
    return score
