"""Replies in JSON: one request for every server, a body that each can take, one mending, and a reason in the end."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.llm.body import compose, wire_body
from pipeline.llm.caller import Caller
from pipeline.llm.client import Client
from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.flow import converse
from pipeline.llm.request import Profile, Reply, Request
from pipeline.llm.structured import Form, Parsed, Unparsed, ask_json, asking, closed, require_json
from pipeline.record import Message
from tests.doubles import FunctionLLM
from tests.scripted import Seen, Sent, serving_script, spec_of

FORM = Form("grade", closed(reason={"type": "string", "maxLength": 90}, score={"type": "number", "maximum": 5}))
ASKED = Request(messages=(Message(role="user", content="Grade it."),), params={"max_tokens": 50})


def asked(*replies: str | Reply, tongue: str = "en") -> tuple[Parsed | Unparsed, list[Request]]:
    """What comes of a question to a model that says these things in turn, and what it was asked."""
    waiting = iter(replies)
    llm = FunctionLLM(lambda request: next(waiting))
    (result,) = converse(llm, [ask_json(ASKED, FORM, tongue)], 4)
    assert isinstance(result, Parsed | Unparsed)
    return result, llm.asked


def test_the_form_is_in_the_prompt_and_in_the_request() -> None:
    result, (request,) = asked('{"reason": "right", "score": 4.5}')
    assert isinstance(result, Parsed)
    assert result.value == {"reason": "right", "score": 4.5}
    assert request.messages[0].content.startswith("Grade it.\n\nReply in JSON")
    assert json.dumps(FORM.schema) in request.messages[0].content
    assert request.response_format == FORM.response_format()
    assert request.params == ASKED.params


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ("Good!", "no JSON object"),
        ('{"reason": "x", "score": 7}', "7 is greater than the maximum of 5"),
        ('{"score": 4}', "'reason' is a required property"),
        ('{"reason": "x", "score": true}', "$.score: True is not of type 'number'"),
        ('{"reason": "x", "score": 4, "more": 1}', "more"),
        ('{"reason": "x", "score": NaN}', "NaN is no JSON number"),
        ('{"reason": "x", "score": 1, "score": 5}', "the key score occurs twice"),
        ('{"reason": "x", "score": 1} {"reason": "y", "score": 5}', "more than one"),
        ("4", "4 is not of type 'object'"),
    ],
)
def test_a_reply_that_does_not_fit_is_mended_by_a_new_request(reply: str, told: str) -> None:
    result, (first, second) = asked(reply, '{"reason": "x", "score": 5}')
    assert isinstance(result, Parsed)
    assert result.value["score"] == 5
    assert len(result.replies) == 2
    *before, shown, turn = second.messages
    assert tuple(before) == first.messages
    assert shown == Message(role="assistant", content=reply)
    assert told in turn.content
    assert second.response_format == first.response_format
    keys = {compose(spec_of(), request, "e").key for request in (first, second)}
    assert len(keys) == 2


def test_the_turn_is_in_the_language_of_the_prompt() -> None:
    _, (first, second) = asked("好", '{"reason": "x", "score": 5}', tongue="zh")
    assert "请用 JSON 回复" in first.messages[-1].content
    assert "里面没有 JSON 对象" in second.messages[-1].content


def test_after_two_the_reason_is_told_with_both_replies() -> None:
    result, _ = asked("Good!", '{"reason": "x", "score": 9}')
    assert isinstance(result, Unparsed)
    assert result.why == "wrong form: $.score: 9 is greater than the maximum of 5"
    assert [reply.text for reply in result.replies] == ["Good!", '{"reason": "x", "score": 9}']


def test_an_empty_reply_is_asked_for_anew() -> None:
    result, (first, second) = asked("", '{"reason": "x", "score": 5}')
    assert isinstance(result, Parsed)
    assert (second.messages, second.sample) == (first.messages, first.sample + 1)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(key="", text='{"reason": "x", "sc', outcome="length"), "cut off"),
        (Reply(key="", text='{"reason": "x", "score": 5}', outcome="length"), "cut off"),
        (Reply(key="", text="", thinking="hm", outcome="length"), "cut off while thinking"),
        (Reply(key="", text="I cannot.", outcome="content_filter"), "content_filter"),
        (Reply(key="", text="too long", outcome="refused"), "refused"),
    ],
)
def test_what_ends_a_reply_early_is_not_mended(reply: Reply, why: str) -> None:
    result, requests = asked(reply)
    assert isinstance(result, Unparsed)
    assert result.why == why
    assert len(requests) == 1


def test_thinking_reaches_neither_the_parser_nor_the_mending() -> None:
    thought = Reply(key="", text="Hm.", thinking='{"reason": "no", "score": 0}')
    result, (_, second) = asked(thought, '{"reason": "x", "score": 5}')
    assert isinstance(result, Parsed)
    assert result.value["score"] == 5
    assert all("no" not in message.content for message in second.messages[1:2])
    assert all(message.thinking is None for message in second.messages)


THOUGHTS: list[Callable[[str], dict[str, Any]]] = [
    lambda text: {"content": text, "reasoning_content": '{"reason": "no", "score": 0}'},  # DeepSeek, Zhipu, Moonshot
    lambda text: {"content": text, "reasoning": '{"reason": "no", "score": 0}'},  # vLLM, Ollama
    lambda text: {"content": f'<think>\n{{"reason": "no", "score": 0}}\n</think>\n\n{text}'},  # no reasoning parser
    lambda text: {"content": f'so {{"score": 0}}\n</think>\n\n{text}'},  # the opening tag stood in the template
]


@pytest.mark.parametrize("shape", THOUGHTS)
def test_however_a_server_tells_it_thinking_stays_apart(shape: Callable[[str], dict[str, Any]], tmp_path: Any) -> None:
    answers = iter(["Grading it gives four.", '{"reason": "x", "score": 4}'])

    def answer(seen: Seen) -> Sent:
        return Sent(body={"choices": [{"message": shape(next(answers)), "finish_reason": "stop"}]})

    with serving_script(answer) as server:
        specs = {"default": spec_of(base_url=server.url)}
        with Caller(specs, tmp_path / "ledger", "r") as caller:
            (result,) = converse(Client(caller, specs, "e"), [ask_json(ASKED, FORM, "en")], 4)
        assert isinstance(result, Parsed)
        assert result.value == {"reason": "x", "score": 4}
        assert [reply.thinking is not None for reply in result.replies] == [True, True]
        assert '"score": 0' not in json.dumps(server.script.seen[1].body).replace("\\", "")
        assert server.script.seen[1].body["messages"][1]["content"] == "Grading it gives four."


FORMATS = {
    ("https://api.openai.com/v1", "gpt-5.2"): "json_schema",
    ("https://api.openai.com/v1", "gpt-4.1"): "json_schema",
    ("https://api.openai.com/v1", "gpt-4-turbo"): "json_object",
    ("https://api.openai.com/v1", "gpt-4-0613"): None,
    ("https://x.openai.azure.com/openai/v1", "gpt-4o"): "json_schema",
    ("https://api.deepseek.com", "deepseek-v4-pro"): "json_object",
    ("https://dashscope.aliyuncs.com/compatible-mode/v1", "qwen-plus"): "json_object",
    ("https://dashscope.aliyuncs.com/compatible-mode/v1", "qwen3-30b-a3b"): None,
    ("https://open.bigmodel.cn/api/paas/v4", "glm-4.6"): "json_object",
    ("https://api.moonshot.cn/v1", "kimi-k2.6"): "json_object",
    ("https://api.moonshot.ai/v1", "kimi-k3"): "json_schema",
    ("http://gpu:8000/v1", "qwen"): "json_schema",
    ("http://gpu:11434/v1", "qwen"): "json_schema",
    ("http://gpu:8080/v1", "qwen"): "json_schema",
    ("http://gpu:1234/v1", "qwen"): "json_schema",
    ("http://gpu:9999/v1", "qwen"): None,
}


@pytest.mark.parametrize(("server", "sent"), FORMATS.items())
def test_each_server_is_sent_what_it_can_enforce(server: tuple[str, str], sent: str | None) -> None:
    spec = spec_of(base_url=server[0], model=server[1], endpoint_name="one")
    request = asking(ASKED, FORM, "en")
    body = json.loads(wire_body(spec, compose(spec, request, "e"))[1])
    assert body.get("response_format", {}).get("type") == sent
    assert "JSON" in body["messages"][-1]["content"]
    if sent == "json_schema":
        schema = body["response_format"]["json_schema"]["schema"]
        assert list(schema["properties"]) == ["reason", "score"] == schema["required"]
        assert body["response_format"]["json_schema"]["strict"] is True


def test_what_a_server_can_is_not_in_the_key() -> None:
    request = asking(ASKED, FORM, "en")
    specs = [spec_of(base_url="http://a/v1", server=name) for name in (None, "vLLM", "DeepSeek", "azure")]
    assert len({compose(spec, request, "e").key for spec in specs}) == 1
    formats = [json.loads(wire_body(s, compose(s, request, "e"))[1]).get("response_format") for s in specs]
    assert [found and found["type"] for found in formats] == [None, "json_schema", "json_object", "json_schema"]


def test_keywords_that_a_server_refuses_are_not_sent() -> None:
    def schema(url: str) -> Any:
        spec = spec_of(base_url=url)
        return json.loads(wire_body(spec, compose(spec, asking(ASKED, FORM, "en"), "e"))[1])["response_format"][
            "json_schema"
        ]["schema"]["properties"]

    assert schema("http://gpu:8000/v1") == FORM.schema["properties"]
    assert schema("https://api.openai.com/v1") == {
        "reason": {"type": "string"},
        "score": {"type": "number", "maximum": 5},
    }
    assert schema("https://x.openai.azure.com/openai/v1") == {"reason": {"type": "string"}, "score": {"type": "number"}}
    named = Form("f", closed(pattern={"type": "string", "pattern": "a"}))
    spec = spec_of(base_url="https://x.openai.azure.com/openai/v1")
    sent = json.loads(wire_body(spec, compose(spec, asking(ASKED, named, "en"), "e"))[1])
    assert sent["response_format"]["json_schema"]["schema"]["properties"] == {"pattern": {"type": "string"}}


def test_the_recipe_has_the_last_word() -> None:
    spec = spec_of(base_url="http://gpu:8000/v1", extra_body={"response_format": None})
    assert "response_format" not in json.loads(wire_body(spec, compose(spec, asking(ASKED, FORM, "en"), "e"))[1])
    own = {"type": "json_object"}
    spec = spec_of(base_url="http://gpu:8000/v1", extra_body={"response_format": own})
    assert json.loads(wire_body(spec, compose(spec, asking(ASKED, FORM, "en"), "e"))[1])["response_format"] == own


OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (closed(a={"type": "string"}), True),
        (closed(a={"type": "array", "items": closed(b={"type": "integer"})}), True),
        (OPEN, False),
        (closed(a=OPEN), False),
        (closed(a={"type": "array", "items": OPEN}), False),
        (closed(a={"anyOf": [{"type": "null"}, OPEN]}), False),
        (closed(a={"type": "string"}) | {"required": []}, False),
        (closed(a={"not": {"type": "string"}}), False),
        ({"type": "array", "items": {"type": "string"}}, False),
        ({"anyOf": [closed(), closed(a={})]}, False),
    ],
)
def test_a_form_says_whether_strict_modes_take_it(schema: dict[str, Any], strict: bool) -> None:
    assert Form("f", schema).response_format()["json_schema"]["strict"] is strict


def test_models_that_continue_texts_are_not_asked() -> None:
    require_json(Profile(role="r", model="m"), "reply: json")
    require_json(Profile(role="r", model="m", style="completion", small=True), "reply: json")
    with pytest.raises(UsageError, match="'reply: json' needs one that follows"):
        require_json(Profile(role="r", model="m", style="completion"), "reply: json")


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    rules = [{"reply": {"kind": "text", "text": "I would give it a four."}}]
    with FakeProvider({"rules": rules}) as fake:
        yield fake


@pytest.mark.parametrize(("server", "calls"), [("vLLM", 1), ("DeepSeek", 2), (None, 2)])
def test_a_server_that_enforces_the_form_needs_no_mending(
    provider: FakeProvider, tmp_path: Any, server: str | None, calls: int
) -> None:
    """The fake provider obeys a response_format, and this one obeys no prompt."""
    provider.reset()
    specs = {"default": spec_of(base_url=provider.url, server=server)}
    results = []
    for _ in range(2):
        with Caller(specs, tmp_path / "ledger", "r") as caller:
            results += converse(Client(caller, specs, "e"), [ask_json(ASKED, FORM, "en")], 4)
            usage = caller.usage("e")
    assert isinstance(results[0], Parsed if calls == 1 else Unparsed)
    assert (usage.calls, usage.reused) == (calls, calls), "replayed from the ledger, the mending as well"
    assert provider.bill()["requests"] == calls
