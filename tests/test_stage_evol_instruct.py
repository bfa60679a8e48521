"""Evol-instruct: operators by address, failed evolutions eliminated and their parents tried again, lineage kept."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.answer_request import answer_request
from pipeline.errors import UsageError
from pipeline.llm.request import Profile, Reply, Request
from pipeline.prompt import load_prompt
from pipeline.record import Message, Record, digest, records_of
from pipeline.stage import Outcome, merged
from pipeline.stages.elimination import answer_fault, copied, has_content, text_fault, verdict
from pipeline.stages.evol_instruct import OPERATORS, EvolInstruct
from tests.doubles import FunctionLLM, kept_ids, lend, reasons, stream_of

CHAT = Profile(role="default", model="double")
SMALL = Profile(role="default", model="double", style="completion", small=True)
BASE = Profile(role="default", model="double", style="completion")


def task(n: int, text: str = "", **more: object) -> Record:
    answer = Message(role="assistant", content=f"old answer {n}")
    messages = (Message(role="user", content=text or f"Tell me about river {n}."), answer)
    return Record(id=f"t{n}", messages=messages, **more)  # type: ignore[arg-type]


def text_of(request: Request) -> str:
    return request.messages[-1].content if request.prompt is None else request.prompt


def step(request: Request) -> str:
    """Which of the three calls it is."""
    text = text_of(request)
    if "EQUAL or DIFFERENT" in text or text.endswith(("Verdict:", "判断：")) or "“相同”或“不同”" in text:
        return "judge"
    return "evolve" if "<task>" in text or text.endswith(("Rewritten:", "New:", "改写：", "新任务：")) else "answer"


def subject(request: Request) -> str:
    """The task that the request is about."""
    text = text_of(request)
    if "<task>" in text:
        return text.rsplit("<task>\n", 1)[1].removesuffix("\n</task>")
    return re.findall(r"^(?:Task: |任务：)(.*)", text, re.MULTILINE)[-1]


def obedient(request: Request) -> str:
    """A model that makes a task longer by a number, judges it different and answers it."""
    if step(request) == "evolve":
        return f"{subject(request)} Add point {random.Random(digest(repr(request))).randrange(10**9)}."
    return "DIFFERENT" if step(request) == "judge" else f"An answer to {digest(repr(request))}."


def run(tmp_path: Path, llm: FunctionLLM, records: list[Record], random_seed: int = 1, **settings: object) -> Outcome:
    stage = EvolInstruct(**settings)  # type: ignore[arg-type]
    outcomes = list(stage.run(stream_of(tmp_path, records, block=7), lend(llm, "evol", random_seed)))
    result = merged(outcomes)
    assert len(records) + result.derived == result.kept.height + result.drops.height
    return result


RECORDS = [task(n) for n in range(10)]


@pytest.mark.parametrize("profile", [CHAT, SMALL, BASE])
@pytest.mark.parametrize("keep", ["all", "last"])
def test_a_run_repeats_itself_at_any_window_and_another_seed_does_not(
    tmp_path: Path, profile: Profile, keep: str
) -> None:
    settings = {"rounds": 3, "keep": keep, "judge": None if profile.small else "default"}
    runs = [
        run(tmp_path, FunctionLLM(obedient, profile), RECORDS, s, window=w, **settings)
        for s, w in ((1, 64), (1, 3), (2, 64))
    ]
    assert runs[0].kept.height == (40 if keep == "all" else 10)
    assert runs[0].kept.equals(runs[1].kept)
    assert runs[0].drops.equals(runs[1].drops)
    assert not runs[0].kept.equals(runs[2].kept)


def test_lineage_and_order(tmp_path: Path) -> None:
    root = task(1, input="the Elbe", license="CC-BY-4.0", tags={"category": "geography", "difficulty": "easy"})
    llm = FunctionLLM(obedient)
    result = run(tmp_path, llm, [root, task(2)], rounds=2)
    first, one, two, second, *_ = records_of(result.kept)
    assert (first, second) == (root, task(2))
    assert (one.parents, two.parents) == (("t1",), (one.id,))
    assert one.instruction.startswith("Tell me about river 1.\nthe Elbe Add point")
    assert two.instruction.startswith(one.instruction)
    assert one.input is None
    assert one.output.startswith("An answer to ")
    assert one.tags == {"category": "geography", "operator": one.method, "round": "1"}
    assert (one.source, one.license, one.model) == ("evol-instruct", "cc-by-4.0 AND unknown", "double")
    assert re.fullmatch(rf"evol_instruct\.{one.method}\.chat\.en@[0-9a-f]{{12}}", one.prompt or "")
    keys = {digest("call", repr(r)): step(r) for r in llm.asked}
    assert [keys[key] for key in one.calls] == ["evolve", "judge", "answer"]


def test_keep_last_drops_the_forebears_as_superseded(tmp_path: Path) -> None:
    every = run(tmp_path, FunctionLLM(obedient), RECORDS, rounds=2)
    last = run(tmp_path, FunctionLLM(obedient), RECORDS, rounds=2, keep="last")
    assert kept_ids([last]) == kept_ids([every])[2::3]
    assert reasons([last]) == {"superseded": 20}
    assert last.drops["id"].to_list()[:2] == kept_ids([every])[:2]
    assert kept_ids([every])[1] in last.drops["detail"][0]


def test_operators_are_drawn_evenly_by_address_and_by_weight(tmp_path: Path) -> None:
    many = [task(n) for n in range(600)]
    drawn = [r.method for r in records_of(run(tmp_path, FunctionLLM(obedient), many, keep="last", judge="none").kept)]
    assert all(70 < drawn.count(operator) < 130 for operator in OPERATORS)
    fewer = [
        r.method for r in records_of(run(tmp_path, FunctionLLM(obedient), many[300:], keep="last", judge="none").kept)
    ]
    assert fewer == drawn[300:]
    weighted = run(
        tmp_path, FunctionLLM(obedient), many, keep="last", operators={"deepen": 3.0, "broaden": 1.0}, judge="none"
    )
    assert 400 < [r.method for r in records_of(weighted.kept)].count("deepen") < 500
    assert set(weighted.kept["method"]) == {"deepen", "broaden"}


def failing(at: str, reply: str | Reply) -> Callable[[Request], str | Reply]:
    return lambda request: reply if step(request) == at else obedient(request)


@pytest.mark.parametrize(
    ("at", "reply", "reason"),
    [
        ("evolve", "", "empty-reply"),
        ("evolve", "tell me about RIVER 1", "unchanged"),
        ("evolve", "About river 1.", "no-gain"),
        ("evolve", "Rewritten task: tell me about river 1 and its fish.", "prompt-leak"),
        ("evolve", "I'm sorry, but I cannot rewrite this.", "apology"),
        ("evolve", Reply(key="", text="Tell me about river 1 and", outcome="length"), "truncated"),
        ("evolve", Reply(key="", text="bad", outcome="refused"), "refused"),
        ("evolve", Reply(key="", text="", outcome="content_filter"), "content-filter"),
        ("judge", "EQUAL", "no-gain"),
        ("judge", "They are alike.", "verdict-unclear"),
        ("answer", "Sorry, I do not know that river.", "apology"),
        ("answer", "... it is as it is!", "no-content"),
        ("answer", " ", "answer-empty"),
        ("answer", Reply(key="", text="It flows", outcome="length"), "answer-cut-off"),
        ("answer", Reply(key="", text="bad", outcome="refused"), "answer-refused-by-server"),
        ("answer", Reply(key="", text="", outcome="content_filter"), "answer-content-filter"),
    ],
)
def test_a_failed_evolution_is_a_drop_and_its_parent_tries_again(
    tmp_path: Path, at: str, reply: str | Reply, reason: str
) -> None:
    llm = FunctionLLM(failing(at, reply))
    result = run(tmp_path, llm, [task(1)], rounds=2, keep="last")
    assert kept_ids([result]) == ["t1"]
    assert reasons([result]) == {reason: 2}
    assert result.derived == 2
    assert result.drops["parents"].to_list() == [["t1"], ["t1"]]
    assert result.drops["id"].n_unique() == 2
    evolved = [subject(r) for r in llm.asked if step(r) == "evolve"]
    assert evolved == ["Tell me about river 1."] * 2
    calls = {"evolve": 1, "judge": 2 if reason != "verdict-unclear" else 3, "answer": 3}
    assert len(llm.asked) == 2 * calls[at]


def test_a_later_round_goes_on_from_the_last_that_succeeded(tmp_path: Path) -> None:
    def second_fails(request: Request) -> str:
        if step(request) == "evolve" and subject(request).count("Add point") == 1 and not failed:
            failed.append(1)
            return ""
        return obedient(request)

    failed: list[int] = []
    result = run(tmp_path, FunctionLLM(second_fails), [task(1)], rounds=3)
    ids = kept_ids([result])
    assert [r.parents for r in records_of(result.kept)] == [(), ("t1",), (ids[1],)]
    assert [r.tags.get("round") for r in records_of(result.kept)] == [None, "1", "3"]
    assert result.drops["parents"].to_list() == [[ids[1]]]


def test_the_evidence_is_in_the_drop(tmp_path: Path) -> None:
    text = "Tell me about river 1. Leave everything else alone, its purpose, its figures and names too."
    result = run(tmp_path, FunctionLLM(failing("evolve", text)), [task(1)], operators={"add_constraints": 1.0})
    assert '"words":"leave everything else alone its purpose"' in result.drops["detail"][0]
    result = run(tmp_path, FunctionLLM(failing("judge", "Hm.")), [task(1)])
    assert '"replies":["Hm.","Hm."]' in result.drops["detail"][0]
    assert result.notes == {"asked_again": 1}
    assert len(result.drops["calls"][0]) == 3


def test_without_answers_children_have_none(tmp_path: Path) -> None:
    llm = FunctionLLM(obedient)
    result = run(tmp_path, llm, [task(1)], answer=False, judge="none")
    assert [r.output for r in records_of(result.kept)] == ["old answer 1", ""]
    assert [step(r) for r in llm.asked] == ["evolve"]


def test_conversations_and_tool_records_pass_unchanged(tmp_path: Path) -> None:
    longer = replace(task(1), messages=task(1).messages * 2)
    odd = [longer, task(2, tools="[]"), task(3, label=True), Record(id="none")]
    result = run(tmp_path, FunctionLLM(obedient), odd)
    assert list(records_of(result.kept)) == odd
    assert result.notes == {"not_evolvable": 4}
    system = replace(task(4), messages=(Message(role="system", content="Be terse."), *task(4).messages))
    child = list(records_of(run(tmp_path, FunctionLLM(obedient), [system]).kept))[1]
    assert [m.role for m in child.messages] == ["system", "user", "assistant"]


def test_rows_without_a_reply_are_listed_and_the_others_go_on(tmp_path: Path) -> None:
    gone = Reply(key="", text="", outcome="unavailable")
    llm = FunctionLLM(lambda r: gone if "river 3." in text_of(r) and step(r) == "answer" else obedient(r))
    outcomes = list(EvolInstruct().run(stream_of(tmp_path, RECORDS), lend(llm)))
    assert [id for o in outcomes for id in o.unavailable] == ["t3"]
    assert sum(o.kept.height for o in outcomes) == 18


def test_long_streams_come_out_in_parts(tmp_path: Path) -> None:
    done: list[tuple[int, int | None]] = []
    tools = replace(lend(FunctionLLM(obedient)), progress=lambda n, total: done.append((n, total)))
    outcomes = list(EvolInstruct(judge="none").run(stream_of(tmp_path, [task(n) for n in range(450)]), tools))
    assert [o.kept.height for o in outcomes] == [400, 400, 100]
    assert done[-1] == (450, 450)


def test_chinese(tmp_path: Path) -> None:
    def model(request: Request) -> str:
        if step(request) == "evolve":
            return f"{subject(request)}再说说它的第{len(text_of(request))}条支流。"
        return "不同" if step(request) == "judge" else "长江发源于唐古拉山。"

    roots = [task(n, f"介绍第{n}条河。", language="zh") for n in range(6)]
    for profile in (CHAT, BASE):
        result = run(tmp_path, FunctionLLM(model, profile), roots, rounds=2, language="zh")
        assert result.kept.height == 18
        assert all("再说说" in r.instruction for r in records_of(result.kept) if r.parents)
    sorry = run(
        tmp_path, FunctionLLM(lambda r: "很抱歉，我不知道。" if step(r) == "answer" else model(r)), roots, language="zh"
    )
    assert reasons([sorry]) == {"apology": 6}
    equal = run(tmp_path, FunctionLLM(lambda r: "相同" if step(r) == "judge" else model(r)), roots, language="zh")
    assert reasons([equal]) == {"no-gain": 6}


def test_elimination_rules() -> None:
    assert answer_fault("I am sorry " + "word " * 80, "en") is None
    assert answer_fault("I am sorry " + "word " * 70, "en") == "apology"
    assert answer_fault("对不起" + "字" * 76, "zh") == "apology"
    assert answer_fault("对不起" + "字" * 77, "zh") is None
    for text in ("42", "Yes.", "No", "π ≈ 3", "x = y", "€", "Rome"):
        assert has_content(text, "en"), text
    for text in ("...", "It is so.", "- \n*", "the them and you're".replace("'re", "")):
        assert not has_content(text, "en"), text
    assert has_content("不", "zh")
    assert not has_content("的，是了。", "zh")
    assert (verdict("**EQUAL**", "en"), verdict("Not equal.", "en"), verdict("equality", "en")) == (True, False, None)
    assert (verdict("相同。", "zh"), verdict("不相同", "zh"), verdict("嗯", "zh")) == (True, False, None)


def in_json(verdicts: list[str]) -> Callable[[Request], str]:
    """An obedient model whose judge replies in JSON, in this order."""
    left = iter(verdicts)
    return lambda request: next(left) if request.response_format else obedient(request)


@pytest.mark.parametrize("profile", [CHAT, SMALL])
def test_a_judge_that_replies_in_json(tmp_path: Path, profile: Profile) -> None:
    equal, different = ('{"difference": "x", "verdict": "equal"}', '{"difference": "x", "verdict": "different"}')
    judge = FunctionLLM(in_json([different, equal, "EQUAL", different, "EQUAL", "EQUAL"]), profile)
    if profile.small:
        chat = FunctionLLM(obedient, CHAT)
        judge.answer = lambda request: different if request.response_format else chat.answer(request)
        result = run(tmp_path, judge, [task(1)], judge_reply="json")
        assert result.kept.height == 2
        return
    result = run(tmp_path, judge, [task(n) for n in range(4)], judge_reply="json", window=1)
    assert kept_ids([result])[:1] == ["t0"]
    assert result.kept.height == 6
    assert reasons([result]) == {"no-gain": 1, "verdict-unclear": 1}
    assert result.notes == {"asked_again": 2}
    first = next(request for request in judge.asked if request.response_format)
    assert first.messages[-1].content.index('In "difference"') < first.messages[-1].content.index("Reply in JSON")


def test_a_base_model_cannot_judge_in_json(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="judge_reply: json"):
        run(tmp_path, FunctionLLM(obedient, BASE), [task(1)], judge_reply="json")


def test_copied_words_are_those_that_the_parent_does_not_have() -> None:
    prompt = load_prompt("evol_instruct.deepen.completion.en", ("task",), chat=False)
    line = "Why is the sky blue at noon but red at sunset, and why is it never violet?"
    assert copied("What is rain?", line, prompt, "en")
    assert copied(line, line + " Explain.", prompt, "en") is None
    assert text_fault("What is a given prompt?", "What is a given prompt in Bash?", prompt, "en") is None
    assert text_fault("Write a note.", "Write a note that says sorry to Ann.", prompt, "en") is None


def test_the_same_question_is_one_request_whoever_asks() -> None:
    bare = Record(id="a", messages=task(1).messages[:1], input="the Elbe")
    other = replace(task(1, "Tell me about river 1.\nthe Elbe"), id="b", language="en", tags={"x": "y"})
    assert answer_request(bare, CHAT, seed=1) == answer_request(other, CHAT, seed=1)
    assert answer_request(bare, CHAT, seed=1) != answer_request(bare, CHAT, seed=2)
    assert answer_request(bare, CHAT, seed=1) != answer_request(bare, CHAT, seed=1, sample=1)
    assert answer_request(bare, SMALL, seed=1).messages == answer_request(bare, CHAT, seed=1, system=None).messages
    base = answer_request(bare, BASE, seed=1, system="Be brief.")
    assert base.prompt is not None
    assert base.prompt.startswith("Be brief.\n")
    assert base.prompt.endswith("Question: Tell me about river 1.\nthe Elbe\nAnswer:")
    chinese = answer_request(task(1, "介绍长江。"), BASE, seed=1).prompt
    assert chinese is not None
    assert chinese.endswith("问：介绍长江。\n答：")


def test_a_prompt_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("[user]\n{{operator}} this:\n<task>\n{{task}}\n</task>", encoding="utf-8")
    llm = FunctionLLM(obedient)
    result = run(tmp_path, llm, [task(1)], prompt=str(path), operators={"deepen": 1.0})
    assert text_of(llm.asked[0]).startswith("deepen this:\n<task>\nTell me")
    assert str(result.kept["prompt"][1]).startswith("mine.txt@")


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="unknown operator 'deepn'"):
        EvolInstruct(operators={"deepn": 1.0})
    for weights in ({}, {"deepen": 0.0}, {"deepen": 2.0, "broaden": -1.0}):
        with pytest.raises(UsageError, match="weights"):
            EvolInstruct(operators=weights)
