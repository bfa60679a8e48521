"""Rows as the projects publish them: what is read of each, what is written back, and what of them is unreadable."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.formats import FORMATS, recognised
from pipeline.formats.elements import Unreadable
from pipeline.formats.extras import whole_row
from pipeline.formats.reading import Example, examples
from pipeline.formats.shape import Bad
from pipeline.record import Message, Record

Turns = list[tuple[str, str]]


def read(name: str, row: dict[str, Any]) -> list[Record]:
    assert recognised(row) is FORMATS[name]
    return [Record(id="x", **fields) for fields in FORMATS[name].read(row)]


def turns(messages: tuple[Message, ...] | None) -> Turns:
    return [(m.role, m.content) for m in messages or ()]


QA: Turns = [("user", "q"), ("assistant", "a")]
CHAT: Turns = [*QA, ("user", "r"), ("assistant", "b")]
OPEN: Turns = [*QA, ("user", "r")]
USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
WORSE = {"role": "assistant", "content": "w"}

PUBLISHED: dict[str, tuple[str, dict[str, Any], Turns]] = {
    "BELLE 0.5M": ("belle", {"input": "q\n", "target": "a"}, [("user", "q\n"), ("assistant", "a")]),
    "BELLE without its target": ("belle", {"input": "q", "target": ""}, QA[:1]),
    "Firefly 1.1M": ("belle", {"kind": "Couplet", "input": "q", "target": "a"}, QA),
    "BELLE multi-turn": (
        "belle-multiturn",
        {"instruction": "Human:q\nAssistant:a\nHuman:r\nAssistant:", "input": "", "output": "b"},
        CHAT,
    ),
    "BELLE multi-turn, with spaces": (
        "belle-multiturn",
        {"instruction": "Human: q\n\nAssistant: a\nHuman: r\nAssistant:\n", "input": "", "output": " b "},
        CHAT,
    ),
    "BELLE 2M": ("alpaca", {"instruction": "q", "input": "", "output": "a"}, QA),
    "BELLE generated chat": (
        "alpaca",
        {"instruction": "两个角色", "input": "", "output": "\nAlice: hi\nBob: ho\n"},
        [("user", "两个角色"), ("assistant", "\nAlice: hi\nBob: ho\n")],
    ),
    "BELLE 3.5M": (
        "sharegpt",
        {"id": "1", "conversations": [{"from": "human", "value": "q"}, {"from": "assistant", "value": "a"}]},
        QA,
    ),
    "Baize": (
        "baize",
        {
            "topic": "tea",
            "input": "The conversation between human and AI assistant.\n"
            "[|Human|] q\n[|AI|] a\n[|Human|] r\n[|AI|] b\n[|Human|] ",
        },
        CHAT,
    ),
    "Baize v2, named": (
        "baize",
        {"input": "You are kind.\n[|Human|] q\n[|AI|] a\n[|Human|] r"},
        [("system", "You are kind."), *OPEN],
    ),
    "Koala": (
        "koala",
        {
            "marker_gpt": "GPT:",
            "marker_user": "USER:",
            "human_0": "q",
            "gpt_1": "a",
            "fields": "[marker_user+human_0+marker_gpt],gpt_1,<|eos|>",
        },
        QA,
    ),
    "Koala before it is processed": ("koala", {"human_0": "q", "gpt_1": "a", "human_2": "r", "gpt_3": "b"}, CHAT),
    "Guanaco": ("guanaco", {"text": "### Human: q### Assistant: a### Human: r### Assistant: b"}, CHAT),
    "Guanaco on lines": ("guanaco", {"text": "### Human: q\n### Assistant: a\n### Human: r"}, OPEN),
    "GuanacoDataset, first question": (
        "guanaco-dialogue",
        {"instruction": "", "input": "User: q", "output": "a"},
        QA,
    ),
    "GuanacoDataset, later": (
        "guanaco-dialogue",
        {"instruction": "User: q\nAssistant: a", "input": "System: facts\nUser: r", "output": "b"},
        [("system", "facts"), *CHAT],
    ),
    "a task about a chat is no dialogue": (
        "alpaca",
        {"instruction": "Summarise.", "input": "User: q\nAgent: b", "output": "a"},
        [("user", "Summarise."), ("assistant", "a")],
    ),
    "Firefly": (
        "firefly",
        {
            "conversation_id": 1,
            "category": "Brainstorming",
            "conversation": [{"human": "q", "assistant": "a"}, {"human": "r", "assistant": "b"}],
            "dataset": "moss",
        },
        CHAT,
    ),
    "Swift": (
        "firefly",
        {"system": "s", "conversation": [{"human": "q", "assistant": "a"}]},
        [("system", "s"), *QA],
    ),
    "HuaTuo on literature": (
        "huatuo",
        {"instruction": " <user>: q <bot>: a <user>: r", "output": "b", "id": 748, "input": ""},
        CHAT,
    ),
    "HuaTuo, one question": ("huatuo", {"instruction": " <user>: q", "output": "a", "input": ""}, QA),
    "CAMEL": (
        "camel",
        {
            "role_1": "Nurse_RoleType.ASSISTANT",
            "role_2": "Poet_RoleType.USER",
            "id": "001_002_003",
            "original_task": "t",
            "message_1": {"role_name": "Poet", "role_type": "USER", "meta_dict": None, "role": "user", "content": "q"},
            "message_2": {"role_name": "Nurse", "role_type": "ASSISTANT", "role": "assistant", "content": "a"},
            "num_messages": 2,
            "termination_reason": "<CAMEL_TASK_DONE>",
        },
        QA,
    ),
    "CAMEL physics": (
        "camel",
        {"role_1": "Physicist_RoleType.ASSISTANT", "topic": "optics", "message_1": "q", "message_2": "a"},
        QA,
    ),
    "Gorilla": (
        "gorilla",
        {
            "code": "###Instruction: q\n###Output: {'api_call': 'a'}\n",
            "api_call": "a",
            "provider": "PyTorch",
            "api_data": {"domain": "d"},
        },
        [("user", "q"), ("assistant", "{'api_call': 'a'}")],
    ),
    "Dolly": ("dolly", {"instruction": "q", "context": "", "response": "a", "category": "open_qa"}, QA),
    "OpenChat": (
        "openchat",
        {"items": [USER | {"weight": 0.0}, ANSWER | {"weight": 1.0}], "condition": "GPT4", "system": ""},
        QA,
    ),
    "OpenChat from a page": (
        "openchat",
        {"id": "AbC", "views": 3, "model": "Model: GPT-4", "items": [{"from": "human", "value": "q"}]},
        QA[:1],
    ),
    "LMFlow text2text": ("lmflow", {"input": "q", "output": "a"}, QA),
    "LMFlow conversation": (
        "lmflow-conversation",
        {"conversation_id": 1, "system": "s", "tools": [""], "messages": [USER, ANSWER]},
        [("system", "s"), *QA],
    ),
    "UltraChat": ("ultrachat", {"id": "0", "data": ["q", "a", "r", "b"]}, CHAT),
    "UltraChat 200k": ("messages", {"prompt": "q", "prompt_id": "1", "messages": [USER, ANSWER]}, QA),
    "Self-Instruct's finetuning": (
        "self-instruct",
        {"prompt": "Task: q\n\nOutput:", "completion": " a<|endoftext|>"},
        [("user", "Task: q"), ("assistant", "a")],
    ),
    "TRL prompt-completion": (
        "prompt-completion",
        {"prompt": "q", "completion": " a"},
        [("user", "q"), ("assistant", " a")],
    ),
    "TRL prompt-only": ("prompt-completion", {"prompt": "q"}, QA[:1]),
    "TRL prompt-completion of messages": (
        "prompt-completion-chat",
        {"prompt": [{"role": "system", "content": "s"}, USER], "completion": [ANSWER]},
        [("system", "s"), *QA],
    ),
    "TRL prompt-only of messages": ("prompt-completion-chat", {"prompt": [USER]}, QA[:1]),
    "TRL KTO": ("prompt-completion", {"prompt": "q", "completion": "a", "label": True}, QA),
    "TRL KTO of messages": ("prompt-completion-chat", {"prompt": [USER], "completion": [ANSWER], "label": False}, QA),
}


@pytest.mark.parametrize(("name", "row", "expected"), PUBLISHED.values(), ids=PUBLISHED.keys())
def test_a_published_row_is_read_and_comes_back(name: str, row: dict[str, Any], expected: Turns) -> None:
    (record,) = read(name, row)
    assert turns(record.messages) == expected
    assert record.chosen is record.rejected is None
    assert FORMATS[name].refuses(record) is None
    written, _ = whole_row(FORMATS[name], record)
    (again,) = FORMATS[name].read(json.loads(json.dumps(written)))
    expected_again = [(role, text.strip()) for role, text in expected]
    assert [(role, text.strip()) for role, text in turns(again["messages"])] == expected_again
    assert again.get("extra") == record.extra
    assert again.get("tags", {}) == record.tags


COMPARED: dict[str, tuple[str, dict[str, Any], Turns, str, str]] = {
    "GPT-4-LLM": ("gpt4-llm", {"user_input": "q", "completion_a": "a", "completion_b": "w"}, QA[:1], "a", "w"),
    "PandaLM, training": (
        "pandalm",
        {
            "inputs": {"instruction": "q", "input": "i", "response1": "w", "response2": "a"},
            "outputs": {"evaluation_result": "2", "evaluation_reason": "why", "reference_response": "r"},
        },
        [("user", "q"), ("assistant", "r")],
        "a",
        "w",
    ),
    "PandaLM, test": (
        "pandalm",
        {
            **{"idx": 0, "motivation_app": "m", "cmp_key": "a_b", "instruction": "q", "input": ""},
            **{"response1": "a", "response2": "w", "annotator1": 1, "annotator2": 2, "annotator3": 1},
        },
        QA[:1],
        "a",
        "w",
    ),
    "TRL preference": ("preference", {"prompt": "q", "chosen": "a", "rejected": "w"}, QA[:1], "a", "w"),
    "TRL preference of messages": (
        "preference-chat",
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [WORSE]},
        QA[:1],
        "a",
        "w",
    ),
    "UltraFeedback binarized": (
        "preference-chat",
        {
            **{"prompt": "q", "prompt_id": "1", "messages": [USER, ANSWER], "score_chosen": 8.5},
            **{"chosen": [USER, ANSWER | {"note": 1}], "rejected": [USER, WORSE]},
        },
        QA[:1],
        "a",
        "w",
    ),
    "TRL without a prompt": (
        "preference-implicit",
        {"chosen": [USER, ANSWER], "rejected": [USER, WORSE]},
        QA[:1],
        "a",
        "w",
    ),
    "TRL without a prompt, texts": (
        "preference-implicit",
        {"chosen": "The sky is blue.", "rejected": "The sky is green."},
        [("user", "The sky is")],
        " blue.",
        " green.",
    ),
    "HH-RLHF": (
        "hh-rlhf",
        {
            "chosen": "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: c",
            "rejected": "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: w",
        },
        OPEN,
        "c",
        "w",
    ),
    "OpenAI": (
        "openai-dpo",
        {
            "input": {"messages": [USER], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [ANSWER],
            "non_preferred_output": [WORSE],
        },
        QA[:1],
        "a",
        "w",
    ),
}


@pytest.mark.parametrize(("name", "row", "expected", "better", "worse"), COMPARED.values(), ids=COMPARED.keys())
def test_a_published_comparison_is_read_and_comes_back(
    name: str, row: dict[str, Any], expected: Turns, better: str, worse: str
) -> None:
    (record,) = read(name, row)
    assert turns(record.messages) == expected
    assert (turns(record.chosen), turns(record.rejected)) == ([("assistant", better)], [("assistant", worse)])
    written, lost = whole_row(FORMATS[name], record)
    assert lost == []
    (again,) = FORMATS[name].read(json.loads(json.dumps(written)))
    assert Record(id="x", **again) == record


def test_openchat_has_a_weight_everywhere_and_keeps_those_that_say_something() -> None:
    said = Record(id="x", messages=(ASK, replace(SAY, weight=0.1), ASK, SAY))
    row, lost = whole_row(FORMATS["openchat"], said)
    assert [item["weight"] for item in row["items"]] == [0.0, 0.1, 0.0, 1.0]
    assert lost == FORMATS["openchat"].losses(said) == []
    assert read("openchat", row)[0] == replace(said, extra=None)
    assert FORMATS["openchat"].losses(Record(id="x", messages=(ASK, replace(SAY, weight=1.0)))) == ["weight"]


def test_a_tie_has_no_better_response_and_keeps_both() -> None:
    row = {
        "inputs": {"instruction": "q", "input": "", "response1": "a", "response2": "b"},
        "outputs": {"evaluation_result": "Tie", "evaluation_reason": "alike", "reference_response": ""},
    }
    (record,) = read("pandalm", row)
    assert (record.chosen, record.rejected) == (None, None)
    places = json.loads(record.extra or "")["[]"]
    assert places["inputs.0"] == {"response1": "a", "response2": "b"}
    assert FORMATS["pandalm"].refuses(record) == "no-preference"
    test_row = {"instruction": "q", "response1": "a", "response2": "b", "annotator1": 1, "annotator2": 2}
    (record,) = read("pandalm", test_row)
    assert json.loads(record.extra or "") == {key: test_row[key] for key in test_row if key != "instruction"}


MOSS = {
    "conversation_id": 1,
    "meta_instruction": "You are MOSS.\n- Calculator: enabled. API: Calculate(expression)\n",
    "num_turns": 2,
    "chat": {
        "turn_1": {
            "Human": "<|Human|>: q<eoh>\n",
            "Inner Thoughts": "<|Inner Thoughts|>: easy<eot>\n",
            "Commands": "<|Commands|>: None<eoc>\n",
            "Tool Responses": "<|Results|>:\nNone\n<eor>\n",
            "MOSS": "<|MOSS|>: a<eom>\n",
        },
        "turn_2": {
            "Human": "<|Human|>: r<eoh>\n",
            "Inner Thoughts": "<|Inner Thoughts|>: sums<eot>\n",
            "Commands": '<|Commands|>: Calculate("1+(2)"), Search("he said "hi"")<eoc>\n',
            "Tool Responses": '<|Results|>:\nCalculate("1+(2)") => 3\n<eor>\n',
            "MOSS": "<|MOSS|>: b<eom>\n",
        },
    },
    "category": "tool",
}


def test_the_plugins_of_moss_are_tool_calls_and_its_rows_come_back_as_they_were() -> None:
    (record,) = read("moss", MOSS)
    assert [m.role for m in record.messages] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert [m.thinking for m in record.messages] == [None, None, "easy", None, "sums", None, None]
    calls = [call["function"] for call in json.loads(record.messages[4].tool_calls or "")]
    assert [(c["name"], json.loads(c["arguments"])) for c in calls] == [
        ("Calculate", {"expression": "1+(2)"}),
        ("Search", {"query": 'he said "hi"'}),
    ]
    assert FORMATS["moss"].refuses(record) is None
    assert FORMATS["moss"].losses(record) == []
    assert whole_row(FORMATS["moss"], record) == (MOSS, [])
    messages = FORMATS["messages"].write(record)
    assert messages["messages"][4]["tool_calls"][0]["function"]["name"] == "Calculate"


def test_a_command_that_is_written_in_another_way_is_kept_as_it_is() -> None:
    odd = json.loads(json.dumps(MOSS))
    odd["chat"]["turn_2"]["Commands"] = "<|Commands|>: calculate 1 + 2<eoc>\n"
    (record,) = read("moss", odd)
    assert json.loads(record.messages[4].tool_calls or "")[0]["function"]["name"] == "Commands"
    assert whole_row(FORMATS["moss"], record) == (odd, [])


def node(text: str, role: str, *replies: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"message_id": f"id-{text}", "text": text, "role": role, "lang": "en", "replies": list(replies), **more}


TREE = {
    "message_tree_id": "t",
    "tree_state": "ready_for_export",
    "prompt": node(
        "q",
        "prompter",
        node("good", "assistant", node("r", "prompter", node("b", "assistant")), rank=0),
        node("bad", "assistant", rank=2, labels={"spam": {"value": 0.0, "count": 3}}),
        node("fair", "assistant", rank=1),
    ),
}


def test_a_tree_is_a_record_for_every_thread_and_every_ranking() -> None:
    threads_and_pairs = read("oasst", TREE)
    threads, pairs = threads_and_pairs[:3], threads_and_pairs[3:]
    assert [turns(record.messages)[1:] for record in threads] == [
        [("assistant", "good"), ("user", "r"), ("assistant", "b")],
        [("assistant", "bad")],
        [("assistant", "fair")],
    ]
    (pair,) = pairs
    assert turns(pair.messages) == [("user", "q")]
    assert (turns(pair.chosen), turns(pair.rejected)) == ([("assistant", "good")], [("assistant", "bad")])
    assert {record.language for record in threads_and_pairs} == {"en"}
    for record in threads_and_pairs:
        kept = json.loads(record.extra or "")
        assert (kept["message_tree_id"], kept["tree_state"]) == ("t", "ready_for_export")
        assert kept["[]"]["messages.0"] == {"message_id": "id-q"}
    assert json.loads(threads[1].extra or "")["[]"]["messages.1"]["labels"] == {"spam": {"value": 0.0, "count": 3}}
    assert json.loads(pair.extra or "")["[]"]["rejected.0"]["rank"] == 2
    for record in threads:
        row, lost = whole_row(FORMATS["oasst"], record)
        assert lost == []
        assert [Record(id="x", **fields) for fields in FORMATS["oasst"].read(row)] == [record]
    assert FORMATS["oasst"].refuses(pair) == "preference-turns"


def flat(value: dict[str, Any], parent: str | None = None) -> list[dict[str, Any]]:
    """A tree's messages as rows of a flat file."""
    message = {key: item for key, item in value.items() if key != "replies"}
    row = {**message, "parent_id": parent, "message_tree_id": "t", "tree_state": "ready_for_export"}
    return [row, *(row for reply in value["replies"] for row in flat(reply, value["message_id"]))]


