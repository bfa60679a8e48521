"""Several samples: one call where the server makes them so, else a call each; all are replayed, none is paid twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.llm.body import compose, token_bound, wire_body
from pipeline.llm.broken import Broken
from pipeline.llm.caller import Caller
from pipeline.llm.client import Client
from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.flow import converse
from pipeline.llm.ledger import read_calls
from pipeline.llm.reading import read_reply
from pipeline.llm.request import Profile, Reply, Request
from pipeline.llm.samples import several
from pipeline.record import Message
from tests.doubles import FunctionLLM
from tests.scripted import Seen, Sent, failed, said, serving_script, spec_of

ASKED = Request(messages=(Message(role="user", content="Name a colour."),), params={"temperature": 1})

SCRIPT: dict[str, Any] = {
    # So many words that no two samples are alike by chance: their seeds hang on the port that the provider was given.
    "rules": [{"reply": {"kind": "answer", "words": 60}}],
    "latency": {"kind": "constant", "seconds": 0},
}


def profile(samples: int) -> Profile:
    return Profile(role="default", model="m", samples=samples)


def choices(*texts: str, **usage: int) -> Sent:
    found = [{"index": i, "message": {"content": t}, "finish_reason": "stop"} for i, t in enumerate(texts)]
    return Sent(body={"choices": found, "usage": {"prompt_tokens": 7, "completion_tokens": 3 * len(texts)} | usage})


def test_one_sample_is_the_request_as_it_ever_was() -> None:
    llm = FunctionLLM(lambda request: "Blue.")
    ((reply,),) = converse(llm, [several(ASKED, 1, profile(128))], 4)
    assert llm.asked == [ASKED]
    assert reply.text == "Blue."
    assert '"samples"' not in compose(spec_of(), ASKED, "e").document


@pytest.mark.parametrize(
    ("most", "wanted", "cut"),
    [(128, 5, [(0, 5)]), (1, 3, [(0, 1), (1, 1), (2, 1)]), (2, 5, [(0, 2), (2, 2), (4, 1)]), (5, 5, [(0, 5)])],
)
def test_as_many_as_the_server_makes_are_asked_at_once(most: int, wanted: int, cut: list[tuple[int, int]]) -> None:
    def answer(request: Request) -> Reply:
        texts = [f"sample {request.sample + i}" for i in range(request.samples)]
        return Reply(key="", text=texts[0], others=tuple(Reply(key="", text=t) for t in texts[1:]))

    llm = FunctionLLM(answer)
    (samples,) = converse(llm, [several(ASKED, wanted, profile(most))], 4)
    assert [(request.sample, request.samples) for request in llm.asked] == cut
    assert [sample.text for sample in samples] == [f"sample {i}" for i in range(wanted)]


def test_a_server_that_ignores_n_is_asked_for_the_rest() -> None:
    llm = FunctionLLM(lambda request: f"sample {request.sample}")
    (samples,) = converse(llm, [several(ASKED, 3, profile(128))], 4)
    assert [(request.sample, request.samples) for request in llm.asked] == [(0, 3), (1, 2), (2, 1)]
    assert [sample.text for sample in samples] == ["sample 0", "sample 1", "sample 2"]


def test_a_question_that_is_refused_is_not_asked_for_each_sample() -> None:
    llm = FunctionLLM(lambda request: Reply(key="", text="too long", outcome="refused"))
    (samples,) = converse(llm, [several(ASKED, 9, profile(1))], 4)
    assert [sample.outcome for sample in samples] == ["refused"]


@pytest.mark.parametrize(("server", "calls"), [("vLLM", 1), ("llama.cpp", 5), (None, 5)])
def test_against_a_provider(tmp_path: Path, server: str | None, calls: int) -> None:
    with FakeProvider(SCRIPT) as provider:
        specs = {"default": spec_of(base_url=provider.url, server=server)}
        told, used = [], []
        for _ in range(2):
            with Caller(specs, tmp_path / "ledger", "r") as caller:
                client = Client(caller, specs, "e")
                (samples,) = converse(client, [several(ASKED, 5, client.profile("default"))], 4)
                told.append([sample.text for sample in samples])
                used.append(caller.usage("e"))
        bill = provider.bill()
    assert len(told[0]) == 5
    assert len(set(told[0])) == 5, "every sample is its own"
    assert told[1] == told[0], "all samples are replayed"
    assert (used[0].new, used[1].new, used[1].reused) == (calls, 0, calls)
    assert bill["requests"] == calls
    assert used[0].new_prompt_tokens == bill["prompt_tokens"]
    assert used[0].new_completion_tokens == bill["completion_tokens"]
    call = read_calls(tmp_path / "ledger")(samples[0].key)
    assert call is not None
    assert call["request"].get("samples", 1) == (5 if calls == 1 else 1)
    assert len(call["reply"]["choices"]) == (5 if calls == 1 else 1)


def test_repeated_askings_have_bodies_of_their_own() -> None:
    def body(request: Request, **settings: Any) -> dict[str, Any]:
        spec = spec_of(**settings)
        loaded: dict[str, Any] = json.loads(wire_body(spec, compose(spec, request, "e"))[1])
        return loaded

    requests = [Request(messages=ASKED.messages, params={"seed": 5}, sample=i) for i in range(4)]
    assert [body(requests[0])[name] for name in ("seed",)] == [5]
    assert len({body(request)["seed"] for request in requests}) == 4
    assert "seed" not in body(ASKED)
    assert "seed" not in body(requests[2], base_url="https://api.deepseek.com")
    assert body(requests[2], extra_body={"seed": 1})["seed"] == 1
    assert "n" not in body(ASKED)
    many = Request(messages=ASKED.messages, samples=7)
    assert body(many, base_url="http://gpu:8000/v1")["n"] == 7
    assert body(many, base_url="https://api.moonshot.cn/v1", model="moonshot-v1-8k")["n"] == 5
    assert "n" not in body(many, base_url="https://api.moonshot.cn/v1", model="kimi-k2.6")
    assert "n" not in body(many)
    calls = [compose(spec_of(), Request(prompt="x", params={"max_tokens": 1000}, samples=n), "e") for n in (1, 3)]
    assert token_bound(calls[1]) > token_bound(calls[0]) + 1900


def test_choices_are_samples_in_their_order() -> None:
    shuffled = [
        {"index": 1, "message": {"content": "b"}, "finish_reason": "length"},
        {"index": 0, "message": {"content": "<think>hm</think>a"}, "finish_reason": "stop"},
        {"index": 2, "message": {"content": None, "refusal": "no"}, "finish_reason": "stop"},
    ]
    usage = {"prompt_tokens": 3, "completion_tokens": 9}
    reply = read_reply(json.dumps({"model": "m", "choices": shuffled, "usage": usage})).reply("k", reused=True)
    everything = (reply, *reply.others)
    assert [sample.text for sample in everything] == ["a", "b", "no"]
    assert [sample.outcome for sample in everything] == ["ok", "length", "content_filter"]
    assert [sample.completion_tokens for sample in everything] == [9, 0, 0]
    assert {(sample.key, sample.reused, sample.model) for sample in everything} == {("k", True, "m")}
    assert reply.thinking == "hm"


def test_a_sample_that_is_not_whole_spoils_the_reply() -> None:
    broken = [{"message": {"content": "a"}}, {"message": {"content": "b"}, "finish_reason": "network_error"}]
    with pytest.raises(Broken):
        read_reply(json.dumps({"choices": broken}))


def test_a_server_whose_samples_fail_is_asked_for_all_again(tmp_path: Path) -> None:
    def answer(seen: Seen) -> Sent:
        if seen.attempt == 1:
            return failed(500)
        return choices("a", "b", "c") if seen.body.get("n") == 3 else said("alone")

    with serving_script(answer) as server:
        specs = {"default": spec_of(base_url=server.url, server="vLLM")}
        with Caller(specs, tmp_path / "ledger", "r") as caller:
            client = Client(caller, specs, "e")
            (samples,) = converse(client, [several(ASKED, 3, client.profile("default"))], 4)
            usage = caller.usage("e")
        assert [sample.text for sample in samples] == ["a", "b", "c"]
        assert (usage.calls, usage.sent, usage.new_completion_tokens) == (1, 2, 9)
        assert len(server.script.seen) == 2
