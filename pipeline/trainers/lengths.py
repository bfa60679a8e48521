"""How many tokens a row has: counted by a tokenizer that is named, or estimated."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import UsageError
from pipeline.trainers.alpaca_rows import answer_column, question_columns
from pipeline.trainers.sample import Sample

TURN_TOKENS = 5
"""What a chat template adds to a turn: `<|im_start|>`, the role, a line break, `<|im_end|>`, a line break in ChatML."""

_CLASSES = (
    (re.compile(r"[\u3400-\u9fff\uf900-\ufaff]"), 0.55),
    (re.compile(r"[A-Za-z]+"), 1.06),
    (re.compile(r"[0-9]"), 1.06),
    (re.compile(r"[!-/:-@\[-`{-~]"), 0.54),
    (re.compile(r"[^\x00-\x7f\u3400-\u9fff\uf900-\ufaff]"), 0.56),
    (re.compile(r"\n"), 1.44),
)
"""Tokens for a Han character, an English word, a digit, an ASCII mark, another character, a line break: fitted to the
tokenizers of DeepSeek V4, Qwen2 and Qwen3.5 on half of five real files in English and Chinese; docs/trainers.md has the
errors on the other half."""

ESTIMATE_ERROR = 0.15
"""Nine of ten rows of more than 200 tokens are estimated within this share of their length, English and Chinese."""

Count = Callable[[str], int]


def estimated(text: str) -> int:
    """Tokens in a text, roughly."""
    return round(sum(len(pattern.findall(text)) * tokens for pattern, tokens in _CLASSES))


def counter_of(tokenizer: str | None) -> Count:
    """The counting function of a tokenizer: a tokenizer.json, a folder with one, or a model's name on the Hub.

    Args:
        tokenizer: None for the estimate.

    Raises:
        UsageError: it cannot be loaded.
    """
    if tokenizer is None:
        return estimated
    from tokenizers import Tokenizer

    path = Path(tokenizer)
    path = path / "tokenizer.json" if path.is_dir() else path
    try:
        loaded = Tokenizer.from_file(str(path)) if path.is_file() else _from_hub(tokenizer)
    except Exception as error:  # The library raises bare Exception for a file that it cannot read.
        hint = "name a tokenizer.json, a folder that holds one, or a model on the Hub such as Qwen/Qwen3-8B"
        raise UsageError(f"the tokenizer '{tokenizer}' cannot be loaded: {str(error)[:200]}", hint) from None

    def count(text: str) -> int:
        return len(loaded.encode(text, add_special_tokens=False).ids)

    return count


def _from_hub(name: str) -> Any:
    from tokenizers import Tokenizer

    if not re.fullmatch(r"[\w.-]+/[\w.-]+|[\w.-]+", name) or name.endswith(".json"):
        raise FileNotFoundError("there is no such file")
    return Tokenizer.from_pretrained(name)


class Length(NamedTuple):
    """Tokens of a row, and of what stands before its first answer."""

    tokens: int
    before_answer: int


def length_of(sample: Sample, count: Count) -> Length:
    """The row's tokens with what a chat template adds; the longer answer of a pair counts."""
    total = before = 0
    answered = False
    longest = 0
    for text, answers, apart in _pieces(sample):
        tokens = count(text) + TURN_TOKENS
        if answers and not answered:
            answered, before = True, total
        if apart:
            longest = max(longest, tokens)
        else:
            total += tokens
    return Length(total + longest, before if answered else total)


def _pieces(sample: Sample) -> Iterator[tuple[str, bool, bool]]:
    """(text, whether it is an answer, whether it is one of a pair) in the row's order."""
    layout = sample.layout
    for column in ("system", "tools") if layout.base != "text" else ():
        if value := sample.get(column):
            yield _text(value), False, False
    if layout.base == "openai-pairs":
        asked = sample.get("input")
        for turn in (sample.turns_of(asked.get("messages")) or []) if isinstance(asked, dict) else []:
            yield _text(turn.content), False, False
    elif layout.turns is not None:
        for turn in sample.conversation:
            answers = turn.role in (layout.tags.assistant, layout.tags.function)
            yield _text(turn.content) + _text(turn.raw.get("tool_calls")), answers, False
    elif layout.base == "text":
        yield _text(sample.get("text")), True, False
    else:
        history = sample.get("history")
        yield _text(history) if history else "", bool(history), False
        yield "\n".join(_text(sample.get(column)) for column in question_columns(layout)), False, False
        if layout.kind != "preference":
            yield _text(sample.get(answer_column(layout))), True, False
    if layout.kind == "preference":
        for column in ("chosen", "rejected", "preferred_output", "non_preferred_output"):
            if (value := sample.get(column)) is not None:
                yield _text(value), True, True


def _text(value: Any) -> str:
    """All text in a value; keys of objects are left out."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(_text(item) for key, item in value.items() if key not in ("role", "from"))
    if isinstance(value, list):
        return "\n".join(_text(item) for item in value)
    return ""
