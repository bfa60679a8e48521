"""Pseudo-translation: words become words of the target language by their hash; what must not change does not."""

import re
import zlib
from collections.abc import Iterable, Sequence
from functools import cache

from pipeline.llm.fake.answer import sentences
from pipeline.llm.fake.cue import Cue
from pipeline.llm.fake.grammar import read_data

PROTECTED = re.compile(
    r"```.*?(?:```|\Z)"  # code fences
    r"|^[ \t]*(?:[-*+>]|#+|\d+[.)])[ \t]+"  # list markers and headings
    r"|`[^`\n]+`"
    r"|⟦\d+⟧"  # a caller's placeholders
    r"|\{\{?[^{}\n]*\}\}?|<[^<>\n]{1,80}>"
    r"|(?:https?://|www\.)[!#-&*-;=?-~]*[#-&*+/-9=?-~-]"  # ASCII, and no full stop at the end
    r"|[A-Za-z0-9_.+-]+@[A-Za-z0-9-]+\.[A-Za-z0-9.]*[A-Za-z0-9]"
    r"|\$\$?[^$\n]+\$\$?|\\\(.+?\\\)|\\\[.+?\\\]|\\[A-Za-z]+"  # LaTeX
    r"|\d+(?:[.,:/]\d+)*%?",
    re.DOTALL | re.MULTILINE,
)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|[ \t]+|[.,;:?!()。，；：？！（）、]|.", re.DOTALL)
_HAN_WORD = re.compile(r"[\u3400-\u9fff]{1,2}")
_WIDE = dict(zip(".,;:?!()", "。，；：？！（）", strict=True))
_NARROW = {wide: f"{narrow} " for narrow, wide in _WIDE.items() if narrow != "("} | {"（": " (", "、": ", "}
_UNSPACED = ("zh", "ja")
_NAMES = {
    "zh": r"zh(?:-\w+)?|Simplified Chinese|Traditional Chinese|Chinese|Mandarin|简体中文|繁体中文|中文|汉语",
    "en": r"English|英语|英文",
    "es": r"Spanish|西班牙语",
    "fr": r"French|法语",
    "de": r"German|德语",
    "it": r"Italian|意大利语",
    "pt": r"Portuguese|葡萄牙语",
    "ru": r"Russian|俄语",
    "ar": r"Arabic|阿拉伯语",
    "ja": r"Japanese|日语|日文",
    "ko": r"Korean|韩语|韩文",
}
_TARGET = re.compile(
    r"(?:\b(?:in)?to\s|\bin\s|译成|译为|翻成|翻译到|目标语言[:：]?|target language:?)\s*[\"'“*]*"
    + "(?:"
    + "|".join(f"(?P<{code}>{names})" for code, names in _NAMES.items())
    + r")(?![a-z])",
    re.IGNORECASE,
)


@cache
def lexicon() -> dict[str, list[str]]:
    """Frequent words of each language that the fake can pretend to write."""
    words: dict[str, list[str]] = read_data("lexicon.yaml")
    return words


def translate(cue: Cue) -> str:
    """The text at hand in the words of language `to`, or of the one that the prompt names (Chinese when it names none).

    Faults at the stated shares: `answered` (the text was taken for a question), `dropped_placeholder`, `untranslated`,
    `preamble`, `empty`.
    """
    slip, text = cue.slip(), cue.text
    if slip in ("untranslated", "empty"):
        return text if slip == "untranslated" else ""
    to = cue.params.get("to") or named_language(cue.question.whole) or "zh"
    if slip == "answered":
        return sentences(cue, 30) if to == cue.tongue else translated(sentences(cue, 30), to)
    if slip == "dropped_placeholder":
        text = PROTECTED.sub("", text, count=1)
    done = translated(text, to)
    return f"{cue.grammar.sentence('preamble', cue.dice)}\n{done}" if slip == "preamble" else done


def named_language(prompt: str) -> str | None:
    """The language that the prompt asks to translate into: the first one named after such a word."""
    match = _TARGET.search(prompt)
    return match.lastgroup if match else None


def translated(text: str, to: str) -> str:
    """Every word exchanged for one of the language `to`; protected spans, line breaks and numbers stay."""
    words, end, parts = lexicon()[to], 0, []
    for span in PROTECTED.finditer(text):
        parts += [_plain(text[end : span.start()], words, to), span[0]]
        end = span.end()
    parts.append(_plain(text[end:], words, to))
    return "".join(parts) if to in _UNSPACED else _spaced(parts)


def _spaced(parts: Iterable[str]) -> str:
    """The parts joined, with a space where two words would run together."""
    text = ""
    for part in parts:
        text += f" {part}" if text and part and text[-1].isalnum() and part[0].isalnum() else part
    return text


def _plain(text: str, words: Sequence[str], to: str) -> str:
    """A stretch without protected spans; Chinese keeps a space only where the stretch begins or ends with one."""
    done = "".join(_piece(piece, words, to) for piece in _WORD.findall(text))
    if to not in _UNSPACED or not done:
        return done
    return f"{' ' if text[0] == ' ' else ''}{done}{' ' if text[-1] == ' ' else ''}"


def _piece(piece: str, words: Sequence[str], to: str) -> str:
    if piece[0].isalpha():
        if not _HAN_WORD.match(piece):
            return _word(piece, words)
        found = [_word(pair, words) for pair in _HAN_WORD.findall(piece)]
        return "".join(found) if to in _UNSPACED else " ".join(found)
    if to in _UNSPACED:
        return "" if piece.isspace() and "\n" not in piece else _WIDE.get(piece, piece)
    return _NARROW.get(piece, piece)


def _word(source: str, words: Sequence[str]) -> str:
    chosen = words[zlib.crc32(source.lower().encode("utf-8", "surrogatepass")) % len(words)]
    return chosen.capitalize() if source[0].isupper() else chosen
