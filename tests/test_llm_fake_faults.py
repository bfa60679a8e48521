"""Every fault of the fake provider, as a client sees it, and its limits."""

import asyncio
import contextlib
import email.utils
import http.client
import json
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import openai
import pytest

from pipeline.llm.fake.limits import Bucket, Service, span
from pipeline.llm.fake.provider import FakeProvider

RULES = [{"reply": {"kind": "answer", "words": 80}}]


def always(kind: str, **params: Any) -> dict[str, Any]:
    return {"rules": RULES, "faults": [{"kind": kind, "share": 1, **params}]}


def body(text: str = "Why is the sky blue?", **params: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **params}


def ask(provider: FakeProvider, text: str = "Why is the sky blue?", timeout: float = 10) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=timeout)
    payload = json.dumps(body(text)).encode()
    connection.request("POST", "/v1/chat/completions", payload, {"content-type": "application/json"})
    return connection.getresponse()


def sdk(provider: FakeProvider, timeout: float = 10) -> openai.OpenAI:
    return openai.OpenAI(base_url=provider.url, api_key="k", max_retries=0, timeout=timeout)


def counts(provider: FakeProvider) -> tuple[int, int, int, int]:
    bill = provider.bill()
    return bill["begun"], bill["finished"], bill["charged"], bill["aborted"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (403, openai.PermissionDeniedError),
        (408, openai.APIStatusError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_a_status_is_the_sdks_error_and_costs_nothing(status: int, error: type[openai.APIStatusError]) -> None:
    with FakeProvider(always("status", status=status, message="no", code="because")) as provider:
        with pytest.raises(error) as caught:
            sdk(provider).chat.completions.create(**body())
        assert (caught.value.status_code, caught.value.code) == (status, "because")
        assert counts(provider) == (0, 0, 0, 0)
        assert provider.bill()["statuses"] == {str(status): 1}


def test_retry_after_in_its_three_forms_and_none() -> None:
    def headers(**params: Any) -> dict[str, str]:
        with FakeProvider(always("status", status=429, **params)) as provider:
            reply = ask(provider)
            assert json.loads(reply.read())["error"]["code"] == "rate_limit_exceeded"
            return {k.lower(): v for k, v in reply.getheaders()}

    assert headers(retry_after=1.5)["retry-after"] == "1.5"
    assert headers(retry_after=1.5, retry_after_as="milliseconds")["retry-after-ms"] == "1500"
    date = email.utils.parsedate_to_datetime(headers(retry_after=30, retry_after_as="date")["retry-after"])
    assert 25 <= date.timestamp() - time.time() <= 31
    assert not {"retry-after", "retry-after-ms"} & set(headers())


def test_a_retry_can_succeed_and_gets_the_reply_that_was_due() -> None:
    with FakeProvider({"rules": RULES}) as provider:
        due = sdk(provider).chat.completions.create(**body()).choices[0].message.content
    for fault in ({"kind": "status", "status": 500}, {"kind": "reset"}, {"kind": "reset", "after": 0}):
        with FakeProvider({"rules": RULES, "faults": [{"share": 1, "attempts": 2, **fault}]}) as provider:
            for _ in range(2):
                with contextlib.suppress(openai.APIError):
                    sdk(provider).chat.completions.create(**body())
            assert sdk(provider).chat.completions.create(**body()).choices[0].message.content == due
            (call,) = provider.calls().values()
            assert (call["attempts"], call["faults"], call["finished"]) == (3, {fault["kind"]: 2}, 1)


def test_a_fault_can_be_meant_for_some_bodies_only() -> None:
    script = always("status", status=400, per="body", when={"text": "poison"})
    with FakeProvider(script) as provider:
        assert [ask(provider, text).status for text in ("poison", "fine", "poison")] == [400, 200, 400]


def test_a_hang_outlasts_the_clients_patience_and_is_given_up() -> None:
    with FakeProvider(always("hang", seconds=30)) as provider:
        with pytest.raises(openai.APITimeoutError):
            sdk(provider, timeout=0.2).chat.completions.create(**body())
        deadline = time.monotonic() + 5
        while counts(provider) != (0, 0, 0, 1) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert counts(provider) == (0, 0, 0, 1)
        assert provider.bill()["in_flight"] == 0
    with FakeProvider(always("hang", seconds=0.2)) as provider:
        start = time.monotonic()
        assert ask(provider).status == 200
        assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({}, (ConnectionResetError, http.client.IncompleteRead)),
        ({"after": 0}, (ConnectionResetError,)),
        ({"clean": True}, (http.client.IncompleteRead,)),
        ({"clean": True, "after": 0}, (http.client.RemoteDisconnected,)),
    ],
)
def test_a_reset_loses_a_reply_that_is_on_the_bill(params: dict[str, Any], error: tuple[type[Exception], ...]) -> None:
    with FakeProvider(always("reset", **params)) as provider:
        with pytest.raises(error):
            ask(provider).read()
        assert counts(provider) == (1, 0, 1, 0)
        with pytest.raises(openai.APIConnectionError):
            sdk(provider).chat.completions.create(**body())


