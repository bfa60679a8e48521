"""The fake provider over the wire, asked by the official SDK and by raw HTTP."""

import asyncio
import http.client
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from pipeline.errors import ModelError, UsageError
from pipeline.llm.fake import tokens
from pipeline.llm.fake.provider import FakeProvider

ANSWERS = {"rules": [{"reply": {"kind": "answer"}}]}


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider({**ANSWERS, "keep_bodies": True}) as provider:
        yield provider


def sdk(provider: FakeProvider, key: str = "any") -> openai.OpenAI:
    return openai.OpenAI(base_url=provider.url, api_key=key, max_retries=0, timeout=10)


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def post(provider: FakeProvider, path: str, body: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Raw HTTP: status, headers, body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=10)
    try:
        connection.request("POST", path, data, {"content-type": "application/json", **headers})
        reply = connection.getresponse()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
    finally:
        connection.close()


CHAT = {"model": "m", "messages": [{"role": "user", "content": "Why is the sky blue?"}], "temperature": 0.7}


def test_a_reply_is_a_function_of_the_body_across_restarts_and_processes() -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", {**CHAT, "n": 3, "logprobs": True, "top_logprobs": 2}),
        ("/v1/chat/completions", {**CHAT, "messages": user("天空为什么是蓝色的？")}),
        ("/v1/completions", {"model": "m", "prompt": ["a", "b"], "max_tokens": 50}),
        ("/v1/embeddings", {"model": "m", "input": ["a b", "c"]}),
        ("/v1/moderations", {"model": "m", "input": "a"}),
    ]
    seen: list[list[bytes]] = []
    for order, own_process in ((bodies, False), (bodies[::-1], False), (bodies, True)):
        with FakeProvider(ANSWERS, own_process=own_process) as provider:
            replies = {json.dumps(body): post(provider, path, body) for path, body in order * 2}
        assert {status for status, _, _ in replies.values()} == {200}
        seen.append([replies[json.dumps(body)][2] for _, body in bodies])
    assert seen[0] == seen[1] == seen[2]
    assert len(set(seen[0])) == len(bodies)


def test_spaces_and_the_order_of_keys_do_not_matter_but_every_value_does(fake: FakeProvider) -> None:
    def text(body: Any) -> str:
        loaded = json.loads(post(fake, "/v1/chat/completions", body)[2])
        return str(loaded["choices"][0]["message"]["content"])

    reordered = json.dumps(dict(reversed(CHAT.items())), indent=2).encode()
    assert text(reordered) == text(CHAT)
    assert len({text({**CHAT, "seed": seed}) for seed in range(8)}) == 8
    assert fake.bill()["distinct"] == 9


def test_a_chat_reply_has_all_that_the_sdk_reads(fake: FakeProvider) -> None:
    reply = sdk(fake).chat.completions.create(
        model="m", messages=user("Why is the sky blue?"), n=2, logprobs=True, top_logprobs=3
    )
    assert [c.index for c in reply.choices] == [0, 1]
    assert reply.choices[0].message.content != reply.choices[1].message.content
    for choice in reply.choices:
        assert choice.finish_reason == "stop"
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert "".join(t.token for t in choice.logprobs.content) == choice.message.content
        for token in choice.logprobs.content:
            assert len(token.top_logprobs) == 3
            assert token.top_logprobs[0].token == token.token
            assert sum(math.exp(t.logprob) for t in token.top_logprobs) <= 1 + 1e-5
    usage = reply.usage
    assert usage is not None
    assert usage.prompt_tokens == tokens.PRIMING + tokens.FRAME + tokens.count("Why is the sky blue?")
    assert usage.completion_tokens == sum(tokens.count(c.message.content or "") for c in reply.choices)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_max_tokens_and_stop_cut_the_reply(fake: FakeProvider) -> None:
    create = sdk(fake).chat.completions.create
    text = "Why is the sky blue?"
    for params in ({"max_tokens": 5}, {"max_completion_tokens": 5}):
        cut = create(model="m", messages=user(text), **params)  # type: ignore[call-overload]
        assert cut.choices[0].finish_reason == "length"
        assert cut.usage.completion_tokens == 5
    whole = create(model="m", messages=user(text), stop="\x00").choices[0].message.content or ""
    word = whole.split()[3]
    stopped = post(fake, "/v1/chat/completions", {"model": "m", "messages": user(text), "stop": [word, "zzz"]})
    message = json.loads(stopped[2])["choices"][0]
    assert message["finish_reason"] == "stop"
    assert word not in message["message"]["content"]


