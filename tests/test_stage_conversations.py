"""Conversations: trimmed, split without loss, cut or masked where a turn is bad, and rid of ready-made phrases."""

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.record import Message, Record, records_of, to_frame
from pipeline.stages.filter import Filter
from pipeline.stages.overused import Overused
from pipeline.stages.split import Split
from pipeline.stages.trim import Trim
from tests.doubles import lend, run_rows, stream_of
from tests.test_filters_cases import CALL, RESULT, answer, asked, chat

SORRY = "抱歉，我无法浏览互联网。"


def texts(record: Record) -> list[str]:
    return [m.content for m in record.messages]


def only(frame: pl.DataFrame) -> Record:
    (record,) = records_of(frame)
    return record


@pytest.mark.parametrize(
    ("record", "left", "done"),
    [
        (
            chat("Hello!", "Hi", "Tell me", roles=("assistant", "user", "assistant")),
            ["Hi", "Tell me"],
            "leading-answer",
        ),
        (chat("你好", "你好！", "讲个笑话"), ["你好", "你好！"], "open-question"),
        (chat("a", "b", "", "c", "d", "e"), ["a", "b"], "empty-turn"),
        (chat("a", "b", "c", " \u200b", "d", "e"), ["a", "b"], "empty-turn"),
        (
            chat("be brief", "a", "b", "c", roles=("system", "user", "assistant", "user")),
            ["be brief", "a", "b"],
            "open-question",
        ),
    ],
)
def test_trimming(record: Record, left: list[str], done: str) -> None:
    outcome = run_rows(Trim(), [record, asked("a", "b")])
    first, second = records_of(outcome.kept)
    assert texts(first) == left
    assert texts(second) == ["a", "b"]
    assert outcome.fixed == {done: 1}


def test_nothing_left_is_a_drop_with_the_record_as_it_stood() -> None:
    outcome = run_rows(Trim(), [asked("x", "y"), chat("Is anybody there?"), chat("a", "")])
    assert outcome.kept.height == 1
    assert outcome.drops["reason"].to_list() == ["nothing-left", "nothing-left"]
    assert json.loads(outcome.drops["detail"][0]) == {"trimmed": ["open-question"]}
    assert [texts(r) for r in records_of(outcome.drops)] == [["Is anybody there?"], ["a", ""]]


def test_trimming_leaves_tools_and_preferences_alone() -> None:
    question = Message(role="user", content="What is the weather?")
    tools = Record(id="t", messages=(question, CALL, RESULT, *answer("21.")), tools="[]")
    preference = chat("Pick", chosen=answer("A"), rejected=answer("B"))
    before = to_frame([tools, preference])
    assert Trim().run(before, lend()).kept.equals(before, null_equal=True)
    assert run_rows(Trim(trailing=False, leading=False, empty=False), [chat("a", "b", "c")]).fixed == {}


MESSAGES = st.lists(st.text("ab 一二。\n", min_size=1, max_size=40), min_size=1, max_size=16)


@settings(max_examples=60, deadline=None)
@given(MESSAGES, st.integers(10, 120), st.booleans())
def test_splitting_loses_nothing_and_keeps_to_the_length(said: list[str], most: int, system: bool) -> None:
    head = (Message(role="system", content="be kind"),) if system else ()
    record = Record(id="r", messages=head + chat(*said).messages, input="beside", tags={"topic": "x"})
    stage = Split(max_tokens=most)
    outcome = run_rows(stage, [record])
    pieces = list(records_of(outcome.kept))
    assert [t for p in pieces for t in texts(p) if t != "be kind" or not system] == said
    assert 1 + outcome.derived == outcome.kept.height + outcome.drops.height
    assert all(p.messages[len(head)].role == "user" for p in pieces)
    assert [p.input for p in pieces] == ["beside"] + [None] * (len(pieces) - 1)
    assert len({p.id for p in pieces}) == len(pieces)
    if outcome.derived:
        assert outcome.drops["reason"].to_list() == ["superseded"]
        assert all(p.parents == ("r",) and p.tags == {"topic": "x"} for p in pieces)
    for piece in pieces:  # a piece that is still too long is a single pair
        again = run_rows(stage, [piece])
        assert again.derived <= 1


def test_a_pair_that_is_too_long_may_be_dropped() -> None:
    record = chat("a", "b", "c", "字" * 200, "d", "e")
    kept = run_rows(Split(max_tokens=100), [record])
    assert [texts(r)[0] for r in records_of(kept.kept)] == ["a", "c", "d"]
    dropped = run_rows(Split(max_tokens=100, keep_long_pairs=False), [record])
    assert [texts(r)[0] for r in records_of(dropped.kept)] == ["a", "d"]
    assert dropped.drops["reason"].to_list() == ["superseded", "pair-too-long"]
    assert 1 + dropped.derived == dropped.kept.height + dropped.drops.height


def test_preference_data_is_not_split() -> None:
    record = chat("字" * 300, "好", "选", chosen=answer("甲"), rejected=answer("乙"))
    assert run_rows(Split(max_tokens=50), [record]).derived == 0
    with pytest.raises(UsageError, match="max_tokens is 0"):
        Split(max_tokens=0)