def test_a_reset_mid_body_sends_half_of_it() -> None:
    async def received(provider: FakeProvider) -> bytes:
        got = b""
        async with aiohttp.ClientSession() as session:
            reply = await session.post(f"{provider.url}/chat/completions", json=body())
            with contextlib.suppress(aiohttp.ClientError):
                while chunk := await reply.content.readany():
                    got += chunk
            assert 0 < len(got) < int(reply.headers["content-length"])
        return got

    with FakeProvider(always("reset", after=0.4)) as provider:
        assert asyncio.run(received(provider)).startswith(b'{"id":"chatcmpl-')


def test_truncated_json_is_a_whole_http_reply_that_does_not_parse() -> None:
    with FakeProvider(always("truncated_json")) as provider:
        reply = ask(provider)
        text = reply.read()
        assert reply.status == 200
        assert text.startswith(b'{"id":')
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)
        assert counts(provider) == (1, 0, 1, 0)


def test_a_wrong_type_is_a_page_that_costs_nothing() -> None:
    with FakeProvider(always("wrong_type", status=502)) as provider:
        reply = ask(provider)
        assert (reply.status, reply.getheader("content-type")) == (502, "text/html")
        assert reply.read().startswith(b"<!DOCTYPE html>")
        assert counts(provider) == (0, 0, 0, 0)
    with FakeProvider(always("wrong_type", charge=True)) as provider:
        assert ask(provider).status == 200
        assert counts(provider) == (0, 0, 1, 0)


def test_empty_choices() -> None:
    with FakeProvider(always("empty_choices")) as provider:
        reply = sdk(provider).chat.completions.create(**body())
        assert reply.choices == []
        assert reply.usage is not None
        assert reply.usage.completion_tokens > 0
        assert counts(provider) == (1, 0, 1, 0)


def test_outcomes_are_whole_replies_and_stay() -> None:
    with FakeProvider(always("content_filter")) as provider:
        choices = [sdk(provider).chat.completions.create(**body()).choices[0] for _ in range(3)]
        assert {(c.finish_reason, c.message.content) for c in choices} == {("content_filter", "")}
        assert counts(provider) == (3, 3, 3, 0)
    with FakeProvider({"rules": RULES}) as provider:
        whole = sdk(provider).chat.completions.create(**body()).choices[0].message.content or ""
    with FakeProvider(always("length", keep=0.25)) as provider:
        choice = sdk(provider).chat.completions.create(**body()).choices[0]
        assert choice.finish_reason == "length"
        assert whole.startswith(choice.message.content or "?")
        assert len(choice.message.content or "") == pytest.approx(len(whole) / 4, abs=4)
    with FakeProvider(always("refusal")) as provider:
        choice = sdk(provider).chat.completions.create(**body()).choices[0]
        assert (choice.finish_reason, choice.message.content) == ("stop", None)
        assert "orry" in (choice.message.refusal or "")
    with FakeProvider(always("refusal", **{"as": "text"})) as provider:
        choice = sdk(provider).chat.completions.create(**body()).choices[0]
        assert choice.message.refusal is None
        assert "orry" in (choice.message.content or "")