def test_completions(fake: FakeProvider) -> None:
    client = sdk(fake)
    short = client.completions.create(model="m", prompt="Once upon a time")
    assert short.usage is not None
    assert (short.usage.completion_tokens, short.choices[0].finish_reason) == (16, "length")
    both = client.completions.create(model="m", prompt=["one", "two"], max_tokens=40, n=2, logprobs=2)
    assert [c.index for c in both.choices] == [0, 1, 2, 3]
    alone = client.completions.create(model="m", prompt="two", max_tokens=40, n=2, logprobs=2)
    assert [c.text for c in both.choices[2:]] == [c.text for c in alone.choices]
    echoed = client.completions.create(model="m", prompt="Once upon", max_tokens=8, echo=True, logprobs=1)
    choice = echoed.choices[0]
    assert choice.text.startswith("Once upon")
    assert choice.logprobs is not None
    assert choice.logprobs.tokens is not None
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.token_logprobs is not None
    assert choice.logprobs.token_logprobs[0] is None
    assert choice.logprobs.text_offset is not None
    for token, at in zip(choice.logprobs.tokens, choice.logprobs.text_offset, strict=True):
        assert choice.text[at : at + len(token)] == token


def test_embeddings_of_like_texts_are_alike(fake: FakeProvider) -> None:
    client = sdk(fake)  # asks for base64
    texts = ["the red house by the river", "the red house by the lake", "compound interest rates", "", "河边的红房子"]
    got = client.embeddings.create(model="m", input=texts).data
    plain = client.embeddings.create(model="m", input=texts, encoding_format="float").data
    vectors = [item.embedding for item in got]
    for a, b in zip(vectors, plain, strict=True):
        assert a == pytest.approx(b.embedding, abs=1e-6)
        assert sum(x * x for x in a) == pytest.approx(1, abs=1e-5)

    def like(i: int, j: int) -> float:
        return sum(x * y for x, y in zip(vectors[i], vectors[j], strict=True))

    assert like(0, 1) > 0.6 > like(0, 2) + 0.2
    assert len(client.embeddings.create(model="m", input="a", dimensions=7).data[0].embedding) == 7


def test_moderation_flags_what_the_script_names() -> None:
    with FakeProvider({"moderation": [{"category": "violence", "text": "(?i)sword"}]}) as provider:
        results = sdk(provider).moderations.create(model="m", input=["A Sword fight", "A tea party"]).results
    assert [r.flagged for r in results] == [True, False]
    assert results[0].categories.violence
    assert results[0].category_scores.violence > 0.9 > 0.1 > results[1].category_scores.violence


def test_thinking_is_counted_and_kept_apart() -> None:
    rules = [{"reply": {"kind": "text", "text": "forty-two", "thinking": {"words": 30}}}]
    with FakeProvider({"rules": rules}) as provider:
        reply = sdk(provider).chat.completions.create(model="m", messages=user("x"))
        limited = sdk(provider).chat.completions.create(model="m", messages=user("x"), max_tokens=10)
    message = reply.choices[0].message
    assert message.content == "forty-two"
    assert len(message.reasoning_content.split()) >= 30  # type: ignore[attr-defined]
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    reasoning = reply.usage.completion_tokens_details.reasoning_tokens or 0
    assert 0 < reasoning == reply.usage.completion_tokens - tokens.count("forty-two")
    assert limited.choices[0].finish_reason == "length"
    assert not limited.choices[0].message.content


def test_keys_and_models() -> None:
    with FakeProvider({**ANSWERS, "valid_keys": ["right"], "models": ["a", "b"]}) as provider:
        with pytest.raises(openai.AuthenticationError) as wrong:
            sdk(provider, "wr-secret-ong").chat.completions.create(model="a", messages=user("x"))
        assert "wr-secret-ong" not in str(wrong.value)
        assert wrong.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            sdk(provider, "wrong").models.list()
        assert post(provider, "/v1/chat/completions", {**CHAT, "model": "a"})[0] == 401
        assert post(provider, "/v1/chat/completions", {**CHAT, "model": "a"}, **{"api-key": "right"})[0] == 200
        client = sdk(provider, "right")
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="c", messages=user("x"))
        assert missing.value.code == "model_not_found"
        assert [m.id for m in client.models.list()] == ["a", "b"]
        assert client.models.retrieve("b").id == "b"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("c")
        assert client.chat.completions.create(model="a", messages=user("x")).choices[0].message.content
        assert provider.bill()["finished"] == 2


