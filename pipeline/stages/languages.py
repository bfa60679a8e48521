"""Languages by their BCP 47 tag: what they are called in prompts and how they are written."""

import re

from pipeline.errors import UsageError

NAMES: dict[str, tuple[str, str]] = {
    "ar": ("Arabic", "阿拉伯语"),
    "bg": ("Bulgarian", "保加利亚语"),
    "bn": ("Bengali", "孟加拉语"),
    "ca": ("Catalan", "加泰罗尼亚语"),
    "cs": ("Czech", "捷克语"),
    "da": ("Danish", "丹麦语"),
    "de": ("German", "德语"),
    "el": ("Greek", "希腊语"),
    "en": ("English", "英语"),
    "es": ("Spanish", "西班牙语"),
    "et": ("Estonian", "爱沙尼亚语"),
    "fa": ("Persian", "波斯语"),
    "fi": ("Finnish", "芬兰语"),
    "fr": ("French", "法语"),
    "he": ("Hebrew", "希伯来语"),
    "hi": ("Hindi", "印地语"),
    "hr": ("Croatian", "克罗地亚语"),
    "hu": ("Hungarian", "匈牙利语"),
    "id": ("Indonesian", "印度尼西亚语"),
    "it": ("Italian", "意大利语"),
    "ja": ("Japanese", "日语"),
    "ko": ("Korean", "韩语"),
    "lt": ("Lithuanian", "立陶宛语"),
    "lv": ("Latvian", "拉脱维亚语"),
    "ms": ("Malay", "马来语"),
    "nl": ("Dutch", "荷兰语"),
    "no": ("Norwegian", "挪威语"),
    "pl": ("Polish", "波兰语"),
    "pt": ("Portuguese", "葡萄牙语"),
    "pt-BR": ("Brazilian Portuguese", "巴西葡萄牙语"),
    "ro": ("Romanian", "罗马尼亚语"),
    "ru": ("Russian", "俄语"),
    "sk": ("Slovak", "斯洛伐克语"),
    "sl": ("Slovenian", "斯洛文尼亚语"),
    "sr": ("Serbian", "塞尔维亚语"),
    "sv": ("Swedish", "瑞典语"),
    "sw": ("Swahili", "斯瓦希里语"),
    "ta": ("Tamil", "泰米尔语"),
    "te": ("Telugu", "泰卢固语"),
    "th": ("Thai", "泰语"),
    "tl": ("Tagalog", "他加禄语"),
    "tr": ("Turkish", "土耳其语"),
    "uk": ("Ukrainian", "乌克兰语"),
    "ur": ("Urdu", "乌尔都语"),
    "vi": ("Vietnamese", "越南语"),
    "zh": ("Simplified Chinese", "简体中文"),
    "zh-Hans": ("Simplified Chinese", "简体中文"),
    "zh-Hant": ("Traditional Chinese", "繁体中文"),
    "zh-CN": ("Simplified Chinese", "简体中文"),
    "zh-TW": ("Traditional Chinese as written in Taiwan", "台湾繁体中文"),
    "zh-HK": ("Traditional Chinese as written in Hong Kong", "香港繁体中文"),
}
"""Tag -> its English and its Chinese name."""

SCRIPTS: dict[str, str] = {
    **dict.fromkeys(("zh", "yue"), "han"),
    "ja": "japanese",
    "ko": "hangul",
    **dict.fromkeys(("ru", "uk", "bg", "sr", "be", "mk", "kk", "ky", "mn", "tg"), "cyrillic"),
    **dict.fromkeys(("ar", "fa", "ur", "ps", "ug"), "arabic"),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), "devanagari"),
    "th": "thai",
    "el": "greek",
    "he": "hebrew",
    "ta": "tamil",
    "te": "telugu",
    "bn": "bengali",
}
"""Primary tag -> script, where it is not Latin."""

_RANGES: dict[str, str] = {
    "han": r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",
    "japanese": r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff",
    "hangul": r"\u1100-\u11ff\uac00-\ud7af",
    "cyrillic": r"\u0400-\u052f",
    "arabic": r"\u0600-\u06ff\u0750-\u077f",
    "devanagari": r"\u0900-\u097f",
    "thai": r"\u0e00-\u0e7f",
    "greek": r"\u0370-\u03ff",
    "hebrew": r"\u0590-\u05ff",
    "tamil": r"\u0b80-\u0bff",
    "telugu": r"\u0c00-\u0c7f",
    "bengali": r"\u0980-\u09ff",
    "latin": r"A-Za-z\u00c0-\u024f\u1e00-\u1eff",
}
_LETTERS = {script: re.compile(f"[{letters}]") for script, letters in _RANGES.items()}

_WEIGHTS = (
    (re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"), 3.0),
    (re.compile(r"[\u3040-\u30ff]"), 1.8),
    (re.compile(r"[\uac00-\ud7af]"), 2.2),
)
"""How much text one character carries, in Latin letters: medians over 100 questions in ten languages (LLMZoo's)."""

_TAG = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def require_tag(tag: str) -> None:
    """Raise UsageError unless `tag` looks like a BCP 47 language tag."""
    if not _TAG.fullmatch(tag):
        raise UsageError(f"'{tag}' is not a language tag", "write it as BCP 47 does: zh, de, pt-BR, zh-Hant ...")


def primary(tag: str) -> str:
    """The language without script or region: `zh` of `zh-Hant`."""
    return tag.split("-")[0]


def prompt_tongue(tag: str | None, fallback: str = "en") -> str:
    """Which of our prompts suits a text in this language: `zh` or `en`."""
    if tag is None or tag == "und":
        return fallback
    return "zh" if primary(tag) == "zh" else "en"


def name_of(tag: str, tongue: str) -> str:
    """The language's name in English or Chinese; the tag stands beside a name that does not cover it, or alone."""
    at = 1 if tongue == "zh" else 0
    if tag in NAMES:
        return NAMES[tag][at]
    known = NAMES.get(primary(tag))
    return f"{known[at]} ({tag})" if known else tag


def letters_of(text: str, tag: str) -> int:
    """How many letters of the language's script the text has."""
    return len(_LETTERS[SCRIPTS.get(primary(tag), "latin")].findall(text))


def weight(text: str) -> float:
    """How much text this is, counted in Latin letters, so that lengths compare across scripts."""
    bare = "".join(text.split())
    return len(bare) + sum((share - 1) * len(pattern.findall(bare)) for pattern, share in _WEIGHTS)