@pytest.mark.parametrize("format", [None, "oasst"])
def test_flat_files_give_the_same_records_as_their_trees(tmp_path: Path, format: str | None) -> None:
    rows = flat(TREE["prompt"])
    other = [row | {"message_tree_id": "u", "text": row["text"] + "!"} for row in rows]
    path = tmp_path / "messages.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows + other))
    first, second = examples(path, None if format is None else FORMATS[format])
    assert isinstance(first, Example)
    assert isinstance(second, Example)
    assert (first.line, second.line, first.format.name) == (1, len(rows) + 1, "oasst")
    expected = [turns(record.messages) for record in read("oasst", TREE)]
    assert [turns(fields["messages"]) for fields in first.records] == expected
    assert [f["messages"][0].content for f in second.records] == ["q!"] * 4
    assert json.loads(first.records[0]["extra"] or "")["message_tree_id"] == "t"


def test_a_message_without_its_parent_is_a_drop_and_a_tree_without_an_id_ends_at_the_next_root(tmp_path: Path) -> None:
    rows = [{key: v for key, v in row.items() if key != "message_tree_id"} for row in flat(TREE["prompt"])]
    rows[3]["parent_id"] = "nobody"
    path = tmp_path / "messages.json"
    path.write_text(json.dumps([*rows, *rows[:1]]))
    orphan, tree, root = examples(path)
    assert isinstance(orphan, Unreadable)
    assert (orphan.reason, orphan.field) == ("no-parent", "parent_id")
    assert isinstance(tree, Example)
    assert isinstance(root, Example)
    assert [turns(f["messages"]) for f in root.records] == [[("user", "q")]]


