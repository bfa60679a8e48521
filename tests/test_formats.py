"""Dataset formats: which rows they know, what is unreadable, and that nothing they can carry is lost."""

import json
from dataclasses import replace

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats import FORMATS, recognised
from pipeline.formats.extras import whole_row
from pipeline.formats.json_text import dumps
from pipeline.formats.shape import Bad, Format
from pipeline.record import Message, Record
from tests.conversations import EXTRA, LABEL, PLAIN_TURN, RICH_TURN, SOME, TAGS, TEXT, TOOLS, chat_records, message

USER, ANSWER = Message(role="user", content="Say hi"), Message(role="assistant", content="Hi")


def read(name: str, row: dict[str, object]) -> Record:
    (fields,) = FORMATS[name].read(row)
    return Record(id="x", **fields)


def there_and_back(format: Format, record: Record) -> Record:
    """Write a record, send the row through JSON, read it again."""
    row, _ = whole_row(format, record)
    jsonschema.Draft202012Validator(format.schema).validate(row)
    parsed = json.loads(json.dumps(row))
    assert recognised(parsed) is format
    (fields,) = format.read(parsed)
    return Record(id=record.id, **fields)


ROWS = [
    ("alpaca", {"instruction": "a", "input": "b", "output": "c"}),
    ("alpaca", {"instruction": "a", "output": "c"}),
    ("alpaca", {"instruction": "a", "input": "", "system": "s"}),
    ("alpaca", {"instruction": "a", "chosen": "c", "rejected": "r"}),
    ("sharegpt", {"conversations": [{"from": "human", "value": "a"}]}),
    ("sharegpt", {"id": "7", "conversations": []}),
    ("messages", {"messages": [{"role": "user", "content": "a"}]}),
    ("seeds", {"id": "s", "name": "n", "instruction": "a", "instances": [], "is_classification": False}),
    ("records", {"id": "s", "messages": [], "parents": [], "calls": [], "tags": [], "scores": []}),
    ("lmflow", {"input": "a", "output": "b"}),
    ("dolly", {"instruction": "a", "context": "c", "response": "b"}),
    (None, {"instruction": "a", "input": "c", "response": "b"}),
    (None, {"prompt": "a", "response": "b"}),
    (None, {"text": "plain words"}),
    (None, {"data": [{"instruction": "a", "output": "b"}]}),
    (None, {"question": "a", "answer": "b"}),
    (None, {}),
]


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_a_row_is_recognised_by_its_keys(name: str | None, row: dict[str, object]) -> None:
    assert recognised(row) is (FORMATS[name] if name else None)


def test_alpaca_rows_become_an_instruction_an_input_and_an_answer() -> None:
    record = read("alpaca", {"instruction": "Add", "input": "1 2", "output": "3"})
    assert (record.instruction, record.input, record.output) == ("Add", "1 2", "3")
    assert read("alpaca", {"instruction": "Add", "input": "", "output": ""}).messages == (replace(USER, content="Add"),)
    assert read("alpaca", {"instruction": "Add", "input": ""}).input is None


def test_alpaca_history_comes_before_the_instruction_and_joins_the_input() -> None:
    row = {"instruction": "Add", "input": "1 2", "output": "3", "system": "Be brief", "history": [["Hi", "Hello"]]}
    record = read("alpaca", row)
    assert [(m.role, m.content) for m in record.messages] == [
        ("system", "Be brief"),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Add\n1 2"),
        ("assistant", "3"),
    ]
    assert record.input is None
    assert FORMATS["alpaca"].write(record) == {**row, "instruction": "Add\n1 2", "input": ""}