def test_a_drip_arrives_slowly_and_whole() -> None:
    with FakeProvider(always("drip", seconds=0.8)) as provider:
        start = time.monotonic()
        reply = ask(provider)
        first = time.monotonic() - start
        json.loads(reply.read())
        assert first < 0.6
        assert time.monotonic() - start >= 0.8
        assert counts(provider) == (1, 1, 1, 0)
        with pytest.raises(TimeoutError):
            ask(provider, timeout=0.01).read()


def test_faults_of_the_books_must_be_asked_for_by_path() -> None:
    with FakeProvider(always("status", status=500)) as provider:
        assert sdk(provider).models.list().data
    with FakeProvider(always("status", status=500, when={"path": "models"})) as provider:
        with pytest.raises(openai.InternalServerError):
            sdk(provider).models.list()
        assert ask(provider).status == 200


def test_a_storm_of_every_kind_is_the_same_storm_each_time() -> None:
    kinds: list[dict[str, Any]] = [
        {"kind": "status", "status": 429, "retry_after": 0},
        {"kind": "status", "status": 503},
        {"kind": "hang", "seconds": 0.01},
        {"kind": "reset"},
        {"kind": "reset", "clean": True},
        {"kind": "truncated_json"},
        {"kind": "wrong_type"},
        {"kind": "empty_choices"},
        {"kind": "content_filter"},
        {"kind": "length"},
        {"kind": "refusal"},
        {"kind": "drip", "seconds": 0.01},
    ]
    script = {"rules": RULES, "faults": [{**kind, "share": 0.03} for kind in kinds]}

    def faults() -> dict[str, Any]:
        with FakeProvider(script) as provider:

            def one(i: int) -> None:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    ask(provider, f"q{i}").read()

            with ThreadPoolExecutor(16) as pool:
                list(pool.map(one, range(400)))
            return {key: call["faults"] for key, call in provider.calls().items()}

    first = faults()
    assert first == faults()
    total = Counter(kind for call in first.values() for kind in call)
    assert set(total) == {kind["kind"] for kind in kinds}
    assert sum(total.values()) / 400 == pytest.approx(0.03 * len(kinds), abs=0.08)


def test_rate_limits_are_told_and_kept() -> None:
    limit = {"requests": 5, "tokens": 2000, "seconds": 60}
    with FakeProvider({"rules": RULES, "rate_limit": limit}) as provider:
        replies = [ask(provider, f"q{i}") for i in range(8)]
        assert [r.status for r in replies] == [200] * 5 + [429] * 3
        left = [r.getheader("x-ratelimit-remaining-requests") for r in replies]
        assert left == ["4", "3", "2", "1", "0", "0", "0", "0"]
        assert {r.getheader("x-ratelimit-limit-requests") for r in replies} == {"5"}
        assert {r.getheader("x-ratelimit-limit-tokens") for r in replies} == {"2000"}
        assert 0 < int(replies[0].getheader("x-ratelimit-remaining-tokens") or 0) < 2000
        assert (replies[0].getheader("x-ratelimit-reset-requests") or "").endswith("s")
        assert replies[0].getheader("retry-after") is None
        assert 1 <= int(replies[5].getheader("retry-after") or 0) <= 12
        error = json.loads(replies[5].read())["error"]
        assert (error["code"], error["type"]) == ("rate_limit_exceeded", "requests")
        assert provider.bill()["statuses"] == {"200": 5, "429": 3}


def test_a_token_limit_counts_max_tokens_before_they_are_used() -> None:
    with FakeProvider(
        {"rules": RULES, "rate_limit": {"tokens": 1000, "headers": False, "retry_after": False}}
    ) as provider:
        client = sdk(provider)
        client.chat.completions.create(**body("a", max_tokens=900))
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(**body("b", max_tokens=900))
        assert "tokens" in str(caught.value)
        assert not [h for h in caught.value.response.headers if "ratelimit" in h or "retry" in h]