def test_one_ranked_answer_is_no_comparison_and_no_answer_is_a_thread() -> None:
    tree = {"message_tree_id": "t", "prompt": node("q", "prompter", node("a", "assistant", rank=0))}
    assert [turns(r.messages) for r in read("oasst", tree)] == [QA]
    assert [turns(r.messages) for r in read("oasst", {"prompt": node("q", "prompter")})] == [QA[:1]]


def test_a_conversation_too_long_for_a_tree_is_refused() -> None:
    long = Record(id="x", messages=tuple(Message(role=("user", "assistant")[i % 2], content="a") for i in range(41)))
    assert FORMATS["oasst"].refuses(long) == "too-many-turns"


def test_the_header_of_baize_and_the_end_of_self_instruct_are_not_the_records() -> None:
    for name, question in (("baize", "[|Human|]"), ("self-instruct", "Name it. Output:")):
        record = Record(
            id="x", messages=(Message(role="user", content=question), Message(role="assistant", content="a"))
        )
        assert FORMATS[name].refuses(record) == "not-separable"


CALLING = Message(
    role="assistant", content="", tool_calls='[{"type":"function","function":{"name":"f","arguments":"{}"}}]'
)
ASK, SAY = Message(role="user", content="q"), Message(role="assistant", content="a")
SYSTEM = Message(role="system", content="s")

