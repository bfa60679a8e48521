"""Reading replies: text, thinking, outcome, usage; anything broken is worth another attempt."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.llm.broken import Broken
from pipeline.llm.reading import Reading, error_message, read_reply, read_stored, split_thinking

PLAIN = st.text(max_size=60).filter(lambda t: "think>" not in t and "<" not in t)


def chat(finish: Any = "stop", usage: Any = None, **message: Any) -> str:
    data = {"model": "served", "choices": [{"message": message, "finish_reason": finish}], "usage": usage}
    return json.dumps(data)


def test_a_plain_reply() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    read = read_reply(chat(content="Blue.", usage=usage))
    assert read == Reading(text="Blue.", model="served", prompt_tokens=5, completion_tokens=2, cached_tokens=4)


def test_a_completion_reply_is_left_as_it_is() -> None:
    read = read_reply(json.dumps({"choices": [{"text": "<think> is a tag", "finish_reason": "length"}]}))
    assert (read.text, read.thinking, read.outcome) == ("<think> is a tag", None, "length")


@pytest.mark.parametrize(
    ("finish", "outcome"),
    [("stop", "ok"), ("length", "length"), ("content_filter", "content_filter"), ("sensitive", "content_filter"),
     ("tool_calls", "ok"), (None, "ok"), ("eos", "ok")],
)  # fmt: skip
def test_outcomes(finish: Any, outcome: str) -> None:
    assert read_reply(chat(finish, content="x")).outcome == outcome


@pytest.mark.parametrize(
    "body",
    ["", "{", "<html>busy</html>", "[]", "null", "{}", '{"choices": []}', '{"choices": [{}]}', '{"choices": ["x"]}',
     '{"choices": null}', '{"error": {"message": "overloaded"}}', chat("network_error", content="x"),
     chat("insufficient_system_resource", content="x"), chat(content=5), chat(content="x")[:-5]],
)  # fmt: skip
def test_broken_replies_are_not_taken_for_answers(body: str) -> None:
    with pytest.raises(Broken):
        read_reply(body)


def test_a_withheld_answer() -> None:
    read = read_reply(chat(content=None, refusal="I can't do that."))
    assert (read.text, read.outcome) == ("I can't do that.", "content_filter")


def test_content_in_parts_and_thinking_apart() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read_reply(chat(content=parts, reasoning_content="why")).thinking == "why"
    assert read_reply(chat(content=parts, reasoning="why")).text == "ab"


@pytest.mark.parametrize(
    ("text", "answer", "thinking"),
    [
        ("<think>\nhm\n</think>\n\nBlue.", "Blue.", "hm"),
        ("  <think></think>Blue.", "Blue.", ""),
        ("<think>still thinking", "", "still thinking"),
        ("so it is\n</think>\n\nBlue.", "Blue.", "so it is"),
        ("Close it with </think> in the text.", "Close it with </think> in the text.", None),
        ("The tag <think> opens.", "The tag <think> opens.", None),
        ("Blue.", "Blue.", None),
    ],
)
def test_thinking_is_split_off(text: str, answer: str, thinking: str | None) -> None:
    assert split_thinking(text) == (answer, thinking)


@given(PLAIN, PLAIN)
def test_no_text_is_lost_in_the_split(thinking: str, answer: str) -> None:
    assert split_thinking(f"<think>{thinking}</think>{answer}") == (answer.lstrip("\n"), thinking.strip())
    assert split_thinking(answer) == (answer, None)


def test_half_a_character_becomes_a_replacement() -> None:
    read = read_reply(chat(content="cut \ud83d"))
    assert read.text == "cut �"
    read.text.encode()
    assert read_reply(chat(content="whole 😀")).text == "whole 😀"


@pytest.mark.parametrize(
    "usage", [None, [], {"prompt_tokens": None}, {"prompt_tokens": "7"}, {"completion_tokens": -1}]
)
def test_odd_usage_counts_as_none(usage: Any) -> None:
    assert read_reply(chat(content="x", usage=usage)).prompt_tokens == 0


@pytest.mark.parametrize(
    ("usage", "cached", "reasoning"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2}}, 3, 2),
        ({"prompt_cache_hit_tokens": 3, "prompt_cache_miss_tokens": 2}, 3, 0),  # DeepSeek
        ({"prompt_tokens_details": {"cached_tokens": 4}, "prompt_cache_hit_tokens": 4}, 4, 0),
        ({"cached_tokens": 3}, 3, 0),  # Moonshot
        ({"prompt_tokens_details": None, "completion_tokens_details": {"reasoning_tokens": None}}, 0, 0),
        ({"prompt_tokens_details": {"cached_tokens": None}, "cached_tokens": 2}, 2, 0),
        ({"prompt_tokens_details": {"cached_tokens": -3}, "completion_tokens_details": []}, 0, 0),
    ],
)
def test_each_servers_usage(usage: dict[str, Any], cached: int, reasoning: int) -> None:
    read = read_reply(chat(content="x", usage={"prompt_tokens": 5, "completion_tokens": 9} | usage))
    assert (read.prompt_tokens, read.completion_tokens) == (5, 9)
    assert (read.cached_tokens, read.reasoning_tokens) == (cached, reasoning)


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ({"content": [{"token": "Blue", "logprob": -0.25, "top_logprobs": []}, {"token": ".", "logprob": 0}]},
         (("Blue", -0.25), (".", 0.0))),
        ({"tokens": ["Blue", "."], "token_logprobs": [None, -1.5], "top_logprobs": None}, ((".", -1.5),)),
        ({"content": None}, ()),
        ({"content": [5, {"token": 5, "logprob": "x"}]}, ()),
        (None, ()),
        ([], ()),
    ],
)  # fmt: skip
def test_log_probabilities(told: Any, read: tuple[tuple[str, float], ...]) -> None:
    choice = {"message": {"content": "Blue."}, "finish_reason": "stop", "logprobs": told}
    assert read_reply(json.dumps({"choices": [choice]})).reply("k", reused=False).logprobs == read


@given(st.text(max_size=300))
def test_any_text_is_read_or_broken(body: str) -> None:
    with contextlib.suppress(Broken):
        read_reply(body)
    assert len(error_message(body)) <= 300
    assert "\n" not in error_message(body)


def test_stored_bodies_are_read_by_their_outcome() -> None:
    error = json.dumps({"error": {"message": 'too long, see "choices"'}})
    assert read_stored(error, "refused").text == 'too long, see "choices"'
    assert read_stored(error, "refused").outcome == "refused"
    assert read_stored(error, "content_filter").outcome == "content_filter"
    assert read_stored(chat("content_filter", content="cut"), "content_filter").text == "cut"
    assert read_stored(chat("length", content="cut"), "length").outcome == "length"


@pytest.mark.parametrize(
    ("body", "message"),
    [('{"error": {"message": "no\\n  way"}}', "no way"), ('{"error": "busy"}', "busy"), ('{"message": "m"}', "m"),
     ("<html><b>Bad</b> gateway</html>", "Bad gateway"), ("", "")],
)  # fmt: skip
def test_the_servers_words(body: str, message: str) -> None:
    assert error_message(body) == message
