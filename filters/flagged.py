"""Words of pornographic and gambling spam, forbidden trade and abuse."""

import polars as pl

from filters.check import Check

WORDS_EN = (
    "porn porno hardcore xxx nude nudes milf blowjob blowjobs handjob cum cumshot slut sluts whore whores cunt tits "
    "boobs "
    "dildo anal orgy camgirl camgirls escort escorts sexting bitch bitches fuck fucks fucking fucked fucker "
    "motherfucker "
    "shit bullshit asshole dickhead wanker faggot nigger retard casino casinos jackpot slots betting viagra cialis"
)
WORDS_ZH = (
    "黄片 色情 成人电影 成人网站 成人视频 无码 一本道 激情视频 裸聊 裸照 约炮 一夜情 找小姐 上门服务 全套服务 包夜 "
    "援交 口交 肛交 "
    "操你妈 他妈的 你他妈 傻逼 煞笔 贱人 婊子 王八蛋 狗娘养 六合彩 百家乐 真人荷官 博彩 彩金 赌场 时时彩 老虎机 "
    "代开发票 办证刻章 "
    "迷药 冰毒出售 枪支弹药 枪支出售 加微信 私聊加"
)
"""Our own choice: what spam and abuse are made of. A single one means nothing, hence the share."""

_LETTERS = r"[\p{L}\p{M}]"


def flagged(
    max_ratio: float = 0.045,
    min_hits: int = 3,
    words: tuple[str, ...] = (),
) -> tuple[Check, ...]:
    """Object when flagged words make up too large a share of the conversation.

    After Data-Juicer's and FlagData's flagged-words ratio and TigerBot's rule a, with two differences: the share is of
    letters, so that Chinese needs no segmentation, and a single word, however often, is not enough, since the law, the
    news and novels use them all.

    Args:
        max_ratio: largest share of the letters that may stand in flagged words (both filters publish 0.045).
        min_hits: fewest occurrences that count; from 2 on they must be of two words at least.
        words: further words; those of Latin letters are matched whole, in any case.
    """
    own = tuple(word.lower() for word in words)
    latin = [*WORDS_EN.split(), *(word for word in own if word.isascii())]
    other = [*WORDS_ZH.split(), *(word for word in own if not word.isascii())]
    # ASCII rules for \b and for case: ten times as fast, and the words are ASCII.
    pattern = rf"(?i-u:\b(?:{'|'.join(map(_escaped, latin))})\b)|{'|'.join(map(_escaped, other))}"
    text = pl.col("text")
    found = text.str.extract_all(pattern)
    share = found.list.join("").str.len_chars() / text.str.count_matches(_LETTERS)
    kinds = found.list.eval(pl.element().str.to_lowercase()).list.n_unique()
    hits, ratio = pl.col("flagged_hits"), pl.col("flagged_ratio")
    gate = text.str.contains_any([*latin, *other], ascii_case_insensitive=True)
    return (
        Check(
            reason="flagged-words",
            field="text",
            when=(hits >= min_hits) & (pl.col("flagged_kinds") >= min(2, min_hits)) & (ratio > max_ratio),
            value=found.list.unique(maintain_order=True),
            gate=gate,
            measured={"flagged_hits": found.list.len(), "flagged_kinds": kinds, "flagged_ratio": share},
            scope="record",
        ),
    )


def _escaped(word: str) -> str:
    return "".join(c if c.isalnum() or c == " " else "\\" + c for c in word)
