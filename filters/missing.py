"""References to an image, file or page that a text model does not have."""

import polars as pl

from filters.absent import ENDS_IN_A_LINK, HINTS, HINTS_ZH, ONLY_A_LINK, READ_IT, TEXT_ASKED, TEXT_ASKED_ZH, TOLD
from filters.check import Check, any_of, asks, matching

IMAGE_IN_PROMPT = any_of(
    r"!\[[^\]\n]*\]\(http[^)\n]*",
    r"^\s*(?:<noinput>\s*)?<img ?src=[^<>]*>\s*$",
    r"<image:[^>\n]*",
    r"(?:^|\n)image:\s*https?:",
)
"""AlpacaDataCleaned's image pattern (`![..](http`, `img src=`, `image:`; 39 inputs of alpaca_data.json) without the
HTML pages and container files that only look like it."""

IMAGE_NOT_SENT = r"!\[[^\]\n]*\](?:\[\d+\]|\((?:attachment|file|cid):[^)\n]*\))"
"""An image of a document whose attachments were lost."""

IMAGE_IN_ANSWER = r"!\[[^\]\n]*\]\(https?://[^)\n]*\)"

_PICTURE = any_of(
    r"(?:images?|pictures?|photos?|photographs?|paintings?|drawings?|sketch|cartoon|comic strip|screenshots?|"
    r"diagram|flow ?chart|pie chart|bar chart|bar graph|line graph|chart|artworks?|pieces? of art|works? of art|"
    r"graphic|video(?: clip)?|audio(?: clip| file)?|recording)\b"
)
_KIND = r"(?:[a-z]+ ){0,2}?"
_AFTER = r"(?:[.?!:]|$| and\b| in\b| into\b| using\b| below\b)"
PICTURE_ASKED = "(?i)" + any_of(
    rf"\b(?:this|these|attached|accompanying) {_KIND}{_PICTURE}{_AFTER}",
    rf"\b(?:(?:following|provided) {_KIND}|given (?:political )?){_PICTURE}(?:{_AFTER}|, )",
    rf"\bthe {_KIND}{_PICTURE} (?:below|above|provided|attached|shown)\b",
    rf"^given (?:an?|this|the) {_PICTURE},",
    r"^(?:describe|identify|name|count|list|find|recogni[sz]e|guess|classify|label|what|who|where|how many)\b[^.?!]*"
    r"\bin the (?:image|picture|photo|photograph|screenshot)[.?!]?$",
)
"""An instruction that speaks of a picture as if it lay there."""

_IMAGE_HINTS = ("![", "<img", "image:")
_PICTURE_HINTS = (
    *(
        "image",
        "picture",
        "photo",
        "painting",
        "drawing",
        "sketch",
        "cartoon",
        "comic",
        "screenshot",
        "diagram",
        "chart",
    ),
    *("graph", "artwork", "of art", "video", "audio", "recording"),
)
_PICTURE_HINTS_ZH = ("图", "画", "照", "片", "视频", "音频", "录音")
"""What every match of the patterns of pictures holds."""

_PICTURE_ZH = r"(?:图片|图像|照片|相片|插图|截图|油画|画作|漫画|视频|音频|录音)"
PICTURE_ASKED_ZH = any_of(
    r"(?:如|见)(?:下|上|附)?图(?:所示|中)?",
    r"(?:这|此|该|给定的?|提供的|以下|下列|下面的?|附上的|上传的|所附)一?[张幅段副]?的?" + _PICTURE_ZH,
    r"(?:根据|观察|看看?|分析|描述)(?:一下)?[下上](?:面的?)?图",
    r"(?:^|[^\p{Han}]|下面|以下|描述|分析|评价|根据|观察|给|为|看|对|从)[这此][张幅][图画](?:[片画像]|[，。？！：]|$|中|里|上)",
    r"(?:以下|下面)的?(?:gif|动)图|^看图(?:写话|说话|作文)",
    r"^(?:描述|识别|说出|判断|数一数)(?:一下)?[图照]片[中里上]的",
)

ATTACHED = "(?i)" + any_of(
    r"\b(?:in|see|open|read|review|from|to) the attach(?:ed|ment)\b",
    r"\bthe attached (?:file|document|spreadsheet|pdf|text|article|csv|report|table|data(?:set)?|excel)",
    r"(?:见|在|根据|参考|阅读|打开|查看|下载|分析)(?:所附|附件|随附)",
    r"(?:随附|附加|所附)的?(?:文件|文档|表格|附件|资料|报告|数据)",
)