REFUSALS = [
    ("dolly", "system-turn", Record(id="x", messages=(SYSTEM, ASK, SAY))),
    ("dolly", "several-turns", Record(id="x", messages=(ASK, SAY, ASK))),
    ("dolly", "no-messages", Record(id="x", messages=())),
    ("belle", "tool-turns", Record(id="x", messages=(ASK, CALLING))),
    ("belle", "role-order", Record(id="x", messages=(SAY, ASK))),
    ("ultrachat", "preference-turns", Record(id="x", messages=(ASK, SAY), label=True)),
    ("self-instruct", "no-answer", Record(id="x", messages=(ASK,))),
    ("prompt-completion", "no-answer", Record(id="x", messages=(ASK,), label=True)),
    ("preference", "no-preference", Record(id="x", messages=(ASK,))),
    ("gpt4-llm", "no-preference", Record(id="x", messages=(ASK, SAY))),
    ("preference", "answer-beside-choices", Record(id="x", messages=(ASK, SAY), chosen=(SAY,), rejected=(SAY,))),
    ("preference-chat", "answer-beside-choices", Record(id="x", messages=(ASK, SAY), chosen=(SAY,), rejected=(SAY,))),
    ("preference-chat", "preference-turns", Record(id="x", messages=(ASK,), chosen=(SAY,))),
    ("preference-implicit", "not-separable", Record(id="x", messages=(ASK,), chosen=(SAY, ASK), rejected=(SAY, SAY))),
    ("lmflow-conversation", "no-tools", Record(id="x", messages=(ASK, SAY), tools="[]")),
    ("guanaco", "not-separable", Record(id="x", messages=(ASK, Message(role="assistant", content="### Human: b")))),
    ("moss", "tool-turns", Record(id="x", messages=(ASK, CALLING))),
]