def test_a_bad_turn_is_dropped_cut_or_masked() -> None:
    record = chat("讲个笑话", "从前有座山。", "打开网页", SORRY, "谢谢", "不客气！")
    assert run_rows(Filter(), [record]).kept.height == 0
    cut = run_rows(Filter(bad_turns="cut"), [record])
    assert texts(only(cut.kept)) == ["讲个笑话", "从前有座山。"]
    assert cut.fixed == {"cut-refusal": 1}
    assert cut.hits["refusal"] == 1
    masked = run_rows(Filter(bad_turns="mask"), [record])
    assert texts(only(masked.kept)) == texts(record)
    assert [m.weight for m in only(masked.kept).messages] == [None, None, None, 0.0, None, None]
    assert masked.fixed == {"mask-refusal": 1}


def test_what_is_bad_from_the_start_or_as_a_whole_is_dropped_all_the_same() -> None:
    first = chat("打开网页", SORRY, "谢谢", "不客气！")
    assert run_rows(Filter(bad_turns="cut"), [first]).drops["reason"].to_list() == ["refusal"]
    assert run_rows(Filter(bad_turns="mask"), [first]).kept.height == 1
    all_bad = chat("打开网页", SORRY, "再试", SORRY)
    assert run_rows(Filter(bad_turns="mask"), [all_bad]).drops.height == 1
    whole = chat("Hi", "Hello.", "Open it", SORRY, "And?", "sk-" + "a1B2" * 12)
    assert run_rows(Filter(bad_turns="mask"), [whole]).drops.height == 1
    preference = chat("a", "b", "打开网页", chosen=answer(SORRY), rejected=answer("好"))
    assert run_rows(Filter(bad_turns="cut"), [preference]).drops.height == 1


def ready_made(count: int) -> list[Record]:
    closing = "I hope this helps!"
    return [
        Record(id=f"r{n}", messages=asked(f"How is thing {n} made?", f"Take part {n} and bend it. {closing}").messages)
        for n in range(count)
    ] + [Record(id=f"s{n}", messages=asked(f"Is {n} even?", "Yes.").messages) for n in range(count)]


def test_ready_made_phrases_are_thinned_out_to_their_share(tmp_path: Path) -> None:
    records = ready_made(200)
    stage = Overused(max_share=0.1, min_count=5)
    outcomes = list(stage.run(stream_of(tmp_path, records, 37), lend()))
    kept = pl.concat([o.kept for o in outcomes])
    with_phrase = kept.filter(pl.col("messages").list.last().struct["content"].str.contains("I hope")).height
    assert 25 <= with_phrase <= 60  # a tenth of 400 answers, by drawing
    assert sum(o.fixed.get("overused-closing", 0) for o in outcomes) == 200 - with_phrase
    assert kept["id"].to_list() == [r.id for r in records]
    shortened = [r for r in records_of(kept) if r.id.startswith("r") and "hope" not in texts(r)[1]]
    assert all(texts(r)[1] == f"Take part {r.id[1:]} and bend it." for r in shortened)


def test_dropping_names_the_phrase(tmp_path: Path) -> None:
    stage = Overused(max_share=0, min_count=5, action="drop", places="closing")
    outcomes = list(stage.run(stream_of(tmp_path, ready_made(50)), lend()))
    drops = pl.concat([o.drops for o in outcomes])
    assert set(drops["reason"]) == {"overused-phrase"}
    assert json.loads(drops["detail"][0]) == {"place": "closing", "phrase": "i hope this helps", "answers": 50}
    assert drops.height + sum(o.kept.height for o in outcomes) == 100


def test_openings_in_chinese_and_rare_or_long_ones(tmp_path: Path) -> None:
    opened = [asked(f"第{n}题", f"当然可以！以下是您需要的内容。答案是{n}号。") for n in range(30)]
    long = [asked(f"第{n}问", "这一句话实在是太长了" * 12 + f"。第{n}个。") for n in range(30)]
    rare = [asked("怎么样？", "很好很好。非常好。")]
    records = [Record(id=str(n), messages=r.messages) for n, r in enumerate(opened + long + rare)]
    (outcome,) = Overused(max_share=0, min_count=5, places="opening").run(stream_of(tmp_path, records), lend())
    after = {r.id: texts(r)[1] for r in records_of(outcome.kept)}
    assert 20 <= outcome.fixed["overused-opening"] <= 30
    assert sum(after[str(n)].startswith("以下是") for n in range(30)) == outcome.fixed["overused-opening"]
    assert all(after[r.id] == texts(r)[1] for r in records[30:])


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 60))
def test_any_block_size_gives_the_same(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    records = ready_made(40)
    stage = Overused(max_share=0.1, min_count=3)
    parts = [
        pl.concat([o.kept for o in stage.run(stream_of(tmp_path_factory.mktemp("s"), records, block), lend())])
        for block in (size, 1000)
    ]
    assert parts[0].equals(parts[1], null_equal=True)


def test_mistakes_are_sentences() -> None:
    with pytest.raises(UsageError, match=r"max_share is 2"):
        Overused(max_share=2)
    with pytest.raises(UsageError, match="min_count is 0"):
        Overused(min_count=0)
