"""Measures: the numbers of a plain Python reading of their definitions, on any text; and every bound has its reason."""

import math
import re
import unicodedata
from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.published import ALPACA_COT, DATA_JUICER, FLAGDATA, GOPHER
from filters.statistics import HIGH, LOW, statistics
from pipeline.errors import UsageError
from pipeline.measures import MEASURES, measure
from pipeline.measures.words import GOPHER_WORDS, STOP_WORDS_EN, STOP_WORDS_ZH
from pipeline.stages.filter import Filter
from tests.doubles import run_rows
from tests.test_filters_cases import asked

TEXTS = st.text(
    st.sampled_from(
        [*"abAB the,.#…-•1 2\n\n\r\t", "的", "了", "山", "é", "ß", "İ", "Σ", "\u0301", "カ", "🎉", "\u2028", "𠀀"]
    ),
    max_size=120,
)


def numbers(text: str) -> dict[str, float]:
    return measure(pl.Series([text], dtype=pl.String), list(MEASURES)).row(0, named=True)


def is_single(character: str) -> bool:
    return character in "的了山カ𠀀"


def words_of(text: str) -> list[str]:
    """Split at white space, around single characters, stripped of what is no letter or mark, in lower case."""
    found = []
    for piece in text.split():
        part = ""
        for character in [*piece, " "]:
            if character == " " or is_single(character):
                stripped = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", part) if part.isascii() else strip(part)
                found += [stripped] if stripped else []
                part = ""
                found += [character] if character != " " else []
            else:
                part += character
    return ["".join(c.lower() if len(c.lower()) == 1 else c for c in word) for word in found]


def strip(part: str) -> str:
    inside = [at for at, c in enumerate(part) if unicodedata.category(c)[0] in "LM"]
    return part[inside[0] : inside[-1] + 1] if inside else ""


def data_juicer_repetition(text: str, size: int = 10) -> float:
    counts = Counter(text[at : at + size] for at in range(len(text) - size + 1))
    if not counts:
        return 0.0
    ordered = sorted(counts.values(), reverse=True)
    taken = min(int(math.sqrt(len(ordered))), len(ordered) - ordered.count(1))
    return sum(ordered[:taken]) / sum(ordered)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_characters_and_lines(text: str) -> None:
    found = numbers(text)
    size = max(1, len(text))
    assert found["chars"] == len(text)
    assert found["alnum_ratio"] == pytest.approx(sum(c.isalnum() for c in text) / size)
    letters = sum(unicodedata.category(c)[0] in "LM" for c in text)
    assert found["special_ratio"] == pytest.approx((len(text) - letters) / size)
    assert found["digit_ratio"] == pytest.approx(sum(unicodedata.category(c)[0] == "N" for c in text) / size)
    lines = text.splitlines()
    assert found["mean_line"] == pytest.approx(len(text) / len(lines) if lines else 0)
    assert found["max_line"] == max(map(len, lines), default=0)
    filled = [line.strip() for line in lines if line.strip()]
    repeated = len(filled) - len(set(filled))
    assert found["repeated_lines"] == pytest.approx(repeated / len(filled) if filled else 0)
    assert found["bullet_lines"] == pytest.approx(sum(f[0] in "•-" for f in filled) / max(1, len(filled)))


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_words(text: str) -> None:
    found, words = numbers(text), words_of(text)
    assert found["word_count"] == len(words)
    assert found["mean_word"] == pytest.approx(sum(map(len, words)) / len(words) if words else 0)
    stops = {*STOP_WORDS_EN.split(), *STOP_WORDS_ZH}
    assert found["stop_ratio"] == pytest.approx(sum(w in stops for w in words) / max(1, len(words)))
    assert found["gopher_words"] == sum(w in GOPHER_WORDS.split() for w in words)


@settings(max_examples=200, deadline=None)
@given(st.text("ab \n山", max_size=150))
def test_repeated_runs(text: str) -> None:
    found, words = numbers(text), words_of(text)
    assert found["char_repetition"] == pytest.approx(data_juicer_repetition(text))
    runs = Counter(tuple(words[at : at + 10]) for at in range(len(words) - 9))
    again = sum(count for count in runs.values() if count > 1)
    assert found["word_repetition"] == pytest.approx(again / runs.total() if runs else 0)
    letters = sum(map(len, words))
    for n in (5, 10):
        grams = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
        counts = Counter(grams)
        inside = {k for at, gram in enumerate(grams) if counts[gram] > 1 for k in range(at, at + n)}
        assert found[f"repeated_{n}gram"] == pytest.approx(sum(len(words[k]) for k in inside) / max(1, letters))


def test_every_bound_has_a_reason_and_every_reason_is_produced() -> None:
    record = asked(
        "Go on.", "... # a b a b\n• a b a b ...\n• a b a b ...\n\n• a b a b ...\n\n" + "1 2 a b c d e f g h i j " * 3
    )
    for bounds, reasons, bound, other in (("at_least", LOW, 1e9, -1.0), ("at_most", HIGH, -1.0, 1e9)):
        for name, reason in reasons.items():
            outcome = run_rows(Filter(rules={"statistics": {bounds: {name: bound}, "min_chars": 1}}), [record])
            assert outcome.drops["reason"].to_list() == [reason], name
            kept = run_rows(Filter(rules={"statistics": {bounds: {name: other}, "min_chars": 1}}), [record]).kept
            assert kept.height == 1, name
    assert set(LOW.values()) | set(HIGH.values()) == {
        *(
            "too-few-characters",
            "few-letters",
            "few-special-characters",
            "short-lines",
            "no-long-line",
            "too-few-words",
        ),
        *(
            "short-words",
            "few-words-with-letters",
            "few-stop-words",
            "few-common-words",
            "too-few-tokens",
            "only-letters",
        ),
        *(
            "too-many-characters",
            "many-digits",
            "many-special-characters",
            "long-lines",
            "very-long-line",
            "too-many-words",
            "long-words",
        ),
        *(
            "only-stop-words",
            "too-many-tokens",
            "many-hash-signs",
            "many-ellipses",
            "only-bullet-lines",
            "lines-trail-off",
        ),
        *("repeated-character-runs", "repeated-word-runs", "repeated-lines", "repeated-paragraphs", "frequent-run"),
        "repeated-runs",
    }


@pytest.mark.parametrize("preset", [DATA_JUICER, ALPACA_COT, FLAGDATA, GOPHER])
def test_published_bounds_are_known_measures(preset: dict) -> None:
    checks = statistics(**preset["statistics"])
    assert len(checks) == sum(len(preset["statistics"].get(side, {})) for side in ("at_least", "at_most"))


def test_gophers_rules_keep_prose_and_drop_lists_of_links() -> None:
    prose = (
        "The ferry leaves at dawn, and the harbour wakes with it: nets are mended, bread is carried to the boats, and "
        "somebody always sings. By noon the quay is quiet. Old men play draughts under the awning while a tide turns, "
        "and gulls argue over what the nets have let fall. Nobody hurries to be home before that light is gone."
    )
    stage = Filter(preset="gopher")
    assert run_rows(stage, [asked("Describe the harbour.", prose)]).kept.height == 1
    links = "\n".join(f"• see page {n} ..." for n in range(40))
    assert run_rows(stage, [asked("List.", links)]).drops.height == 1


def test_an_unknown_measure_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="unknown measure 'alnum'; valid ones: chars, alnum_ratio"):
        Filter(rules={"statistics": {"at_least": {"alnum": 0.2}}})
    with pytest.raises(UsageError, match="must be a mapping of names to numbers"):
        Filter(rules={"statistics": {"at_least": {"alnum_ratio": "much"}}})