FIGURE_IN_ANSWER = "(?i)" + any_of(
    r"\b(?:as (?:shown|seen|illustrated|depicted)|shown|see) in (?:the )?"
    r"(?:figure|image|picture|photo|diagram|illustration)(?: (?:below|above|\d+))?\b",
    r"\bsee the (?:figure|image|picture|photo|diagram|illustration) (?:below|above)\b",
    r"(?:如|见)[下上附右左]图(?:所示)?",
    r"如图\s?\d*\s?所示",
    r"(?:请|可)?参[见考看阅]附件",
)

URL = r"https?://[^\s<>\"'`）)\]，。；]+"
EXAMPLE_URL = r"https?://(?:[a-z0-9\-]+\.)*(?:example\.(?:com|org|net)|localhost|127\.0\.0\.1|your[a-z\-]*\.[a-z]+)"
"""Addresses that stand for any address."""


def missing(
    image: bool = True,
    attachment: bool = True,
    figure: bool = True,
    text: bool = True,
    link: bool = True,
    url: bool = False,
) -> tuple[Check, ...]:
    """Object to questions about something that is not there, and to answers that show it all the same.

    Args:
        image: images linked in a question or an answer, and questions about a picture that is not given.
        attachment: questions about an attached file.
        figure: answers that point at a figure.
        text: first questions about a text, code or list that is not given ("the following code", "这篇文章").
        link: questions about the content of a page of which only the address is given.
        url: answers that give an address which the question does not (most of them do not exist, says
            AlpacaDataCleaned); off by default, since addresses of well-known sites are often right.
    """
    bare = (pl.col("input").str.strip_chars() == "") & (pl.col("turn") == 0)
    short = pl.col("instruction").str.len_chars() <= 200
    code = pl.col("output").str.contains("```|`!\\[")
    checks: list[Check] = []
    if image:
        checks += _images(bare & short, short, code)
    if attachment:
        checks.append(matching("missing-attachment", "instruction", ATTACHED, given=bare & short))
    if figure:
        shown = code | asks(r"(?i)figure|image|picture|photo|diagram|illustrat|screenshot|[图圖]|附件")
        checks.append(matching("missing-figure", "output", FIGURE_IN_ANSWER, given=~shown))
    if text:
        lacking = bare & short & ~pl.col("instruction").str.contains(TOLD)
        checks.append(matching("missing-text", "instruction", TEXT_ASKED, given=lacking, hints=HINTS))
        checks.append(matching("missing-text", "instruction", TEXT_ASKED_ZH, given=lacking, hints=HINTS_ZH))
    if link:
        checks += _links(bare)
    if url:
        checks.append(_invented())
    return tuple(checks)


def _images(lacking: pl.Expr, short: pl.Expr, code: pl.Expr) -> list[Check]:
    told = pl.col("instruction").str.contains(r"\n|\d.*\d.*\d|[\"“《「]|https?:|[:：]\s*\S")
    off_topic = asks(r"(?i)markdown|\burl\b")
    return [
        matching("image-in-question", "input", IMAGE_IN_PROMPT, hints=_IMAGE_HINTS),
        matching("image-in-question", "instruction", IMAGE_IN_PROMPT, given=short, hints=_IMAGE_HINTS),
        matching("image-in-answer", "output", IMAGE_IN_ANSWER, given=~(code | off_topic), hints=_IMAGE_HINTS),
        matching("missing-image", "input", IMAGE_NOT_SENT, hints=_IMAGE_HINTS),
        matching("missing-image", "instruction", PICTURE_ASKED, given=lacking & ~told, hints=_PICTURE_HINTS),
        matching("missing-image", "instruction", PICTURE_ASKED_ZH, given=lacking & ~told, hints=_PICTURE_HINTS_ZH),
    ]


def _links(bare: pl.Expr) -> list[Check]:
    about = pl.col("instruction").str.contains(READ_IT) & ~pl.col("instruction").str.contains(
        r"(?i)\b(?:html|css|link|hyperlink|url)\b"
    )
    return [
        matching("link-in-question", "input", ONLY_A_LINK, given=about, hints=("http",)),
        matching("link-in-question", "instruction", ENDS_IN_A_LINK, given=bare, hints=("http",)),
    ]


def _invented() -> Check:
    given = pl.concat_str("instruction", "input", separator="\n")
    address = pl.col("output").str.replace_all(EXAMPLE_URL, "").str.extract(URL, 0)
    return Check(
        reason="invented-url",
        field="output",
        when=address.is_not_null() & ~given.str.contains(address, literal=True),
        value=address,
        gate=pl.col("output").str.contains("http", literal=True),
    )
