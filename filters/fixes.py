"""Mending texts: what is done to a text, and to which texts of a record."""

import html
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from filters.check import any_of
from filters.markup import blank_lines, html_to_markdown, model_address, page_remnants
from filters.personal import KINDS, mask

WRITTEN = ("system", "user", "assistant", "input")
"""Texts that people or models wrote; what a tool returned is left as it was."""


@dataclass(frozen=True, slots=True)
class Fix:
    """One mending.

    Attributes:
        mend: the new text of a text; a text that comes back equal was not in need of it.
        places: the roles whose messages are mended, and "input" for the record's input.
    """

    mend: Callable[[pl.Expr], pl.Expr]
    places: tuple[str, ...] = WRITTEN


NO_INPUT = r"(?i)^\s*(?:[\[(<]?no ?input[\])>.]?|[\[(<（【]?(?:无|無|没有|沒有|无需|無需)输?輸?入[\])>.）】。]?)\s*$"
"""AlpacaDataCleaned's pattern held to the whole field (546 inputs of alpaca_data.json; anywhere it hits 654, some of
them legitimate text), and its Chinese spellings."""

NO_INPUT_PHRASE = (
    r"(?i)^[\s<>\[\](){}\"'`\\:.*（【]*"
    r"(?:no ?inputs?(?: (?:is |was )?(?:required|needed|necessary|provided|given|available))?|n ?/ ?a|not applicable|"
    r"无需(?:任何)?输入|不需要输入|没有输入|不适用|無需輸入|不適用)"
    r"[\s<>\[\](){}\"'`\\:.,*?）】。]*(?:\n\d{1,2}\.?\s*)?$"
)
"""Further spellings of the same: quoted, escaped, "No input required.", "N/A", with the next record's number."""


def no_input(text: pl.Expr) -> pl.Expr:
    """Empty a field that only says that there is no input."""
    return pl.when(text.str.contains(NO_INPUT)).then(pl.lit("")).otherwise(text)


def no_input_phrase(text: pl.Expr) -> pl.Expr:
    """Empty a field that says so in other words."""
    return pl.when(text.str.contains(NO_INPUT_PHRASE)).then(pl.lit("")).otherwise(text)


_CONTROLS = r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u{ad}\u{200b}\u{2060}\u{feff}\u{fffc}]"
_LINE_ENDS = r"\r\n?|[\x0b\x0c\x{85}\u{2028}\u{2029}]"
_SPACES = r"[\u{a0}\u{2000}-\u{200a}\u{202f}\u{205f}]"
_MISREAD = {mark.encode().decode("latin-1"): mark for mark in "‘’“”–—…•"}
"""Punctuation whose UTF-8 bytes were read as Latin-1."""
_UNESCAPED = {
    r"\x07(lpha|pprox|ngle)\b": r"\a${1}",
    r"\x08(egin|eta|ar|inom|oxed|igl?|mod|ullet)\b": r"\b${1}",
    r"\x0c(rac|orall|lat|rown)\b": r"\f${1}",
    r"\x0b(ec|ert|arepsilon|arphi|dots)\b": r"\v${1}",
}
"""LaTeX commands whose backslash was taken for an escape: `\\frac` became a form feed and "rac"."""


def control_characters(text: pl.Expr) -> pl.Expr:
    """Remove what shows nothing, make line ends and spaces plain, and undo the commonest misreadings of bytes.

    Emoji joiners, direction marks and the ideographic space have their uses and stay.
    """
    odd = text.str.contains(r"[^\t\n\x20-\x7e]")
    plain = text.str.replace_many(_MISREAD)
    for pattern, command in _UNESCAPED.items():
        plain = plain.str.replace_all(pattern, command)
    for pattern, character in ((_LINE_ENDS, "\n"), (_SPACES, " "), (_CONTROLS, "")):
        plain = plain.str.replace_all(pattern, character)
    return pl.when(odd).then(plain).otherwise(text)


_LITERAL_BREAK = r"(?:[.!?:;,。！？：；，]|\\n)\s*\\n"
_OTHER_BACKSLASH = r"\\(?:[^nt\"]|$)|\\[nt][a-z]"
_ABOUT_ESCAPES = (
    r"(?i)```|[\"'`]\\|\\n[\"'`]|printf|print|console|regex|string|escape|new-?line|backslash|line ?break|\$|换行|"
    r"转义|正则|字符串|反斜杠|編碼"
)


def literal_escapes(text: pl.Expr) -> pl.Expr:
    r"""Turn a literal `\n` or `\t` into what it stands for, in prose that was escaped once too often.

    Only in texts without a real line break, without code, formulas or other backslashes, where the escape follows an
    end mark; "use \n to break a line" stays as it is.
    """
    escaped = text.str.contains(r"\\n") & text.str.contains(_LITERAL_BREAK)
    other = text.str.contains("\n", literal=True) | text.str.contains(any_of(_OTHER_BACKSLASH, _ABOUT_ESCAPES))
    mended = text.str.replace_many({r"\n": "\n", r"\t": "\t", r"\"": '"'})
    return pl.when(escaped & ~other).then(mended).otherwise(text)