@pytest.mark.parametrize(("name", "reason", "record"), REFUSALS)
def test_a_record_that_does_not_fit_is_refused_with_the_reason(name: str, reason: str, record: Record) -> None:
    assert FORMATS[name].refuses(record) == reason


BAD = [
    ("openai-dpo", {"input": [], "preferred_output": [], "non_preferred_output": []}, "wrong-type", "input"),
    (
        "openai-dpo",
        {"input": {}, "preferred_output": [], "non_preferred_output": []},
        "missing-field",
        "input.messages",
    ),
    ("openai-dpo", {"input": {"messages": [3]}, "preferred_output": []}, "wrong-type", "input.messages[0]"),
    ("openai-dpo", {"input": {"messages": []}, "preferred_output": "a"}, "wrong-type", "preferred_output"),
    ("pandalm", {"inputs": [], "outputs": {}}, "wrong-type", "inputs"),
    ("pandalm", {"inputs": {}, "outputs": {}}, "missing-field", "outputs.evaluation_result"),
    ("pandalm", {"inputs": {}, "outputs": {"evaluation_result": "1"}}, "missing-field", "inputs.instruction"),
    (
        "pandalm",
        {"inputs": {"instruction": "q", "response1": "a", "response2": "b"}, "outputs": {"evaluation_result": "both"}},
        "unknown-verdict",
        "outputs.evaluation_result",
    ),
    ("gpt4-llm", {"user_input": "q", "completion_a": "a"}, "missing-field", "completion_b"),
    ("gpt4-llm", {"user_input": "q", "completion_a": None, "completion_b": ""}, "wrong-type", "completion_a"),
    ("gorilla", {"code": "print(1)"}, "unmarked-text", "code"),
    ("gorilla", {"code": "###Output: a"}, "role-order", "code"),
    ("moss", {"meta_instruction": "", "chat": []}, "wrong-type", "chat"),
    ("moss", {"meta_instruction": "", "chat": {"turn_2": {}}}, "wrong-type", "chat.turn_1"),
    ("moss", {"meta_instruction": "", "chat": {"turn_1": {}}}, "missing-field", "chat.turn_1.Human"),
    (
        "moss",
        {"chat": {"turn_1": {"Human": "q", "Commands": "None", "Tool Responses": "3"}}},
        "malformed-tools",
        "chat.turn_1.Tool Responses",
    ),
    ("firefly", {"conversation": {}}, "wrong-type", "conversation"),
    ("firefly", {"conversation": ["q"]}, "wrong-type", "conversation[0]"),
    ("firefly", {"conversation": [{"human": "q"}, {"human": "r"}]}, "missing-field", "conversation[0].assistant"),
    ("firefly", {"rows": []}, "missing-field", "conversation"),
    ("koala", {"human_0": "q", "gpt_2": "a"}, "role-order", "gpt_2"),
    ("koala", {"human_0": 7}, "wrong-type", "human_0"),
    ("koala", {"fields": ""}, "missing-field", "human_0"),
    ("camel", {"message_1": 3}, "wrong-type", "message_1"),
    ("camel", {"message_2": "a"}, "missing-field", "message_1"),
    ("camel", {"num_messages": 0}, "missing-field", "message_1"),
    ("camel", {"message_1": {"role_type": "CRITIC", "content": "q"}}, "unknown-role", "message_1.role_type"),
    ("camel", {"message_1": {"role_type": "USER"}}, "missing-field", "message_1.content"),
    ("oasst", {"prompt": "q"}, "wrong-type", "prompt"),
    ("oasst", {"prompt": {"text": "q"}}, "missing-field", "prompt.role"),
    ("oasst", {"prompt": {"text": "q", "role": "judge"}}, "unknown-role", "prompt.role"),
    ("oasst", {"prompt": node("q", "prompter", replies={"a": 1})}, "wrong-type", "prompt.replies"),
    ("oasst", {"prompt": {"text": "q", "role": "prompter", "replies": [1]}}, "wrong-type", "prompt.replies[0]"),
    (
        "oasst",
        {"prompt": node("q", "prompter", node("a", "assistant", {"role": "prompter"}))},
        "missing-field",
        "prompt.replies[0].replies[0].text",
    ),
    ("openchat", {"items": {}}, "wrong-type", "items"),
    ("openchat", {"items": [{"from": "narrator", "value": "q"}]}, "unknown-role", "items[0].from"),
    ("lmflow-conversation", {"system": 1, "tools": [], "messages": []}, "wrong-type", "system"),
    ("lmflow-conversation", {"system": "", "tools": 5, "messages": []}, "malformed-tools", "tools"),
    ("preference-chat", {"prompt": [1], "chosen": [], "rejected": []}, "wrong-type", "prompt[0]"),
    ("preference-chat", {"chosen": [], "rejected": []}, "missing-field", "prompt"),
    ("preference", {"prompt": "q", "chosen": "a", "rejected": None}, "wrong-type", "rejected"),
    ("hh-rlhf", {"chosen": "hello", "rejected": "hello"}, "unmarked-text", "chosen"),
    ("hh-rlhf", {"chosen": "so\n\nHuman: q", "rejected": "Human: q"}, "unmarked-text", "chosen"),
    (
        "hh-rlhf",
        {"chosen": "Human: q\n\nAssistant: a", "rejected": "Human: r\n\nAssistant: a"},
        "no-prompt",
        "chosen",
    ),
    ("preference-implicit", {"chosen": [USER, ANSWER], "rejected": [WORSE]}, "no-prompt", "chosen"),
    ("preference-implicit", {"chosen": "yes", "rejected": "no"}, "no-prompt", "chosen"),
    ("prompt-completion-chat", {"prompt": [{"role": "user"}]}, "missing-field", "prompt[0].content"),
    ("prompt-completion", {"prompt": "q", "completion": ["a"]}, "wrong-type", "completion"),
    ("self-instruct", {"prompt": 1, "completion": "a<|endoftext|>"}, "wrong-type", "prompt"),
    ("ultrachat", {"data": "q"}, "wrong-type", "data"),
    ("ultrachat", {"data": ["q", 2]}, "wrong-type", "data[1]"),
    ("ultrachat", {"id": 1}, "missing-field", "data"),
    ("baize", {"input": "[|AI|] a"}, "role-order", "input"),
    ("baize", {"input": "nobody"}, "unmarked-text", "input"),
    ("belle", {"input": "q", "target": 3}, "wrong-type", "target"),
    ("belle-multiturn", {"instruction": "Human:q\nAssistant:a", "output": "b"}, "role-order", "instruction"),
    ("guanaco", {"text": "so ### Human: q"}, "unmarked-text", "text"),
    ("guanaco", {"text": "### Human: q### Human: r"}, "role-order", "text"),
    ("guanaco-dialogue", {"instruction": "User: q", "input": "User: r", "output": ""}, "role-order", "instruction"),
    ("guanaco-dialogue", {"instruction": "", "input": "User: q\nAssistant: a", "output": ""}, "role-order", "input"),
    ("huatuo", {"instruction": "<bot>: a", "output": "b"}, "role-order", "instruction"),
    ("dolly", {"instruction": "q", "context": 1, "response": "a"}, "wrong-type", "context"),
    ("lmflow", {"input": "q", "output": {}}, "wrong-type", "output"),
]


