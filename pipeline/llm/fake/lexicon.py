"""Pseudo-translation: words become words of the target language by their hash; what must not change does not."""

import re
import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

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
_SCRIPTS = {
    "ja": re.compile(r"[\u3040-\u30ff]"),
    "ko": re.compile(r"[\uac00-\ud7af]"),
    "hi": re.compile(r"[\u0900-\u097f]"),
    "ar": re.compile(r"[\u0600-\u06ff]"),
    "zh": re.compile(r"[\u3400-\u9fff]"),
}


@cache
def lexicon() -> dict[str, list[str]]:
    """Words of each language that the fake can pretend to write: frequent ones, the longer ones also with endings."""
    words: dict[str, Any] = read_data("lexicon.yaml")
    endings = words.pop("endings")
    for code, own in words.items():
        long = [word for word in own if len(word) >= (2 if code == "hi" else 4)]
        words[code] = list(dict.fromkeys([*own, *(word + ending for ending in endings.get(code, ()) for word in long)]))
    return words


def language_of(text: str) -> str:
    """The language of the lexicon that the text seems to be in: by script, else by words; English if in doubt."""
    letters = sum(map(str.isalpha, text))
    for code, script in _SCRIPTS.items():
        if letters and len(script.findall(text)) > 0.3 * letters:
            return code
    found = re.findall(r"[^\W\d_]+", text.lower())
    counts = {code: sum(word in known for word in found) for code, known in _vocabulary().items()}
    best = max(counts, key=lambda code: counts[code])
    return best if counts[best] > max(counts["en"], 0.5 * len(found)) else "en"


@cache
def _vocabulary() -> dict[str, frozenset[str]]:
    spaced = {code: words for code, words in lexicon().items() if code not in _SCRIPTS}
    return {code: frozenset(" ".join(words).lower().split()) for code, words in spaced.items()}


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
