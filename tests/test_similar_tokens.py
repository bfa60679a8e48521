"""Tokens for comparison: rouge-score's on English, words or characters on everything else."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score import tokenize

from pipeline.similar.tokens import TOKENIZERS, auto, characters, fold, jieba_words, rouge

ANY_TEXT = st.text() | st.text(alphabet="aB9 _-'é中ーгअ\n", max_size=40)


@settings(deadline=None)
@given(ANY_TEXT)
def test_rouge_is_the_default_tokenizer_of_rouge_score(text: str) -> None:
    assert rouge(text) == tokenize.tokenize(text, None)


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii")))
def test_on_ascii_all_but_jieba_are_rouge(text: str) -> None:
    assert characters(text) == auto(text) == rouge(text)


@settings(deadline=None)
@given(ANY_TEXT)
def test_characters_keeps_every_letter_and_digit_and_nothing_twice(text: str) -> None:
    kept = [c for c in "".join(characters(text)) if c.isalnum()]
    assert kept == [c for c in fold(text) if c.isalnum()]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("把“Hello World 2”译成中文。", "把 hello world 2 译 成 中 文"),
        ("ＡＢＣ１２　①㌔", "abc12 1 キ ロ"),
        ("カタカナとひらがな", "カ タ カ ナ と ひ ら が な"),
        ("한국어 문장", "한 국 어 문 장"),
        ("Привет, мир_снова!", "привет мир снова"),
        ("كيف حالك؟", "كيف حالك"),
        ("naïve café 😀❤️", "naïve café"),
        ("हिन्दी में", "हिन्दी में"),
        ("ไทย", "ไ ท ย"),
        ("𠀀𠀁", "𠀀 𠀁"),
    ],
)
def test_characters(text: str, tokens: str) -> None:
    assert characters(text) == tokens.split()


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("Describe the history of the café across the street in a few words.", "rouge"),
        ("Translate the sentence “Ich bin müde” into English", "rouge"),
        ("Translate 你好吗 into English", "characters"),
        ("one two three four five six seven 八 九 十", "characters"),
        ("one two three four five six seven eight 九 十", "rouge"),
        ("翻译成英文", "characters"),
        ("Напиши стихотворение о море", "characters"),
        ("¿Cómo estás?", "characters"),
        ("!?… 😀", "rouge"),
    ],
)
def test_auto_leaves_rouge_from_three_foreign_tokens_in_ten(text: str, chosen: str) -> None:
    assert auto(text) == TOKENIZERS[chosen](text)  # type: ignore[index]
    assert rouge(text) != characters(text) or not rouge(text)


def test_auto_sees_something_of_every_language() -> None:
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip("REAL_DATA is not set: the same hundred questions in ten languages are read from it")
    for path in sorted(Path(folder).glob("llmzoo_*100.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            question = json.loads(line)["query"]
            letters = sum(c.isalpha() for c in fold(question))
            assert sum(len(token) for token in auto(question)) >= 0.75 * letters, path.name


def test_jieba_gives_words_without_punctuation() -> None:
    assert jieba_words("请翻译下面的句子：今天天气很好！") == [
        "请",
        "翻译",
        "下面",
        "的",
        "句子",
        "今天天气",
        "很",
        "好",
    ]