def test_azures_paths_name_the_model(fake: FakeProvider) -> None:
    body = {"messages": CHAT["messages"]}
    status, _, reply = post(fake, "/openai/deployments/gpt-x/chat/completions?api-version=2024-10-21", body)
    assert (status, json.loads(reply)["model"]) == (200, "gpt-x")


BAD: list[tuple[str, Any, str]] = [
    ("chat/completions", b"{not json", "could not parse"),
    ("chat/completions", [1], "must be a JSON object"),
    ("chat/completions", {"messages": user("x")}, "must provide a model"),
    ("chat/completions", {"model": "m", "messages": []}, "non-empty list"),
    ("chat/completions", {"model": "m", "messages": [{"role": "robot", "content": "x"}]}, "messages[0]"),
    ("chat/completions", {"model": "m", "messages": [{"role": "user"}]}, "messages[0].content"),
    ("chat/completions", {**CHAT, "stream": True}, "does not stream"),
    ("chat/completions", {**CHAT, "n": 0}, "Invalid value for 'n': expected a whole number from 1 to 128, got 0"),
    ("chat/completions", {**CHAT, "temperature": "hot"}, "Invalid value for 'temperature'"),
    ("chat/completions", {**CHAT, "max_tokens": 1.5}, "'max_tokens'"),
    ("chat/completions", {**CHAT, "stop": [1]}, "'stop'"),
    ("chat/completions", {**CHAT, "logprobs": "yes"}, "'logprobs'"),
    ("chat/completions", {**CHAT, "response_format": "json"}, "'response_format'"),
    ("completions", {"model": "m", "prompt": [1, 2]}, "no token ids"),
    ("completions", {"model": "m"}, "'prompt'"),
    ("embeddings", {"model": "m", "input": []}, "'input'"),
    ("embeddings", {"model": "m", "input": "a", "dimensions": 0}, "'dimensions'"),
]


@pytest.mark.parametrize(("path", "body", "message"), BAD, ids=[b[2] for b in BAD])
def test_a_bad_request_is_a_400_with_a_sentence(fake: FakeProvider, path: str, body: Any, message: str) -> None:
    status, _, reply = post(fake, f"/v1/{path}", body)
    assert status == 400
    error = json.loads(reply)["error"]
    assert message in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_hostile_bodies_leave_the_server_standing(fake: FakeProvider) -> None:
    surrogate = b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800 lone \\udfff"}]}'
    assert post(fake, "/v1/chat/completions", surrogate)[0] == 200
    for depth in (500, 900, 980, 990, 995, 1000, 5000, 100_000):
        nested = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "x": ' + b"[" * depth + b"]" * depth
        assert post(fake, "/v1/chat/completions", nested + b"}")[0] in (200, 400)
    big = {"model": "m", "messages": user("word " * 1_000_000)}
    assert json.loads(post(fake, "/v1/chat/completions", big)[2])["usage"]["prompt_tokens"] >= 1_250_000
    assert post(fake, "/v1/nowhere", {})[0] == 404
    assert post(fake, "/fake/nowhere", {})[0] == 404


def test_refused_parameters_and_long_prompts_are_400s() -> None:
    with FakeProvider({**ANSWERS, "refuses": ["logprobs"], "context": 200}) as provider:
        client = sdk(provider)
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="m", messages=user("x"), logprobs=True)
        assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "logprobs")
        with pytest.raises(openai.BadRequestError) as long:
            client.chat.completions.create(model="m", messages=user("x" * 900))
        assert long.value.code == "context_length_exceeded"
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="m", messages=user("x"), max_tokens=200)
        assert provider.bill()["statuses"] == {"400": 3}
        assert provider.bill()["charged"] == 0