def test_a_refilled_bucket_allows_its_rate() -> None:
    now = [0.0]
    bucket = Bucket(60, 60.0, 0.1, lambda: now[0])
    taken = 0
    for _ in range(6000):
        now[0] += 0.1
        if bucket.wait(1) == 0:
            bucket.take(1)
            taken += 1
    assert taken == pytest.approx(600 + 6, abs=1)
    assert bucket.wait(1000) == pytest.approx(6 - bucket.level(), abs=1e-6), "more than it holds counts as all of it"
    assert [span(s) for s in (0.12, 7.5, 20, 360)] == ["120ms", "7.5s", "20s", "6m0s"]


def test_latency_and_speed() -> None:
    def seconds(**terms: Any) -> float:
        with FakeProvider({"rules": [{"reply": {"kind": "text", "text": "x" * 400}}], **terms}) as provider:
            start = time.monotonic()
            ask(provider).read()
            return time.monotonic() - start

    assert seconds() < 0.2
    assert 0.2 <= seconds(latency={"seconds": 0.2}) < 0.8
    assert 0.2 <= seconds(tokens_per_second=500) < 0.8
    for kind in ("uniform", "exponential", "lognormal"):
        assert seconds(latency={"kind": kind, "seconds": 0.01}) < 0.5


@pytest.mark.parametrize("kind", ["uniform", "exponential", "lognormal"])
def test_latencies_have_the_middle_they_are_given(kind: str) -> None:
    from pipeline.llm.fake.question import Question
    from pipeline.llm.fake.script import parse_script

    latency = parse_script({"latency": {"kind": kind, "seconds": 2, "spread": 0.3}}).latency
    drawn = sorted(latency.of(Question("chat", body(f"q{i}")), 1) for i in range(2000))
    middle = drawn[1000] if kind == "lognormal" else sum(drawn) / 2000
    assert middle == pytest.approx(2, rel=0.08)
    assert drawn[0] >= 0
    assert drawn[-1] > 2.4


def test_beyond_its_capacity_the_service_only_slows_down() -> None:
    async def seconds(count: int) -> float:
        service = Service(4)
        start = time.monotonic()
        await asyncio.gather(*(service.serve(0.05) for _ in range(count)))
        return time.monotonic() - start

    assert 0.05 <= asyncio.run(seconds(4)) < 0.2
    assert 0.20 <= asyncio.run(seconds(16)) < 0.4
    assert 0.40 <= asyncio.run(seconds(32)) < 0.8


def test_work_given_up_no_longer_takes_capacity() -> None:
    async def seconds() -> float:
        service = Service(1)
        start = time.monotonic()
        others = [asyncio.create_task(service.serve(10)) for _ in range(9)]
        mine = asyncio.create_task(service.serve(0.1))
        await asyncio.sleep(0.05)
        for other in others:
            other.cancel()
        await mine
        return time.monotonic() - start

    assert 0.1 <= asyncio.run(seconds()) < 0.7, "with ten at work it would take a second"


def test_saturation_without_429_over_the_wire() -> None:
    with FakeProvider({"rules": RULES, "capacity": 2, "latency": {"seconds": 0.05}}) as provider:
        start = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            statuses = [r.status for r in pool.map(lambda i: ask(provider, f"q{i}"), range(16))]
        assert set(statuses) == {200}
        assert time.monotonic() - start >= 16 * 0.05 / 2
        assert provider.bill()["peak_in_flight"] > 2


def test_a_client_that_goes_away_is_not_charged() -> None:
    with FakeProvider({"rules": RULES, "latency": {"seconds": 5}}) as provider:
        sock = socket.create_connection(("127.0.0.1", provider.port))
        payload = json.dumps(body()).encode()
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(payload) + payload
        )
        deadline = time.monotonic() + 5
        while provider.bill()["in_flight"] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        sock.close()
        while provider.bill()["aborted"] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert counts(provider) == (0, 0, 0, 1)
