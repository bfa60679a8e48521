"""Replies to "translate this"."""

import re

from pipeline.llm.fake.answer import sentences
from pipeline.llm.fake.cue import Cue
from pipeline.llm.fake.lexicon import lexicon, translated
from pipeline.llm.fake.question import Objection

_NAMES = {
    "zh": "zh|Chinese|Mandarin|中文|汉语",
    "en": "en|English|英语|英文",
    "es": "es|Spanish|西班牙语",
    "fr": "fr|French|法语",
    "de": "de|German|德语",
    "it": "it|Italian|意大利语",
    "pt": "pt|Portuguese|葡萄牙语",
    "nl": "nl|Dutch|荷兰语",
    "sv": "sv|Swedish|瑞典语",
    "pl": "pl|Polish|波兰语",
    "cs": "cs|Czech|捷克语",
    "tr": "tr|Turkish|土耳其语",
    "vi": "vi|Vietnamese|越南语",
    "id": "id|Indonesian|印度尼西亚语",
    "ru": "ru|Russian|俄语",
    "uk": "uk|Ukrainian|乌克兰语",
    "ar": "ar|Arabic|阿拉伯语",
    "hi": "hi|Hindi|印地语",
    "ja": "ja|Japanese|日语|日文",
    "ko": "ko|Korean|韩语|韩文",
}
_NAME = re.compile(
    "|".join(rf"(?P<{code}>(?<![A-Za-z])(?:{names})(?![A-Za-z]))" for code, names in _NAMES.items()), re.IGNORECASE
)
_ASKED = re.compile(r"\b(?:in)?to\s+([A-Z]\S+(?: [A-Z]\S+)?)|(?:译成|译为|翻成|翻译到|目标语言[:：]?)\s*(\S{2,12})")
_PLACEHOLDER = re.compile(r"⟦\d+⟧")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def translate(cue: Cue) -> str:
    """The text at hand in the words of language `to`, or of the one that the prompt names (Chinese when it names none).

    Faults at the stated shares, drawn for each piece: `answered` (it was taken for a question), `dropped_placeholder`
    (or a number, where there is none), `untranslated`, `preamble`, `empty`.

    Raises:
        Objection: the prompt names a language of which the fake has no words.
    """
    to, text, params = target(cue), cue.text, cue.params
    if "each" in params:
        text = re.compile(params["each"], re.DOTALL | re.MULTILINE).sub(lambda m: _put(m, _piece(cue, m[1], to)), text)
    else:
        text = _piece(cue, text, to)
    return re.sub(params["without"], "", text) if "without" in params else text


def target(cue: Cue) -> str:
    """Code of the language to translate into."""
    if "to" in cue.params:
        return str(cue.params["to"])
    if "to_in" not in cue.params:
        return named_language(cue.question.whole) or "zh"
    asked = re.search(cue.params["to_in"], cue.question.whole)
    code = code_of(next(filter(None, asked.groups()), "")) if asked else "zh"
    if code is None:
        known = ", ".join(lexicon())
        raise Objection(400, f"the fake provider has no words of the language asked for; it knows {known}")
    return code


def code_of(name: str) -> str | None:
    """The code of a language by a name that holds its usual one, or its code: `Brazilian Portuguese`, `zh-Hant`."""
    match = _NAME.search(name)
    return match.lastgroup if match else None


def named_language(prompt: str) -> str | None:
    """The language that the prompt asks to translate into: the first one named after a word such as `into`."""
    codes = (code_of(match[1] or match[2]) for match in _ASKED.finditer(prompt))
    return next((code for code in codes if code), None)


def _put(match: re.Match[str], piece: str) -> str:
    """The whole match with the piece in the place of its first group."""
    start, end = match.start(1) - match.start(), match.end(1) - match.start()
    return match[0][:start] + piece + match[0][end:]


def _piece(cue: Cue, text: str, to: str) -> str:
    slip = cue.slip()
    if slip in ("untranslated", "empty"):
        return text if slip == "untranslated" else ""
    if slip == "answered":
        return translated(sentences(cue, 30, about=text), to)
    if slip == "dropped_placeholder":
        text = (_PLACEHOLDER if _PLACEHOLDER.search(text) else _NUMBER).sub("", text, count=1)
    done = translated(text, to)
    return f"{cue.grammar.sentence('preamble', cue.dice)}\n{done}" if slip == "preamble" else done
