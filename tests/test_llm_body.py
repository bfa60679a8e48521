"""Ledger keys hold what decides a reply and nothing else; bodies are a function of the call."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.llm.body import Call, compose, token_bound, wire_body
from pipeline.llm.request import Request
from pipeline.record import Message
from tests.scripted import spec_of


def ask(text: str = "Name a colour.", **settings: Any) -> Request:
    return Request(messages=(Message(role="user", content=text),), **settings)


def key(request: Request, **settings: Any) -> str:
    return compose(spec_of(**settings), request, "e").key


def body(request: Request, **settings: Any) -> dict[str, Any]:
    spec = spec_of(**settings)
    parsed: dict[str, Any] = json.loads(wire_body(spec, compose(spec, request, "e"))[1])
    return parsed


def test_a_known_request_has_a_known_key() -> None:
    """Golden: whoever changes this makes users pay for all their finished calls again."""
    request = Request(
        messages=(Message(role="system", content="Be brief."), Message(role="user", content="Was heißt 猫?")),
        params={"temperature": 0.7, "max_tokens": 64, "stop": ["\n"]},
        sample=2,
    )
    call = compose(spec_of(), request, "answer")
    assert call.document == (
        '{"endpoint":"http://model.test/v1","kind":"chat","messages":[{"content":"Be brief.","role":"system"},'
        '{"content":"Was heißt 猫?","role":"user"}],"model":"m",'
        '"params":{"max_tokens":64,"stop":["\\n"],"temperature":0.7},"sample":2}'
    )
    assert call.key == "3dc74da36433614d44788b84a8272d3186678325c85ed5e434f41fd5770a8be2"
    path, data = wire_body(spec_of(), call)
    assert path == "/chat/completions"
    assert data.decode() == (
        '{"model":"m","messages":[{"content":"Be brief.","role":"system"},{"content":"Was heißt 猫?","role":"user"}],'
        '"max_tokens":64,"seed":64779482,"stop":["\\n"],"temperature":0.7}'
    )


def test_a_completion_call() -> None:
    spec = spec_of(base_url="http://gpu:8000/v1")
    path, data = wire_body(spec, compose(spec, Request(prompt="1. ", params={"max_tokens": 5}), "e"))
    assert (path, json.loads(data)) == ("/completions", {"model": "m", "prompt": "1. ", "max_tokens": 5})


def test_what_is_of_the_transport_is_not_in_the_key() -> None:
    ours = {
        "concurrency": 1,
        "timeout": 5.0,
        "extra_headers": {"X": "$Y"},
        "api_key_env": "K",
        "price": None,
        "role": "judge",
    }
    assert key(ask(), **ours) == key(ask())
    assert key(ask(), base_url="http://MODEL.test:80/v1/") == key(ask())
    assert key(ask(), base_url="http://a/v1", endpoint_name="n") == key(
        ask(), base_url="http://b/v1", endpoint_name="n"
    )
    assert key(ask(), token_param="max_completion_tokens") == key(ask())
    assert compose(spec_of(), ask(), "one entry").key == compose(spec_of(), ask(), "another").key


def test_what_decides_the_reply_is_in_the_key() -> None:
    tools = ({"type": "function", "function": {"name": "f"}},)
    variants = [
        key(ask()),
        key(ask("Name a tree.")),
        key(ask(sample=1)),
        key(ask(params={"temperature": 1})),
        key(ask(tools=tools)),
        key(ask(response_format={"type": "json_object"})),
        key(ask(), model="n"),
        key(ask(), base_url="http://other.test/v1"),
        key(ask(), max_tokens=5),
        key(ask(), extra_body={"enable_thinking": False}),
        key(Request(prompt="Name a colour.")),
        key(Request(messages=(Message(role="system", content="Name a colour."),))),
    ]
    assert len(set(variants)) == len(variants)


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.integers(), st.text(max_size=8), st.booleans()), max_size=6))
def test_the_order_of_parameters_does_not_matter(params: dict[str, Any]) -> None:
    backwards = dict(reversed(params.items()))
    assert compose(spec_of(), ask(params=params), "e") == compose(spec_of(), ask(params=backwards), "e")


def test_equal_numbers_are_one_number() -> None:
    assert key(ask(params={"temperature": 0.0})) == key(ask(params={"temperature": 0}))
    assert key(ask(params={"temperature": True})) != key(ask(params={"temperature": 1}))


def test_layers_of_parameters() -> None:
    settings = {"max_tokens": 100, "extra_body": {"temperature": 1, "seed": None, "top_k": 5}}
    assert body(ask(params={"seed": 3, "temperature": 0.2}), **settings)["temperature"] == 1
    assert body(ask(params={"seed": 3}), **settings).keys() == {
        "model",
        "messages",
        "max_tokens",
        "temperature",
        "top_k",
    }
    assert body(ask(params={"max_tokens": 7}), **settings)["max_tokens"] == 7


def test_the_last_word_is_the_recipes() -> None:
    o4 = {"base_url": "https://api.openai.com/v1", "model": "o4-mini", "max_tokens": 9}
    assert body(ask(params={"temperature": 0}), **o4).keys() == {"model", "messages", "max_completion_tokens"}
    assert body(ask(), **o4, extra_body={"temperature": 0.5})["temperature"] == 0.5
    assert body(ask(), token_param="max_completion_tokens", max_tokens=9)["max_completion_tokens"] == 9


def test_messages_as_openai_writes_them() -> None:
    call = '[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]'
    messages = (
        Message(role="user", content="Use it.", weight=0.0, name="Ann"),
        Message(role="assistant", content="", tool_calls=call, thinking="hidden"),
        Message(role="tool", content="5", tool_call_id="1"),
    )
    assert body(Request(messages=messages))["messages"] == [
        {"role": "user", "content": "Use it.", "name": "Ann"},
        {"role": "assistant", "content": "", "tool_calls": json.loads(call)},
        {"role": "tool", "content": "5", "tool_call_id": "1"},
    ]


def test_an_embedded_model_gets_a_seed_that_tells_samples_apart() -> None:
    local = {"base_url": "", "local": "x.gguf", "local_sha256": "f" * 64}
    seeds = {body(ask(sample=i), **local)["seed"] for i in range(4)}
    assert len(seeds) == 4
    assert body(ask(), **local)["seed"] == body(ask(), **local)["seed"]
    assert body(ask(params={"seed": 5}), **local)["seed"] == 5
    assert "seed" not in body(ask())


def test_half_a_character_does_no_harm() -> None:
    call = compose(spec_of(), ask("broken \ud83d here"), "e")
    call.document.encode()
    assert call.key != key(ask("broken ? here"))
    wire_body(spec_of(), call)[1].decode()


def test_what_is_not_json_is_a_usage_error() -> None:
    for value in (float("nan"), object()):
        with pytest.raises(UsageError, match="entry e: a request to the model 'm' is not JSON"):
            key(ask(params={"x": value}))


def test_the_token_bound_grows_with_prompt_and_limit() -> None:
    def bound(request: Request) -> int:
        return token_bound(compose(spec_of(), request, "e"))

    assert bound(ask("word " * 1000)) > bound(ask()) + 1000
    assert bound(ask(params={"max_tokens": 5000})) > 5000


def test_calls_hold_no_header() -> None:
    call = compose(spec_of(extra_headers={"X-Secret": "value"}, api_key_env="SOME_KEY"), ask(), "e")
    assert "value" not in repr(call)
    assert "SOME_KEY" not in repr(call)
    assert isinstance(call, Call)
