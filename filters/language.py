"""Texts in a language that is not wanted, and answers in another language than the question."""

import polars as pl

from filters.check import Check, asks

NAMES_A_LANGUAGE = (
    r"(?i)translat|\blanguages?\b|spanish|french|german|italian|portuguese|japanese|korean|chinese|english|latin\b|"
    r"russian|arabic|greek|hindi|mandarin|翻译|翻譯|[译譯]成|语言|語言|[英中法德日韩俄汉藏梵]文|[英汉法德日韩俄国漢韓]语|外语|语种|拼音|"
    r"español|français|deutsch|italiano|português|日本語|英語|한국어|영어"
)
CODE = r"```|[{};]\s*(?:\n|$)|</\w+>|\w\(.*\)|(?i)\bselect\b.+\bfrom\b|^\s*(?:def|import|from|class|#include)\b"

_OWN_SCRIPT = {
    "zh": r"\p{Han}",
    "ja": r"[\p{Hiragana}\p{Katakana}]",
    "ko": r"\p{Hangul}",
    "ru": r"\p{Cyrillic}",
    "ar": r"\p{Arabic}",
    "th": r"\p{Thai}",
    "hi": r"\p{Devanagari}",
    "el": r"\p{Greek}",
    "he": r"\p{Hebrew}",
}


def language(
    allow: tuple[str, ...] = (),
    min_confidence: float = 0.6,
    same: bool = True,
) -> tuple[Check, ...]:
    """Object to a record in a language outside `allow`, and to an answer in another language than its question.

    Texts whose language is unknown (`und`: too short, too mixed) are never objected to. The second check leaves alone
    turns whose question names a language, asks for a translation or quotes words in the answer's script, and answers
    that hold code; languages of one script are told apart in texts of 100 characters or more only.

    Args:
        allow: wanted languages as BCP 47 primary tags, such as `en` and `zh`; empty allows all.
        min_confidence: how sure the identification must be, 0 to 1.
        same: whether an answer must be in its question's language.
    """
    return (*(_wanted(allow, min_confidence) if allow else ()), *(_same(min_confidence) if same else ()))


def _wanted(allow: tuple[str, ...], min_confidence: float) -> tuple[Check, ...]:
    found = pl.col("text_language")
    sure = (found != "und") & (pl.col("text_language_confidence") >= min_confidence)
    other = sure & ~found.is_in([tag.split("-")[0] for tag in allow])
    return (Check(reason="unwanted-language", field="text", when=other, value=found, scope="record"),)


def _same(min_confidence: float) -> tuple[Check, ...]:
    asked, given = pl.col("instruction_language"), pl.col("output_language")
    differ = (asked != "und") & (given != "und") & (asked != given)
    for side in ("instruction", "output"):
        differ = differ & (pl.col(f"{side}_language_confidence") >= min_confidence)
    own = list(_OWN_SCRIPT)
    long = (pl.col("instruction").str.len_chars() >= 100) & (pl.col("output").str.len_chars() >= 100)
    quoted = ~given.is_in(own) & asked.is_in(own) & asks("[A-Za-z]{3}")
    for tag, letters in _OWN_SCRIPT.items():
        quoted = quoted | ((given == tag) & ~asked.is_in(["ja", tag]) & asks(letters))
    free = quoted | asks(NAMES_A_LANGUAGE) | pl.col("output").str.contains(CODE)
    check = Check(
        reason="answer-in-another-language",
        field="output",
        when=(asked.is_in(own) | given.is_in(own) | long) & ~free,
        value=pl.format("{} -> {}", asked, given),
        gate=differ,
    )
    return (check,)
