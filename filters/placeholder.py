"""Stand-ins for a text that nobody wrote: "N/A", "<no output>", "[insert text here]", "<一段文本>", "[图画]"."""

import polars as pl

from filters.check import Check, any_of, matching

NOTHING = any_of(
    r"n\s?/\s?a",
    r"no ?inputs?",
    r"no ?outputs?(?: (?:is |was )?(?:required|needed|expected|possible|available|provided|necessary))?",
    r"not applicable",
    r"不适用|不適用|无输入|无输出|没有输出|暂无输出|無輸入|無輸出",
)
MEDIA = any_of(
    r"\b(?:images?|pictures?|photos?|photographs?|paintings?|drawings?|sketch(?:es)?|cartoons?|comics?|logos?|posters?|"
    r"infographics?|graphics?|graphs?|charts?|figures?|diagrams?|screenshots?|videos?|audio|recordings?|animations?|"
    r"presentations?|attachments?|files?|maps?|designs?|patterns?|slides?)\b",
    r"(?:[插动附地截]图|图[片画像表标]|照片|截图|海报|视频|音频|录音|附件)",
)
TEXT = any_of(
    r"\b(?:texts?|corpus|paragraphs?|passages?|articles?|essays?|documents?|story|stories|poems?|links?|urls?|tables?|"
    r"datasets?|data|e-?mails?|lyrics|names?|quotes?|reviews?|transcripts?|scripts?|songs?|sentences?|product|topic)\b",
    r"(?:文本|文章|段落|句子|链接|网址|数据表|表格|数据集|一段话|歌词|代码|内容)",
)
_LEAD = r"(?:(?:insert|your|the|an?|given|some|sample|attached|paste|enter|add|input:?|link to|url (?:of|to))\s+)*"
_WORDS = r"[^\[\]<>(){}（）【】\"“”=/\\,，。;；\n]"
_OPEN, _CLOSE = r"[\[<({（【]\s*", r"\s*[\]>)}）】]\W*$"

OUTPUT = "(?i)" + any_of(
    rf"^\W*{NOTHING}\W*$",
    r"^\W*no ?output\b[^<>\n]{0,80}>\W*$",
    rf"^[\[<(（【]\s*(?:insert|attached?)\s{_WORDS}{{1,80}}{_CLOSE}",
    rf"^[\[(（【]\s*{_WORDS}{{0,60}}{MEDIA}{_WORDS}{{0,80}}{_CLOSE}",
    rf"^<\s*{_WORDS}{{0,60}}[\s/\p{{Han}}]{MEDIA}{_CLOSE}",
    rf"^<\s*{MEDIA}[\s/\p{{Han}}]{_WORDS}{{0,80}}{_CLOSE}",
    r"^[\[【][^\[\]【】\n]{0,30}(?:图片|图像|照片|海报|截图|插图|标志图)[^\[\]【】\n]{0,100}[\]】]\s*$",
)
"""A whole answer. An angle-bracketed single word is left alone: it may be the tag that was asked for."""

INPUT = "(?i)" + any_of(
    rf"^\W*{_OPEN}{_LEAD}{any_of(MEDIA, TEXT)}{_WORDS}{{0,80}}{_CLOSE}",
    rf"^\W*{_OPEN}{_WORDS}{{0,40}}\b(?:attached|provided|here|image|photo|picture|url|link){_CLOSE}",
    rf"^\W*{_OPEN}[\p{{Han}}A-Za-z\d ]{{0,30}}{any_of(MEDIA, TEXT)}{_CLOSE}",
    rf"^\W*attached {any_of(MEDIA, TEXT)}\W*$",
    r"^\s*[\[<(【][\w \-]{1,40}\.(?:jpe?g|png|gif|bmp|webp|svg|mp3|mp4|wav|avi|mov|pdf|docx?|xlsx?|csv|"
    r"pptx?)[\]>)】]\s*$",
    r"^\s*(?:[\[【](?:插|附)?[图表]\s?\d{0,2}[\]】]\s*)+$",
)
"""A whole input."""


def placeholder() -> tuple[Check, ...]:
    """Object to an answer or an input that is only a stand-in (AlpacaDataCleaned's "N/A outputs", TigerBot's rule b).

    "None" and "null" are answers; "N/A" is one when the question names it.
    """
    named = pl.col("instruction").str.contains(r"(?i)\bn/a\b|not applicable|不适用")
    return (
        matching("placeholder-output", "output", OUTPUT, given=~named),
        matching("placeholder-input", "input", INPUT),
    )