_ENTITY_NAMES = (
    "lt gt amp quot apos nbsp #39 #34 #38 #60 #62 #x27 #x2F #x22 ldquo rdquo lsquo rsquo mdash ndash hellip middot "
    "copy reg trade deg"
)
_ENTITIES = {f"&{name};": html.unescape(f"&{name};").replace("\u00a0", " ") for name in _ENTITY_NAMES.split()}
_ENTITY = r"&(?:#x?[0-9A-Fa-f]{2,4}|[a-z]{2,6});"
_ABOUT_ENTITIES = r"(?i)<[a-z!/][^<>\n]*>|`&|\bentit(?:y|ies)\b|escap|\bxml\b|encod|实体|转义|编码|字符引用"


def html_entities(text: pl.Expr) -> pl.Expr:
    """Turn `&lt;`, `&quot;` and the like into characters, once, in texts that hold no markup and do not speak of it."""
    needed = text.str.contains(_ENTITY)
    held = pl.when(needed).then(text).str.contains(_ABOUT_ENTITIES).fill_null(False)
    return pl.when(needed & ~held).then(text.str.replace_many(_ENTITIES)).otherwise(text)


_MARKER = any_of(
    r"<\|(?:endoftext|im_end|eot_id|end|end_of_text|eom_id)\|>",
    r"</s>",
    r"<｜end▁of▁sentence｜>",
    r"<eo[smhta]>",
    r"<end_of_turn>",
    r"\[(?:end of text|EOS|END)\]",
    r"<END>",
)
_STOP_MARKER = rf"(?:^\s*|(\S)|\s*\n\s*|(\p{{P}})\s+){_MARKER}(?:\s*{_MARKER})*\s*$"
_TRAILING_HASHES = r"\s*\n#{2,}\s*$"


def stop_markers(text: pl.Expr) -> pl.Expr:
    """Cut the end markers of chat templates and Alpaca's "###" from the end of a text.

    A marker after a plain word and a space is being spoken of; `</s>` closes an `<s>` where there is one.
    """
    tail = text.str.tail(40)
    needed = tail.str.contains(_MARKER) & ~text.str.contains("<s>", literal=True)
    cut = pl.when(needed).then(text.str.replace(_STOP_MARKER, "${1}${2}")).otherwise(text)
    return pl.when(tail.str.contains(_TRAILING_HASHES)).then(cut.str.replace(_TRAILING_HASHES, "")).otherwise(cut)


_NO_TEXT = r"(?:<no ?(?:in|out)put>|<无输入>)\s*\n\s*"
_LABEL = rf"^\s*(?:(?:{_NO_TEXT})?(?:Output|输出)\s?[:：]\s*|{_NO_TEXT})(\S)"


def output_label(text: pl.Expr) -> pl.Expr:
    """Cut the label "Output:" (and a `<noinput>` line) from the start of an answer."""
    return text.str.replace(_LABEL, "${1}")


_LEADING_LINES = r"^(?:[ \t\u{3000}]*\n)+"


def whitespace(text: pl.Expr) -> pl.Expr:
    """Strip white space around a text, but not the indentation of a first line whose neighbours are indented."""
    inner = text.str.strip_chars_end().str.replace(_LEADING_LINES, "")
    indented = inner.str.contains(r"\n[ \t\u{3000}]")
    return pl.when(indented).then(inner).otherwise(inner.str.strip_chars_start())


DEFAULT_FIXES: dict[str, Fix] = {
    "control-characters": Fix(control_characters, (*WRITTEN, "tool")),
    "literal-escapes": Fix(literal_escapes),
    "html-entities": Fix(html_entities),
    "stop-markers": Fix(stop_markers),
    "no-input-marker": Fix(no_input, ("input",)),
    "no-input-phrase": Fix(no_input_phrase, ("input",)),
    "output-label": Fix(output_label, ("assistant",)),
    "whitespace": Fix(whitespace),
}
"""Name -> fix that any dataset may need, in the order in which they are applied by default."""

FIXES: dict[str, Fix] = {
    "html-to-markdown": Fix(html_to_markdown),
    "page-remnants": Fix(page_remnants),
    **DEFAULT_FIXES,
    "blank-lines": Fix(blank_lines),
    "model-address": Fix(model_address, ("user",)),
    **{f"mask-{kind}": Fix(mask(kind), (*WRITTEN, "tool")) for kind in KINDS},
}
"""Name -> fix: the default ones, those for scraped conversations and BELLE's prompts, and a mask for every kind of
secret or personal data that `contact` looks for."""