def test_sharegpt_role_names_of_several_projects_are_the_same_conversation() -> None:
    names = [("human", "gpt"), ("user", "assistant"), ("Human", "chatgpt"), ("human", "bing"), ("user", "model")]
    names += [("input", "output"), ("prompter", "bot"), ("USER", "AI"), ("human", "Chatbot"), ("human", "claude")]
    rows = [{"conversations": [{"from": u, "value": "a"}, {"from": a, "value": "b"}]} for u, a in names]
    rows.append({"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})
    assert {tuple((m.role, m.content) for m in read("sharegpt", row).messages) for row in rows} == {
        (("user", "a"), ("assistant", "b"))
    }


def test_a_system_column_leads_the_conversation_unless_it_has_a_system_turn_itself() -> None:
    turns = [{"from": "human", "value": "a"}]
    assert read("sharegpt", {"system": "s", "conversations": turns}).messages[0] == Message(role="system", content="s")
    both = read("sharegpt", {"system": "s", "conversations": [{"from": "system", "value": "t"}, *turns]})
    assert (both.messages[0].content, json.loads(both.extra or "")) == ("t", {"system": "s"})


def test_function_calls_of_sharegpt_are_openai_tool_calls() -> None:
    call = '{"name": "f", "arguments": {"x": [1, "é"]}}'
    row = {
        "conversations": [
            {"from": "human", "value": "go"},
            {"from": "function_call", "value": call},
            {"from": "observation", "value": "done"},
            {"from": "gpt", "value": "ok"},
        ],
        "tools": '[{"name":  "f"}]',
    }
    record = read("sharegpt", row)
    assert json.loads(record.messages[1].tool_calls or "") == [
        {"type": "function", "function": {"name": "f", "arguments": '{"x":[1,"é"]}'}}
    ]
    assert [m.role for m in record.messages] == ["user", "assistant", "tool", "assistant"]
    written = FORMATS["sharegpt"].write(record)
    assert json.loads(written["conversations"][1]["value"]) == json.loads(call)
    assert json.loads(written["tools"]) == [{"name": "f"}]
    openai = FORMATS["messages"].write(record)
    assert openai["tools"] == [{"name": "f"}]
    assert openai["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"x":[1,"é"]}'
    assert read("messages", openai) == record


@pytest.mark.parametrize(
    "arguments", ["[" * 100_000, "NaN", '{"a": 1, "a": 2}', "9" * 5_000, "not JSON", '"text"', '{"a": 1}']
)
def test_arguments_that_are_no_canonical_json_stay_text(arguments: str) -> None:
    calls = dumps([{"type": "function", "function": {"name": "f", "arguments": arguments}}])
    record = Record(id="x", messages=(USER, Message(role="assistant", content="", tool_calls=calls)))
    assert json.loads(FORMATS["sharegpt"].write(record)["conversations"][1]["value"])["arguments"] == arguments
    assert there_and_back(FORMATS["sharegpt"], record) == record


def test_messages_know_old_and_new_ways_of_openai() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    row = {
        "messages": [
            {"role": "developer", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "kim"},
            {"role": "assistant", "content": None, "tool_calls": calls, "weight": 0},
            {"role": "tool", "content": "1", "tool_call_id": "c1"},
            {"role": "assistant", "content": "", "function_call": {"name": "g", "arguments": "{}"}},
            {"role": "function", "content": "2", "name": "g"},
            {"role": "assistant", "content": "end", "reasoning_content": "hm", "weight": 0.5},
        ]
    }
    record = read("messages", row)
    assert [m.role for m in record.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
        "assistant",
    ]
    assert (record.messages[1].content, record.messages[1].name) == ("a\nb", "kim")
    assert (record.messages[2].weight, record.messages[6].weight) == (0.0, 0.5)
    assert record.messages[6].thinking == "hm"
    assert json.loads(record.messages[4].tool_calls or "")[0]["function"]["name"] == "g"
    assert there_and_back(FORMATS["messages"], record) == record


def test_a_seed_task_is_one_record_an_instance() -> None:
    row = {
        "id": "s1",
        "name": "n",
        "instruction": "Do",
        "instances": [{"input": "a", "output": "1"}, {"input": "", "output": "2", "note": "x"}],
        "is_classification": True,
        "category": "maths",
        "difficulty": "easy",
        "verb": "do",
    }
    records = [Record(id="x", **fields) for fields in FORMATS["seeds"].read(row)]
    assert [(r.instruction, r.input, r.output) for r in records] == [("Do", "a", "1"), ("Do", None, "2")]
    assert records[0].tags == {"category": "maths", "difficulty": "easy", "task_type": "classification"}
    assert json.loads(records[0].extra or "") == {"id": "s1", "name": "n", "verb": "do"}
    back, lost = whole_row(FORMATS["seeds"], records[1])
    assert back == row | {"instances": [row["instances"][1]], "task_type": "classification"}
    assert lost == []


def test_a_seed_task_keeps_its_own_task_type() -> None:
    row = {"instruction": "Do", "instances": [], "is_classification": False, "task_type": "poem"}
    (fields,) = FORMATS["seeds"].read(row)
    assert fields["tags"] == {"task_type": "poem"}
    assert json.loads(fields["extra"] or "") == {"is_classification": False}


@pytest.mark.parametrize("name", ["alpaca", "sharegpt", "messages"])
def test_a_verdict_is_a_label_and_a_label_that_is_no_verdict_is_not(name: str) -> None:
    row = FORMATS[name].write(Record(id="x", messages=(USER, ANSWER), label=False))
    assert read(name, row).label is False
    renamed = {{"kto_tag": "label", "label": "kto_tag"}.get(key, key): value for key, value in row.items()}
    assert read(name, renamed).label is False
    column = next(key for key in row if key in ("kto_tag", "label"))
    other = read(name, {**row, column: "generic"})
    assert (other.label, json.loads(other.extra or "")) == (None, {column: "generic"})


def test_our_own_records_lose_nothing_but_their_id() -> None:
    record = Record(
        id="x",
        messages=(USER, replace(ANSWER, thinking="t", weight=1.0)),
        input="i",
        tools="[]",
        chosen=(ANSWER,),
        rejected=(ANSWER, USER),
        label=True,
        language="en",
        tags={"b": "1", "a": "2"},
        scores={"accuracy": 4.5},
        source="s",
        method="m",
        parents=("p",),
        model="g",
        prompt="q@1",
        license="mit",
        calls=("c",),
        extra='{"k":1}',
    )
    assert there_and_back(FORMATS["records"], record) == record
    drop = FORMATS["records"].write(record) | {"reason": "too-short", "detail": "{}"}
    assert json.loads(read("records", drop).extra or "") == {"k": 1, "reason": "too-short", "detail": "{}"}


def test_unknown_columns_and_keys_of_single_turns_come_back_where_they_were() -> None:
    row = {
        "conversations": [
            {"from": "human", "value": "a", "markdown": None},
            {"from": "gpt", "value": "b", "text": {"deep": [1, 2.5, "x"]}, "role": "shadowed"},
        ],
        "chosen": {"from": "gpt", "value": "c", "score": 1},
        "rejected": {"from": "gpt", "value": "d"},
        "system": "s",
        "id": 7,
        "topic": "letters",
        "meta": {"n": None},
    }
    record = read("sharegpt", row)
    assert record.tags == {"topic": "letters"}
    back, lost = whole_row(FORMATS["sharegpt"], record)
    assert lost == []
    system = {"from": "system", "value": "s"}
    expected = {key: value for key, value in row.items() if key != "system"}
    assert back == expected | {"conversations": [system, *row["conversations"]]}


def test_what_cannot_be_put_back_is_told() -> None:
    extra = dumps({"output": "mine", "[]": {"messages.0": {"x": 1}}})
    record = Record(id="x", messages=(USER, ANSWER), extra=extra, tags={"mood": "gay"}, scores={"a": 1.0}, model="m")
    row, lost = whole_row(FORMATS["alpaca"], record)
    assert row["output"] == "Hi"
    assert lost == ["extra", "turn-keys", "tags", "scores", "provenance"]


CALLS = dumps([{"type": "function", "function": {"name": "f", "arguments": "{}"}}])
NAMED_CALLS = dumps([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}])
CALLING, TOLD = Message(role="assistant", content="", tool_calls=CALLS), Message(role="tool", content="1")
SYSTEM = Message(role="system", content="s")

REFUSALS = [
    ("alpaca", "no-messages", Record(id="x", messages=(SYSTEM,))),
    ("alpaca", "tool-turns", Record(id="x", messages=(USER, CALLING, TOLD, ANSWER))),
    ("alpaca", "role-order", Record(id="x", messages=(USER, USER))),
    ("alpaca", "role-order", Record(id="x", messages=(USER, SYSTEM))),
    ("alpaca", "preference-turns", Record(id="x", messages=(USER,), chosen=(ANSWER, USER), rejected=(ANSWER,))),
    ("sharegpt", "no-messages", Record(id="x")),
    ("sharegpt", "preference-turns", Record(id="x", messages=(USER,), chosen=(), rejected=(ANSWER,))),
    ("messages", "no-messages", Record(id="x")),
    ("seeds", "no-messages", Record(id="x")),
    ("seeds", "tool-turns", Record(id="x", messages=(USER, ANSWER), tools="[]")),
    ("seeds", "system-turn", Record(id="x", messages=(SYSTEM, USER, ANSWER))),
    ("seeds", "several-turns", Record(id="x", messages=(USER, ANSWER, USER))),
    ("seeds", "role-order", Record(id="x", messages=(ANSWER, USER))),
    ("seeds", "preference-turns", Record(id="x", messages=(USER, ANSWER), label=True)),
    ("alpaca", None, Record(id="x", messages=(SYSTEM, USER, ANSWER, USER), input="i")),
    ("sharegpt", None, Record(id="x", messages=(ANSWER, ANSWER))),
    ("messages", None, Record(id="x", messages=(TOLD,))),
    ("seeds", None, Record(id="x", messages=(USER,))),
    ("records", None, Record(id="x")),
]


@pytest.mark.parametrize(("name", "reason", "record"), REFUSALS)
def test_a_format_refuses_what_it_cannot_hold(name: str, reason: str | None, record: Record) -> None:
    assert FORMATS[name].refuses(record) == reason


@pytest.mark.parametrize(
    ("name", "lost", "record"),
    [
        ("alpaca", [], Record(id="x", messages=(USER, ANSWER), input="i")),
        ("alpaca", ["separate-input"], Record(id="x", messages=(USER, ANSWER, USER, ANSWER), input="i")),
        ("sharegpt", ["separate-input"], Record(id="x", messages=(USER, ANSWER), input="i")),
        ("messages", ["separate-input"], Record(id="x", messages=(USER, ANSWER), input="i")),
        (
            "sharegpt",
            ["thinking", "name", "weight"],
            Record(id="x", messages=(replace(ANSWER, thinking="t", name="n", weight=1.0),)),
        ),
        ("messages", [], Record(id="x", messages=(replace(ANSWER, thinking="t", name="n", weight=1.0),))),
        ("seeds", ["thinking"], Record(id="x", messages=(USER, replace(ANSWER, thinking="t")))),
        ("sharegpt", [], Record(id="x", messages=(USER, CALLING, TOLD))),
        ("sharegpt", ["text-beside-tool-call"], Record(id="x", messages=(USER, replace(CALLING, content="well")))),
        ("sharegpt", ["tool-call-id"], Record(id="x", messages=(replace(CALLING, tool_calls=NAMED_CALLS),))),
        ("sharegpt", ["tool-call-id"], Record(id="x", messages=(replace(TOLD, tool_call_id="c"),))),
        ("records", [], Record(id="x", messages=(replace(ANSWER, thinking="t"),), input="i")),
    ],
)
def test_a_format_tells_what_it_leaves_behind(name: str, lost: list[str], record: Record) -> None:
    assert FORMATS[name].losses(record) == lost


def turn(**more: object) -> dict[str, object]:
    return {"conversations": [{"from": "human", "value": "a"} | more]}


BAD_ROWS = [
    ("alpaca", {"instruction": 7, "output": "c"}, "wrong-type", "instruction"),
    ("alpaca", {"instruction": None, "output": "c"}, "wrong-type", "instruction"),
    ("alpaca", {"input": "a", "output": "c"}, "missing-field", "instruction"),
    ("alpaca", {"instruction": "a", "input": ["b"], "output": "c"}, "wrong-type", "input"),
    ("alpaca", {"instruction": "a", "input": "b", "output": {"text": "c"}}, "wrong-type", "output"),
    ("alpaca", {"instruction": "a", "output": "c", "system": True}, "wrong-type", "system"),
    ("alpaca", {"instruction": "a", "output": "c", "history": "b"}, "wrong-type", "history"),
    ("alpaca", {"instruction": "a", "output": "c", "history": [["q", "a"], ["q"]]}, "wrong-type", "history[1]"),
    ("alpaca", {"instruction": "a", "output": "c", "history": [["q", 1]]}, "wrong-type", "history[0]"),
    ("alpaca", {"instruction": "a", "output": "c", "tools": "[{"}, "bad-json-text", "tools"),
    ("alpaca", {"instruction": "a", "output": "c", "tools": "[] []"}, "bad-json-text", "tools"),
    ("alpaca", {"instruction": "a", "output": "c", "tools": 3}, "malformed-tools", "tools"),
    ("alpaca", {"instruction": "a", "output": "c", "[]": 3}, "reserved-column", "[]"),
    ("alpaca", {"instruction": "a", "chosen": 1, "rejected": "r"}, "wrong-type", "chosen"),
    ("sharegpt", {"conversations": {"from": "human", "value": "a"}}, "wrong-type", "conversations"),
    ("sharegpt", {"messages": []}, "missing-field", "conversations"),
    ("sharegpt", {"conversations": ["hi"]}, "wrong-type", "conversations[0]"),
    ("sharegpt", turn(value=None), "wrong-type", "conversations[0].value"),
    ("sharegpt", {"conversations": [{"from": "human"}]}, "missing-field", "conversations[0].value"),
    ("sharegpt", {"conversations": [{"value": "a"}]}, "missing-field", "conversations[0].role"),
    ("sharegpt", turn(**{"from": "narrator"}), "unknown-role", "conversations[0].from"),
    ("sharegpt", turn(**{"from": 1}), "wrong-type", "conversations[0].from"),
    ("sharegpt", turn(weight="heavy"), "wrong-type", "conversations[0].weight"),
    ("sharegpt", turn(weight=True), "wrong-type", "conversations[0].weight"),
    ("sharegpt", turn(**{"from": "function_call"}), "bad-json-text", "conversations[0].value"),
    ("sharegpt", turn(**{"from": "function_call", "value": "[1]"}), "malformed-tools", "conversations[0].value[0]"),
    ("sharegpt", turn(**{"from": "function_call", "value": "{}"}), "malformed-tools", "conversations[0].value[0]"),
    ("messages", {"messages": [{"role": "user", "content": None}]}, "wrong-type", "messages[0].content"),
    (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "not-text",
        "messages[0].content",
    ),
    ("messages", {"messages": [], "chosen": [3]}, "wrong-type", "chosen[0]"),
    ("seeds", {"instruction": "a"}, "missing-field", "instances"),
    ("seeds", {"instruction": "a", "instances": {"input": "a"}}, "wrong-type", "instances"),
    ("seeds", {"instruction": "a", "instances": ["a"]}, "wrong-type", "instances[0]"),
    ("seeds", {"instruction": "a", "instances": [{"input": 1}]}, "wrong-type", "instances[0].input"),
    ("records", {"messages": [], "tags": {"a": 1}}, "wrong-type", "tags"),
    ("records", {"messages": [], "scores": [{"key": "a", "value": "b"}]}, "wrong-type", "scores"),
    ("records", {"messages": [], "parents": [1]}, "wrong-type", "parents"),
    ("records", {"messages": [], "extra": "[]"}, "wrong-type", "extra"),
    ("records", {"messages": [], "extra": "{"}, "bad-json-text", "extra"),
]


@pytest.mark.parametrize(("name", "row", "reason", "field"), BAD_ROWS)
def test_an_unreadable_row_names_the_reason_and_the_field(
    name: str, row: dict[str, object], reason: str, field: str
) -> None:
    with pytest.raises(Bad) as caught:
        FORMATS[name].read(row)
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert field in caught.value.error


@st.composite
def alpaca_records(draw: st.DrawFn) -> Record:
    pairs = draw(st.lists(st.tuples(TEXT, TEXT), max_size=2))
    history = [Message(role=r, content=c) for pair in pairs for r, c in zip(("user", "assistant"), pair, strict=True)]
    system = draw(st.lists(message("system", content=SOME), max_size=1))
    choice = draw(st.none() | st.tuples(message("assistant"), message("assistant")))
    answer = draw(st.lists(message("assistant", content=SOME), max_size=1))
    return Record(
        id="x",
        messages=(*system, *history, draw(message("user")), *answer),
        input=None if history else draw(st.none() | SOME),
        tools=draw(TOOLS),
        chosen=choice and (choice[0],),
        rejected=choice and (choice[1],),
        label=draw(LABEL),
        tags=draw(TAGS),
        extra=draw(EXTRA),
    )


def no_loss(name: str, record: Record) -> None:
    format = FORMATS[name]
    assert format.refuses(record) is None
    assert format.losses(record) == []
    assert there_and_back(format, record) == record


@settings(max_examples=150, deadline=None)
@given(alpaca_records())
def test_alpaca_carries_what_it_can_without_loss(record: Record) -> None:
    no_loss("alpaca", record)


@settings(max_examples=150, deadline=None)
@given(chat_records(PLAIN_TURN, 1))
def test_sharegpt_carries_what_it_can_without_loss(record: Record) -> None:
    no_loss("sharegpt", record)


@settings(max_examples=150, deadline=None)
@given(chat_records(RICH_TURN, 2))
def test_messages_carry_everything_but_a_separate_input(record: Record) -> None:
    no_loss("messages", record)


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        lambda q, i, a, t, e: (q, i, a, t, e),
        message("user"),
        st.none() | SOME,
        message("assistant", content=SOME),
        TAGS,
        EXTRA,
    )
)
def test_seeds_carry_single_turns_without_loss(
    parts: tuple[Message, str | None, Message, dict[str, str], str | None],
) -> None:
    question, input, answer, tags, extra = parts
    no_loss("seeds", Record(id="x", messages=(question, answer), input=input, tags=tags, extra=extra))
