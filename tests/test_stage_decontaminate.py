"""Decontamination: what of a benchmark is found in records, with edits and in every place, and what is left alone."""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contamination.grams import (
    GRAM,
    gram_count,
    grams_of,
    is_gapped,
    places,
    single_counts,
    sip_add,
    sip_begin,
    sip_end,
    tokens_of,
)
from pipeline.contamination.spans import found_span, token_spans
from pipeline.errors import DataError, UsageError
from pipeline.record import Message, Record
from pipeline.similar.tokens import SINGLE, characters, kind
from pipeline.stage import Outcome
from pipeline.stages.decontaminate import Decontaminate
from tests.doubles import kept_ids, lend, reasons, stream_of
from tests.runs import ROOT

QUESTION = (
    "A farmer has twelve crates with nine melons in each of them. On Monday he sells a third of all his melons and on "
    "Tuesday he gives ten melons away. How many melons does he have left on Wednesday morning?"
)
ANSWER = (
    "Twelve crates of nine make 108 melons. A third of 108 is 36, so 72 are left on Monday evening, and after ten more "
    "are given away 62 melons are left."
)
SHORT = "How do tides depend on the position of the moon?"
TINY = "Name three noble gases."
ZH = "一个果园有三百棵苹果树，每棵树平均结八十个苹果，果农卖掉了一半，请问他还剩下多少个苹果？"
ZH_ANSWER = "果园一共结了三百乘以八十即两万四千个苹果，卖掉一半以后还剩下一万二千个苹果，所以答案是一万二千。"