def test_the_bill_adds_up() -> None:
    price: dict[str, dict[str, float]] = {
        "default": {"input": 1.0, "output": 4.0, "cached_input": 0.25},
        "dear": {"input": 100, "output": 200},
    }
    with FakeProvider({**ANSWERS, "price": price, "cached_share": 0.5}) as provider:
        client = sdk(provider)
        with ThreadPoolExecutor(8) as pool:
            replies = list(
                pool.map(
                    lambda i: client.chat.completions.create(model=("a", "dear")[i % 2], messages=user(f"q {i // 4}")),
                    range(80),
                )
            )
        bill, calls = provider.bill(), provider.calls()
        expected = 0.0
        for reply in replies:
            assert reply.usage is not None
            assert reply.usage.prompt_tokens_details is not None
            cached = reply.usage.prompt_tokens_details.cached_tokens or 0
            assert cached == reply.usage.prompt_tokens // 2
            terms = price.get(reply.model, price["default"])
            fresh = (reply.usage.prompt_tokens - cached) * terms["input"]
            expected += fresh + cached * terms.get("cached_input", terms["input"])
            expected += reply.usage.completion_tokens * terms["output"]
        assert bill["usd"] == pytest.approx(expected / 1e6, rel=1e-9)
        assert bill["requests"] == bill["begun"] == bill["finished"] == bill["charged"] == 80
        assert bill["distinct"] == len(calls) == 40
        assert {call["attempts"] for call in calls.values()} == {2}
        assert sum(call["completion_tokens"] for call in calls.values()) == bill["completion_tokens"]
        assert bill["in_flight"] == 0
        assert 1 <= bill["peak_in_flight"] <= 8
        provider.reset()
        assert provider.bill()["requests"] == 0
        assert provider.calls() == {}


def test_an_unknown_price_is_null_never_zero() -> None:
    with FakeProvider({**ANSWERS, "price": {"known": {"input": 1, "output": 1}}}) as provider:
        post(provider, "/v1/chat/completions", {**CHAT, "model": "known"})
        assert provider.bill()["usd"] > 0
        post(provider, "/v1/chat/completions", {**CHAT, "model": "other"})
        assert provider.bill()["usd"] is None


def test_calls_show_the_rule_and_the_body(fake: FakeProvider) -> None:
    post(fake, "/v1/chat/completions", CHAT)
    (call,) = fake.calls().values()
    assert (call["rule"], call["path"], call["statuses"], call["body"]) == ("rules[0]", "chat", {"200": 1}, CHAT)


def test_the_command_says_where_it_listens_and_in_the_end_what_it_would_cost(tmp_path: Path) -> None:
    script, port_file = tmp_path / "s.yaml", tmp_path / "port"
    script.write_text("price: {default: {input: 1, output: 1}}\nrules: [{reply: {kind: text, text: hello there}}]")
    command = [sys.executable, "-m", "pipeline.llm.fake", "--script", str(script), "--port-file", str(port_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        deadline = time.monotonic() + 10
        while not port_file.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        base = f"http://127.0.0.1:{int(port_file.read_text())}/v1"
        assert base in first
        client = openai.OpenAI(base_url=base, api_key="any", max_retries=0)
        assert client.chat.completions.create(model="m", messages=user("x")).choices[0].message.content == "hello there"
        process.send_signal(signal.SIGTERM)
        last = process.stdout.read()
    assert process.returncode == 0
    assert "1 requests, 1 finished replies, bill 0.000011 USD" in last


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's count of a process's CPU time")
def test_a_request_costs_less_than_half_a_millisecond_of_one_core() -> None:
    def used(pid: int) -> float:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def storm(port: int, count: int) -> None:
        numbers = iter(range(count))

        async def one() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for i in numbers:
                body = json.dumps({**CHAT, "seed": i, "max_tokens": 400}).encode()
                head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 200")
                await reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            writer.close()

        await asyncio.gather(*(one() for _ in range(32)))

    with FakeProvider({"rules": [{"reply": {"kind": "text", "text": "word " * 160}}]}, own_process=True) as provider:
        asyncio.run(storm(provider.port, 200))
        before = used(provider.pid)
        asyncio.run(storm(provider.port, 2000))
        assert (used(provider.pid) - before) / 2000 < 0.0005


def test_a_taken_port_is_a_sentence(fake: FakeProvider) -> None:
    with pytest.raises(UsageError, match=f"cannot listen on port {fake.port}"), FakeProvider(port=fake.port):
        pass
    with (
        pytest.raises(ModelError, match=f"cannot listen on port {fake.port}"),
        FakeProvider(port=fake.port, own_process=True),
    ):
        pass


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
def test_only_this_machine_is_listened_to(fake: FakeProvider) -> None:
    assert fake.url.startswith("http://127.0.0.1:")
    with open("/proc/net/tcp", encoding="ascii") as table:
        local = [line.split()[1] for line in table if line.split()[3] == "0A"]
    assert f"0100007F:{fake.port:04X}" in local
    assert f"00000000:{fake.port:04X}" not in local