@pytest.mark.parametrize(("name", "row", "reason", "field"), BAD)
def test_a_malformed_row_names_the_reason_and_the_field(
    name: str, row: dict[str, Any], reason: str, field: str
) -> None:
    with pytest.raises(Bad) as caught:
        FORMATS[name].read(row)
    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_every_format_has_malformed_rows_here_or_in_the_first_table() -> None:
    assert {name for name, *_ in BAD} | {"records", "seeds", "sharegpt", "messages", "alpaca"} == set(FORMATS)


@pytest.mark.parametrize("container", ["lines", "array", "object around"])
@pytest.mark.parametrize(("name", "row", "reason", "field"), BAD)
def test_a_malformed_row_of_a_file_is_quarantined_and_the_rest_survives(
    tmp_path: Path, container: str, name: str, row: dict[str, Any], reason: str, field: str
) -> None:
    path, format = tmp_path / "data.json", FORMATS[name]
    plain = Record(id="x", messages=(ASK, SAY))
    choice = Record(id="x", messages=(ASK,), chosen=(SAY,), rejected=(Message(role="assistant", content="w"),))
    good = format.write(plain if format.refuses(plain) is None else choice)
    lines = [json.dumps(item) for item in (good, row, good)]
    text = {"lines": "\n".join(lines), "array": "[" + ",\n".join(lines) + "]"}
    path.write_text(text.get(container, '{"version": 1, "rows": [' + ",\n".join(lines) + "]}"))
    first, bad, last = examples(path, format)
    assert isinstance(bad, Unreadable)
    assert (bad.reason, bad.field, bad.line) == (reason, field, 2)
    assert isinstance(first, Example)
    assert isinstance(last, Example)
    assert first.records == last.records