def bench(folder: Path, *items: dict[str, Any], name: str = "bench.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    return str(path)


def usual(folder: Path) -> str:
    return bench(
        folder,
        {"question": QUESTION, "answer": ANSWER},
        {"question": SHORT, "answer": "42"},
        {"question": TINY, "answer": "Helium, neon and argon."},
        {"question": ZH, "answer": ZH_ANSWER},
    )


def record(instruction: str, output: str = "I do not know.", input: str | None = None, id: str = "r") -> Record:
    messages = (Message(role="user", content=instruction), Message(role="assistant", content=output))
    return Record(id=id, messages=messages, input=input)


def run(folder: Path, stage: Decontaminate, records: Sequence[Record], block: int = 1000) -> list[Outcome]:
    return list(stage.run(stream_of(folder, records, block), lend()))


def evidence(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    drops = pl.concat([outcome.drops for outcome in outcomes])
    return {row["id"]: json.loads(row["detail"]) for row in drops.iter_rows(named=True)}


def found(folder: Path, one: Record, **changes: Any) -> dict[str, Any] | None:
    """The evidence against one record, or None."""
    stage = Decontaminate(against=(usual(folder),), **changes)
    return evidence(run(folder, stage, [one])).get(one.id)


DRESSES: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "capitals": str.upper,
    "full width": lambda text: text.translate({c: c + 0xFEE0 for c in range(0x21, 0x7F)}),
    "no punctuation": lambda text: re.sub(r"[^\w\s]", "", text),
    "other punctuation": lambda text: re.sub(r"[^\w\s]", " -- ", text),
    "line breaks": lambda text: text.replace(" ", "\n"),
    "inside a longer text": lambda text: f"Here is a riddle from my school book for you. {text} Explain each step.",
}


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize(("line", "text"), [(1, QUESTION), (2, SHORT), (4, ZH)])
def test_questions_are_found_however_they_are_dressed(tmp_path: Path, dress: str, line: int, text: str) -> None:
    told = found(tmp_path, record(DRESSES[dress](text)))
    assert told is not None
    assert (told["benchmark"], told["line"], told["part"], told["side"]) == ("bench", line, "question", "question")
    assert told["share"] == 1.0


def edits(words: list[str]) -> list[list[str]]:
    """Every list with one word replaced, deleted or put in."""
    changed = [words[:i] + new + words[i + 1 :] for i in range(len(words)) for new in ([], ["zebra"])]
    return changed + [[*words[:i], "zebra", *words[i:]] for i in range(len(words) + 1)]


def test_a_short_question_is_found_with_any_single_edit(tmp_path: Path) -> None:
    words = SHORT.split()
    records = [record(" ".join(some), id=str(i)) for i, some in enumerate(edits(words))]
    told = evidence(run(tmp_path, Decontaminate(against=(usual(tmp_path),)), records))
    assert len(told) == len(records)


def test_a_short_question_with_an_edit_is_not_found_in_a_longer_text(tmp_path: Path) -> None:
    edited = SHORT.replace("tides", "waves")
    assert found(tmp_path, record(edited)) is not None
    assert found(tmp_path, record(f"I am at the sea and I have always wanted to know this. {edited}")) is None


def test_a_tiny_question_must_be_the_whole_of_a_message_or_an_input(tmp_path: Path) -> None:
    assert found(tmp_path, record("name THREE noble gases")) is not None
    assert found(tmp_path, record("Answer in French.", input="Name three noble gases")) is not None
    assert found(tmp_path, record("Name three noble gases", input="No input")) is not None
    assert found(tmp_path, record("Name three noble gases and their uses.")) is None
    assert found(tmp_path, record("Name three rare gases.")) is None


def test_one_word_in_ten_and_one_character_in_ten(tmp_path: Path) -> None:
    rng = random.Random(3)
    hits = {QUESTION: 0, ZH: 0}
    for text in hits:
        units = text.split(" ") if text == QUESTION else list(text)
        other = units[:]
        records = []
        for number in range(100):
            some = units[:]
            for i in rng.sample(range(len(units)), round(len(units) / 10)):
                new = rng.choice(other)
                some[i] = rng.choice((new, "", f"{new} {some[i]}" if text == QUESTION else new + some[i]))
            joined = (" " if text == QUESTION else "").join(some)
            records.append(record(joined, id=str(number)))
        hits[text] = len(evidence(run(tmp_path, Decontaminate(against=(usual(tmp_path),)), records)))
    assert hits[QUESTION] >= 98
    assert hits[ZH] >= 95


NEAR_MISSES = {
    "the same beginning": "A farmer has twelve crates with apples in his barn, and every week he takes one to town.",
    "the same form": "How do prices depend on the position of the shop?",
    "a phrase": "On Monday he sells a third of the paper. How many does he have?",
    "other words in order": " ".join(sorted(QUESTION.split())),
    "the same topic": "Explain why the moon causes tides and how high they are.",
    "another Chinese task": "一个果园有三百棵苹果树，请为果园写一段广告，介绍苹果的味道和果园的风景。",
    "characters of it": "".join(sorted(ZH)),
    "monotonous": "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 | - | - | - | - | - | - |",
    "empty": "",
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_only_looks_alike_is_kept(tmp_path: Path, name: str) -> None:
    assert found(tmp_path, record(NEAR_MISSES[name], output=NEAR_MISSES[name])) is None


def test_usual_sentences_and_small_answers_are_not_looked_for(tmp_path: Path) -> None:
    said = "Is there anything else I can help you with today?"
    items = [
        {"question": "Complete the dialogue of two friends in a shop.", "answer": said},
        {"question": "Why?"},
    ]
    path = bench(tmp_path, *items)
    stage = Decontaminate(against=(path,))
    kept = [record("Talk to me.", said, id="a"), record("Why?", id="b")]
    assert kept_ids(run(tmp_path, stage, kept)) == ["a", "b"]


def test_every_side_and_every_part(tmp_path: Path) -> None:
    asked, said = record(QUESTION), record("Tell me something.", f"Gladly: {QUESTION}")
    solved = record("Tell me something.", f"Well, {ANSWER}")
    assert found(tmp_path, asked, sides="answer") is None
    assert found(tmp_path, asked, sides="question") is not None
    assert found(tmp_path, said, sides="question") is None
    told = found(tmp_path, said, sides="answer")
    assert told is not None
    assert (told["side"], told["place"], told["part"]) == ("answer", "messages[1]", "question")
    told = found(tmp_path, solved)
    assert told is not None
    assert told["part"] == "answer"
    assert found(tmp_path, solved, parts="question") is None
    assert found(tmp_path, asked, parts="answer") is None


def test_evidence_names_the_place_and_the_span(tmp_path: Path) -> None:
    later = Record(
        id="r",
        messages=(
            Message(role="system", content="Be brief."),
            Message(role="user", content="Hello there"),
            Message(role="assistant", content="Hi.", thinking=f"They will ask: {QUESTION}"),
        ),
    )
    told = found(tmp_path, later)
    assert told is not None
    assert told["place"] == "messages[2].thinking"
    assert told["matched"] == later.messages[2].thinking[told["start"] : told["end"]]  # type: ignore[index]
    assert told["matched"] == QUESTION.rstrip("?")
    told = found(tmp_path, record("Solve this, please, step by step.", input=QUESTION))
    assert told is not None
    assert (told["place"], told["start"], told["end"]) == ("input", 0, len(QUESTION) - 1)
    head, tail = QUESTION[:90], QUESTION[91:]
    told = found(tmp_path, record(head, input=tail))
    assert told is not None
    assert (told["place"], told["start"]) == ("messages[0] + input", 0)
    preferred = Record(
        id="r",
        messages=(Message(role="user", content="Hm?"),),
        chosen=(Message(role="assistant", content="No."),),
        rejected=(Message(role="assistant", content=ZH_ANSWER),),
    )
    told = found(tmp_path, preferred)
    assert told is not None
    assert (told["place"], told["side"], told["line"]) == ("rejected[0]", "answer", 4)


def test_thirteen_words_in_a_row_are_enough_and_twelve_are_not(tmp_path: Path) -> None:
    words = QUESTION.split()
    cut = {n: f"We read this in a book: {' '.join(words[5 : 5 + n])} and so on for many pages." for n in (12, 13)}
    assert found(tmp_path, record(cut[12])) is None
    told = found(tmp_path, record(cut[13]))
    assert told is not None
    assert told["in_a_row"] == 13
    assert found(tmp_path, record(cut[13]), in_a_row=14) is None


def test_books_table_and_reason(tmp_path: Path) -> None:
    items = [{"id": "x-1", "turns": [QUESTION, SHORT]}, {"id": "x-2", "turns": ["no such text at all"]}]
    other = bench(tmp_path, *items, name="other.jsonl")
    records = [
        record(QUESTION, id="a"),
        record("Fine weather today, is it not?", id="b"),
        record("Now this one.", QUESTION, id="c"),
        record(TINY, ANSWER, id="d"),
    ]
    outcomes = run(tmp_path, Decontaminate(against=(usual(tmp_path), other)), records)
    assert kept_ids(outcomes) == ["b"]
    assert reasons(outcomes) == {"contaminated": 3}
    assert outcomes[-1].tables == {
        "benchmarks": {
            "bench": _row(4, 2, 3, 2, 2),
            "other": _row(2, 1, 2, 1, 1),
        }
    }
    told = evidence(outcomes)
    assert told["a"]["also"] == [{"benchmark": "other", "item": "x-1", "line": 1, "share": 1.0}]
    assert "also" not in told["d"] or told["d"]["also"][0]["line"] != told["d"]["line"]


def _row(items: int, hit: int, dropped: int, question: int, answer: int) -> dict[str, int]:
    return {
        "items": items,
        "items_found": hit,
        "records_dropped": dropped,
        "question_side": question,
        "answer_side": answer,
        "unreadable_items": 0,
    }


def test_the_blocks_make_no_difference(tmp_path: Path) -> None:
    texts = [QUESTION, SHORT, "Fine weather.", ZH, TINY, "再见", ANSWER]
    records = [record(texts[i % 7], texts[(i * 3 + 1) % 7], texts[i % 5] if i % 2 else None, str(i)) for i in range(60)]
    for block in (1000, 7, 1):
        (tmp_path / str(block)).mkdir()
    whole, *others = (
        run(tmp_path / str(block), Decontaminate(against=(usual(tmp_path),)), records, block) for block in (1000, 7, 1)
    )
    for other in others:
        assert pl.concat([o.kept for o in whole]).equals(pl.concat([o.kept for o in other]))
        assert pl.concat([o.drops for o in whole]).equals(pl.concat([o.drops for o in other]))
        assert whole[-1].tables == other[-1].tables
    assert run(tmp_path, Decontaminate(against=(usual(tmp_path),)), [])[-1].tables["benchmarks"]["bench"]["items"] == 4


def test_templates_say_nothing(tmp_path: Path) -> None:
    head = "Read the following sentence carefully and decide whether it is true or false, then give your reasons:"
    facts = [
        f"the city number {i} has exactly {i * 37 % 91} bridges over the {letter} river and {i + 5} gates"
        for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz")
    ]
    path = bench(tmp_path, *({"question": f"{head} {fact}"} for fact in facts))
    stage = Decontaminate(against=(path,))
    mine = record(f"{head} water boils at a hundred degrees.", id="mine")
    theirs = record(f"{head} {facts[3]}", id="theirs")
    bare = record(facts[4], id="bare")
    assert kept_ids(run(tmp_path, stage, [mine, theirs, bare])) == ["mine"]


def test_repetition_stays_linear(tmp_path: Path) -> None:
    cells = " | ".join(f"{i % 3} x {i % 5}" for i in range(4000))
    path = bench(tmp_path, {"question": f"Sum up this table. {cells}"}, {"question": "0 " * 5000})
    records = [record(f"Here is mine. {cells}", id=str(i)) for i in range(20)]
    outcomes = run(tmp_path, Decontaminate(against=(path,)), records)
    assert sum(outcome.drops.height + outcome.kept.height for outcome in outcomes) == 20


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threshold": 0.1}, "threshold of 0.1"),
        ({"in_a_row": 3}, "in_a_row must be at least 8"),
        ({"short": 2}, "short at least 5"),
        ({"against": ()}, "names no file"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Decontaminate(**({"against": ("bench.jsonl",)} | changes))


def test_a_missing_benchmark_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl: no such file"):
        run(tmp_path, Decontaminate(against=(str(tmp_path / "gone.jsonl"),)), [record("x")])


def unsigned(state: tuple[int, ...]) -> tuple[np.uint64, ...]:
    """Compiled code gives Python whole numbers, which it would take for signed ones."""
    return tuple(np.uint64(word) for word in state)


def test_the_hash_is_siphash() -> None:
    """Python's own hash of bytes is SipHash-1-3; without a seed its key is zero."""
    words = [1, 2**63 + 5, 0xDEADBEEF, 7, 2**64 - 1]
    code = f"print(hash(b''.join(n.to_bytes(8, 'little') for n in {words})))"
    env = dict(os.environ, PYTHONHASHSEED="0")
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    if sys.hash_info.algorithm != "siphash13":
        pytest.skip(f"this Python hashes with {sys.hash_info.algorithm}")
    state = sip_begin(np.uint64(0), np.uint64(0))
    for word in words:
        state = sip_add(unsigned(state), np.uint64(word))
    assert sip_end(unsigned(state), len(words)) == int(said) % 2**64


@pytest.mark.parametrize("count", [1, 4, 5, 6, 9, 31, 32, 40])
def test_hashes_stand_for_the_tokens_their_places_name(count: int) -> None:
    words = [f"w{i}" for i in range(count)]
    grams, _ = grams_of(tokens_of(pl.Series([" ".join(words)])))
    at = places(count, is_gapped(count))
    assert len(grams.values) == gram_count(count, is_gapped(count)) == len(at)
    alone = [" ".join(words[i] for i in row) for row in at]
    if alone:
        known, _ = grams_of(tokens_of(pl.Series(alone)))
        assert [int(known.values[start]) for start in known.starts[:-1]] == grams.values.tolist()
        assert all(len(text.split()) == GRAM for text in alone)


ALPHABET = "abz09 .,-'\nÄéßñ한국어ｱﾞ日本語中文繁體字ไทยภาษาعربي½㎏ﬁ①Ⅷ𠀀😀e\u0301\u200b"


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from(ALPHABET), max_size=40))
def test_spans_are_those_of_the_tokens(text: str) -> None:
    spans = token_spans(text)
    assert len(spans) == tokens_of(pl.Series([text], dtype=pl.String)).counts[0] == len(characters(text))
    assert all(0 <= begin < end <= len(text) for begin, end in spans)
    assert spans == sorted(spans)
    assert single_counts(pl.Series([text], dtype=pl.String))[0] == sum(
        len(token) == 1 and kind(ord(token)) == SINGLE for token in characters(text)
    )
    assert found_span(text, 0, len(spans) + 1) == (0, len(text))


@pytest.mark.skipif(not os.environ.get("REAL_DATA"), reason="REAL_DATA is not set")
def test_real_questions_planted_into_real_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty questions of four benchmarks among 10,000 rows of Alpaca; benchmarks/decontamination.py has all of it."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from decontamination import BENCHMARKS, dressed, edited, frame, hits, planted, verbatim

    real = Path(os.environ["REAL_DATA"])
    rows = json.loads((real / "alpaca_data.json").read_text(encoding="utf-8"))[:10_000]
    words = [word for row in rows[::20] for word in row["instruction"].split()]
    stage = Decontaminate(against=tuple(str(real / f"bench_{name}.jsonl") for name in BENCHMARKS))
    # Looked at by eye: 3964 is MT-bench's question 99 ("Prove the Pythagorean theorem."), 8653 has nearly the function
    # that Self-Instruct's task 13 expects (prime numbers), though hardly from there.
    told = hits(stage, frame(rows))
    assert told == {"3964": {("mt_bench", 19)}, "8653": {("self_instruct_252", 14)}}
    for kind_of, edit, least in (("verbatim", verbatim, 60), ("edited", edited(words), 56), ("dressed", dressed, 57)):
        chosen, held = planted(rows, edit, 60, 11)
        told = hits(stage, frame(held))
        got = sum((name, line) in told.get(str(i), ()) for i, (name, line, _) in enumerate(chosen))
        assert got >= least, kind_of
