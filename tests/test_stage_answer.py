"""The answer stage: what is asked, what comes of each kind of reply, and that nothing is lost."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.answer_request import MAX_TOKENS, TEMPERATURE, answer_request
from pipeline.errors import UsageError
from pipeline.llm.request import Profile, Reply, Request
from pipeline.record import Drop, Message, Record
from pipeline.settings import coerced, settings_schema
from pipeline.stage import Outcome, merged
from pipeline.stages.answer import Answer
from pipeline.stages.answered import spliced
from pipeline.stages.fates import BATCH
from tests.doubles import FunctionLLM, kept_ids, lend, reasons, stream_of


def ask(text: str, id: str | None = None, **fields: Any) -> Record:
    return Record(id=id or text, messages=(Message(role="user", content=text),), **fields)


def pair(question: str, answer: str, **fields: Any) -> Record:
    turns = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Record(id=question, messages=turns, **fields)


def run(stage: Answer, records: list[Record], llm: FunctionLLM, folder: Path, **lent: Any) -> Outcome:
    return merged(list(stage.run(stream_of(folder, records), lend(llm, **lent))))


def by_question(replies: dict[str, str | Reply], default: str = "An answer.") -> Callable[[Request], str | Reply]:
    return lambda request: replies.get(request.messages[-1].content, default)


def ending(outcome: str, text: str = "") -> Reply:
    reasons = {"length": "length", "content_filter": "content_filter", "refused": "error"}
    return Reply(key="", text=text, outcome=outcome, finish_reason=reasons.get(outcome, "stop"))  # type: ignore[arg-type]


def test_only_missing_answers_are_asked_for(tmp_path: Path) -> None:
    records = [ask("What is rain?"), pair("What is snow?", "Frozen water."), pair("What is hail?", " \n")]
    llm = FunctionLLM(by_question({"What is rain?": "  Water that falls.\n"}))
    outcome = run(Answer(), records, llm, tmp_path)
    outputs = {row["id"]: row["messages"][-1]["content"] for row in outcome.kept.iter_rows(named=True)}
    assert outputs == {
        "What is rain?": "Water that falls.",
        "What is snow?": "Frozen water.",
        "What is hail?": "An answer.",
    }
    assert [request.messages[-1].content for request in llm.asked] == ["What is rain?", "What is hail?"]
    assert outcome.notes == {"left_alone": 1}


def test_the_request_is_the_shared_one(tmp_path: Path) -> None:
    record = ask("Sum up.", input="A long text.", language="en")
    llm = FunctionLLM(lambda request: "Short.")
    run(Answer(), [record], llm, tmp_path, seed=9)
    assert llm.asked == [answer_request(record, Profile(role="default", model="double"), seed=9)]
    assert llm.asked[0].messages[-1].content == "Sum up.\nA long text."
    assert llm.asked[0].params["temperature"] == TEMPERATURE
    assert llm.asked[0].params["max_tokens"] == MAX_TOKENS


def test_the_answer_keeps_the_id_and_carries_its_provenance(tmp_path: Path) -> None:
    reply = Reply(key="", text="四。", thinking="二加二等于四", model="m-1")
    record = ask("二加二等于几？", language="zh", calls=("earlier",), parents=("p",), prompt="made@1")
    kept = run(Answer(), [record], FunctionLLM(lambda request: reply), tmp_path).kept.row(0, named=True)
    assert kept["id"] == record.id
    assert kept["parents"] == ["p"]
    assert kept["prompt"] == "made@1"
    assert kept["model"] == "m-1"
    assert kept["calls"][0] == "earlier"
    assert len(kept["calls"]) == 2
    assert kept["messages"][-1]["thinking"] == "二加二等于四"


def test_a_conversation_is_asked_as_a_whole(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "And now?")]
    record = Record(id="c", messages=tuple(Message(role=role, content=text) for role, text in turns))
    llm = FunctionLLM(lambda request: "Now this.")
    outcome = run(Answer(system="unused"), [record], llm, tmp_path)
    assert [(m.role, m.content) for m in llm.asked[0].messages] == turns
    assert outcome.kept["messages"][0].struct.field("content").to_list()[-1] == "Now this."


def test_a_system_prompt_leads_conversations_that_have_none(tmp_path: Path) -> None:
    llm = FunctionLLM(lambda request: "Aye.")
    kept = run(Answer(system="Talk like a sailor.", temperature=0.2, max_tokens=50), [ask("Hi")], llm, tmp_path).kept
    assert [m.role for m in llm.asked[0].messages] == ["system", "user"]
    assert llm.asked[0].params["temperature"] == 0.2
    assert llm.asked[0].params["max_tokens"] == 50
    assert kept["messages"][0].struct.field("role").to_list() == ["user", "assistant"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "answer-empty"),
        (" \n\t", "answer-empty"),
        (ending("length", "Half an ans"), "answer-cut-off"),
        (ending("length"), "answer-cut-off"),
        (ending("content_filter", "I was going to"), "answer-content-filter"),
        (ending("refused", "context too long"), "answer-refused-by-server"),
    ],
)
def test_what_is_no_whole_answer_is_a_drop_with_the_evidence(tmp_path: Path, reply: str | Reply, reason: str) -> None:
    outcome = run(Answer(), [ask("Q1"), ask("Q2")], FunctionLLM(by_question({"Q2": reply})), tmp_path)
    assert kept_ids([outcome]) == ["Q1"]
    assert reasons([outcome]) == {reason: 1}
    drop = outcome.drops.row(0, named=True)
    assert drop["id"] == "Q2"
    assert len(drop["calls"]) == 1
    raw = reply if isinstance(reply, str) else reply.text
    assert raw.strip() in drop["detail"]


def test_nothing_is_asked_without_a_question(tmp_path: Path) -> None:
    empty = [Record(id="none"), ask("  ", "blank"), Record(id="sys", messages=(Message(role="system", content="x"),))]
    llm = FunctionLLM(lambda request: "x")
    assert reasons([run(Answer(), empty, llm, tmp_path)]) == {"no-question": 3}
    assert llm.asked == []


def test_tools_and_preferences_are_left_alone(tmp_path: Path) -> None:
    call = Message(role="assistant", content="", tool_calls='[{"id": "1"}]')
    user = Message(role="user", content="Weather?")
    good = (Message(role="assistant", content="a"),)
    records = [
        Record(id="tools", messages=(user,), tools="[]"),
        Record(id="call", messages=(user, call)),
        Record(id="result", messages=(user, call, Message(role="tool", content="{}"))),
        Record(id="pair", messages=(user,), chosen=good, rejected=good),
    ]
    llm = FunctionLLM(lambda request: "x")
    outcome = run(Answer(overwrite=True), records, llm, tmp_path)
    assert kept_ids([outcome]) == ["tools", "call", "result", "pair"]
    assert outcome.notes == {"left_alone": 4}
    assert llm.asked == []


def test_overwrite_answers_again_and_forgets_the_old_score(tmp_path: Path) -> None:
    old = pair("What is snow?", "Sugar.", scores={"accuracy": 1.0})
    fresh = ask("What is rain?", scores={"novelty": 0.5})
    kept = run(Answer(overwrite=True), [old, fresh], FunctionLLM(lambda r: "Frozen water."), tmp_path).kept
    assert kept["messages"][0].struct.field("content").to_list() == ["What is snow?", "Frozen water."]
    assert kept["scores"].to_list() == [[], [{"key": "novelty", "value": 0.5}]]


STORY = "Once upon a time there was a miller who had three sons and a cat that could speak."


def storyteller(request: Request) -> str | Reply:
    """Tells STORY twenty characters at a time, taking up where the last assistant turn ends."""
    told = request.messages[-2].content if len(request.messages) > 1 else ""
    rest = STORY[len(told) :].lstrip()
    return ending("length", rest[:20]) if len(rest) > 20 else rest


def test_a_cut_answer_is_continued_and_joined_without_a_seam(tmp_path: Path) -> None:
    llm = FunctionLLM(storyteller)
    outcome = run(Answer(continue_cut=True, continue_at_most=9), [ask("Tell a story.", language="en")], llm, tmp_path)
    row = outcome.kept.row(0, named=True)
    assert row["messages"][-1]["content"] == STORY
    assert len(row["calls"]) == len(llm.asked) > 4
    assert outcome.notes == {"continued": 1}
    assert "broke off" in llm.asked[1].messages[-1].content


def test_continuing_ends_after_so_many_calls(tmp_path: Path) -> None:
    llm = FunctionLLM(storyteller)
    outcome = run(Answer(continue_cut=True, continue_at_most=2), [ask("Tell a story.")], llm, tmp_path)
    assert reasons([outcome]) == {"answer-cut-off": 1}
    assert len(llm.asked) == 3
    assert len(outcome.drops["calls"][0]) == 3
    assert "Once upon a time" in outcome.drops["detail"][0]


@pytest.mark.parametrize("language", ["zh", "zh-Hant", None])
def test_a_chinese_answer_is_continued_in_chinese(tmp_path: Path, language: str | None) -> None:
    halves: Iterator[str | Reply] = iter([ending("length", "从前有一个磨坊主，他有三个"), "儿子和一只会说话的猫。"])
    llm = FunctionLLM(lambda request: next(halves))
    outcome = run(Answer(continue_cut=True), [ask("讲个故事。", language=language)], llm, tmp_path)
    assert outcome.kept["messages"][0][-1]["content"] == "从前有一个磨坊主，他有三个儿子和一只会说话的猫。"
    assert "断开的地方" in llm.asked[1].messages[-1].content


def test_a_completion_is_continued_by_its_own_text(tmp_path: Path) -> None:
    profile = Profile(role="default", model="base", style="completion")
    halves: Iterator[str | Reply] = iter([ending("length", " Water that fa"), "lls from clouds."])
    llm = FunctionLLM(lambda request: next(halves), profile)
    outcome = run(Answer(continue_cut=True), [ask("What is rain?")], llm, tmp_path)
    assert (llm.asked[1].prompt or "").startswith(llm.asked[0].prompt or "-")
    assert (llm.asked[1].prompt or "").endswith("Water that ")
    assert outcome.kept["messages"][0][-1]["content"] == "Water that lls from clouds."


@pytest.mark.parametrize(
    ("seam", "rest", "whole"),
    [
        ("The cat sat on ", "the mat.", "The cat sat on the mat."),
        ("The cat sat on ", "\nThe cat sat on the mat.", "The cat sat on the mat."),
        ("def f():\n    ", "    return 1", "def f():\n    return 1"),
        ("他有三个", "儿子。", "他有三个儿子。"),
        ("one\n", "", "one"),
    ],
)
def test_continuations_are_spliced(seam: str, rest: str, whole: str) -> None:
    assert spliced(seam, rest) == whole


@given(st.text(max_size=60), st.text(max_size=60))
def test_splicing_loses_nothing_but_space_and_repetition(seam: str, rest: str) -> None:
    whole = spliced(seam, rest)
    assert whole.startswith(seam.strip())
    assert whole.endswith(rest.strip()[-1:])


def test_a_prompt_of_ones_own_stands_in_the_first_question_s_place(tmp_path: Path) -> None:
    prompt = tmp_path / "mine.txt"
    prompt.write_text("[system]\nYou are a pirate.\n[user]\nIn rhyme: {{question}}\n", encoding="utf-8")
    turns = [("system", "old"), ("user", "Hi {{question}}"), ("assistant", "Ho"), ("user", "And?")]
    record = Record(id="c", messages=tuple(Message(role=role, content=text) for role, text in turns), input="in")
    llm = FunctionLLM(lambda request: "Arr.")
    kept = run(Answer(prompt=str(prompt)), [record], llm, tmp_path).kept
    assert [(m.role, m.content) for m in llm.asked[0].messages] == [
        ("system", "You are a pirate."),
        ("user", "In rhyme: Hi {{question}}\nin"),
        ("assistant", "Ho"),
        ("user", "And?"),
    ]
    assert kept["prompt"][0].startswith("mine.txt@")
    assert kept["messages"][0].struct.field("content").to_list() == ["old", "Hi {{question}}", "Ho", "And?", "Arr."]


def test_a_system_text_and_a_prompt_file_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="cannot both be set"):
        Answer(system="x", prompt="y.txt")


def test_a_model_of_few_languages_stops_before_anything_is_asked(tmp_path: Path) -> None:
    llm = FunctionLLM(lambda request: "x", Profile(role="default", model="tiny", languages=("en",)))
    stage = Answer()
    with pytest.raises(UsageError, match="cannot write 'zh'"):
        run(stage, [ask("Hi", language="en"), ask("你好", language="zh")], llm, tmp_path)
    assert llm.asked == []
    answered = run(stage, [ask("Hi", language="en"), pair("你好", "你好！", language="zh")], llm, tmp_path)
    assert answered.kept.height == 2


def test_outcomes_are_small_balanced_and_independent_of_the_window(tmp_path: Path) -> None:
    def answer(request: Request) -> str | Reply:
        number = int(request.messages[-1].content)
        if number % 50 == 7:
            return ending("unavailable")
        return "" if number % 10 == 3 else f"reply {number}"

    records = [ask(str(n)) for n in range(2 * BATCH + 5)]
    seen: list[tuple[int, int | None]] = []
    results = []
    for window in (1, 16, 256):
        tools = lend(FunctionLLM(answer))
        object.__setattr__(tools, "progress", lambda done, total: seen.append((done, total)))
        results.append(list(Answer(window=window).run(stream_of(tmp_path, records, block=100), tools)))
    sizes = [o.kept.height + o.drops.height + len(o.unavailable) for o in results[0]]
    assert sizes == [BATCH, BATCH, 5]
    assert seen[-1] == (len(records), len(records))
    for outcomes in results[1:]:
        assert merged(outcomes).kept.equals(merged(results[0]).kept)
        assert merged(outcomes).drops.equals(merged(results[0]).drops)
    whole = merged(results[0])
    assert len(whole.unavailable) == 12
    assert whole.kept.height + whole.drops.height + len(whole.unavailable) == len(records)


def test_the_recipe_s_word_is_continue() -> None:
    assert settings_schema(Answer)["properties"]["continue"] == {"type": "boolean"}
    assert Answer(**coerced(Answer, {"continue": True})).continue_cut


def test_a_drop_is_the_record_as_it_stood(tmp_path: Path) -> None:
    record = ask("Q", tags={"topic": "law"}, license="cc0-1.0")
    outcome = run(Answer(), [record], FunctionLLM(lambda request: ""), tmp_path)
    row = outcome.drops.row(0, named=True)
    assert (row["license"], row["tags"]) == ("cc0-1.0", [{"key": "topic", "value": "law"}])
    assert isinstance(Drop(record=record, reason="x"), Drop)
