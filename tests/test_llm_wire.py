"""Over a real connection: what is sent, what breaks, and that the key stays where it belongs."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ModelError
from pipeline.llm.caller import Caller
from pipeline.llm.client import Client
from pipeline.llm.faults import Answer, NoAnswer
from pipeline.llm.flight import Pauses
from pipeline.llm.models import ModelSpec
from pipeline.llm.request import Request
from pipeline.llm.transport import open_wire
from pipeline.llm.wire import Wire, headers_of, secrets_of
from pipeline.record import Message
from tests.scripted import Seen, Sent, Server, failed, said, serving_script, spec_of

KEY = "sk-secret-4f1d9a77c0"
QUICK = Pauses(nobody=0.5, first=0.01, longest=0.05)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WIRE_KEY", KEY)
    monkeypatch.setenv("WIRE_HEADER", "header-secret-99")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving_script(lambda seen: said(f"re: {seen.text}")) as one:
        yield one


@pytest.fixture(params=["thin", "sdk"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def post(spec: ModelSpec, *bodies: bytes, path: str = "/chat/completions") -> list[Answer | NoAnswer]:
    async def run() -> list[Answer | NoAnswer]:
        wire = open_wire(spec)
        try:
            return await asyncio.gather(*[one(wire, body) for body in bodies])
        finally:
            await wire.close()

    async def one(wire: Wire, body: bytes) -> Answer | NoAnswer:
        try:
            return await wire.post(path, body)
        except NoAnswer as error:
            return error

    return asyncio.run(run())


BODY = '{"model":"m","messages":[{"role":"user","content":"hé 猫"}]}'.encode()


def test_our_bytes_and_the_key_arrive(transport: str, server: Server) -> None:
    spec = spec_of(
        transport=transport,
        base_url=server.url,
        api_key_env="WIRE_KEY",
        extra_headers={"X-Extra": "$WIRE_HEADER", "X-Plain": "p"},
    )
    (answer,) = post(spec, BODY)
    assert isinstance(answer, Answer)
    assert answer.status == 200
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "re: hé 猫"
    seen = server.script.seen[0]
    assert (seen.path, seen.headers["content-type"]) == ("/v1/chat/completions", "application/json")
    assert server.script.counts == {BODY.decode(): 1}
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert (seen.headers["x-extra"], seen.headers["x-plain"]) == ("header-secret-99", "p")


def test_a_query_of_the_base_url_is_kept_and_a_server_without_key_gets_none_of_ours(
    transport: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    post(spec_of(transport=transport, base_url=f"{server.url}?api-version=2026-01-01"), BODY)
    seen = server.script.seen[0]
    assert seen.path == "/v1/chat/completions?api-version=2026-01-01"
    assert KEY not in str(seen.headers)


def test_azure_gets_the_key_in_its_own_header(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = headers_of(spec_of(base_url="https://mine.openai.azure.com/openai/v1", api_key_env="WIRE_KEY"))
    assert headers["api-key"] == KEY


@pytest.mark.parametrize(
    ("how", "reason"), [("reset", "connection broken"), ("half", "connection broken"), ("hang", "timeout")]
)
def test_connections_that_break(transport: str, how: str, reason: str) -> None:
    with serving_script(lambda seen: Sent(body=said("x" * 1000).body, how=how)) as server:
        (error,) = post(spec_of(transport=transport, base_url=server.url, timeout=0.5), BODY)
        assert isinstance(error, NoAnswer)
        assert (str(error), error.paid) == (reason, True)


def test_nobody_listens_and_no_such_host(transport: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        (refused,) = post(spec_of(transport=transport, base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1"), BODY)
    (unknown,) = post(spec_of(transport=transport, base_url="http://no-such-host.invalid/v1", timeout=5.0), BODY)
    for error in (refused, unknown):
        assert isinstance(error, NoAnswer)
        assert not error.paid
    assert str(refused) == "connection refused"


def test_errors_come_with_status_headers_and_body(transport: str) -> None:
    with serving_script(lambda seen: failed(429, "slow down", {"Retry-After": "3"})) as server:
        (answer,) = post(spec_of(transport=transport, base_url=server.url), BODY)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")
    assert "slow down" in answer.body
    assert len(server.script.seen) == 1, "the SDK does not try again by itself"


def test_many_at_once(transport: str, server: Server) -> None:
    bodies = [json.dumps({"prompt": f"q{n}"}).encode() for n in range(60)]
    answers = post(spec_of(transport=transport, base_url=server.url), *bodies, path="/completions")
    assert all(isinstance(answer, Answer) and f"re: q{n}" in answer.body for n, answer in enumerate(answers))


def test_a_proxy_of_the_environment_is_used_but_not_for_our_own_server(
    transport: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
    (answer,) = post(spec_of(transport=transport, base_url="http://model.invalid/v1"), BODY)
    assert isinstance(answer, Answer)
    assert server.script.seen[0].path == "http://model.invalid/v1/chat/completions"
    with serving_script(lambda seen: said("direct")) as own:
        post(spec_of(transport=transport, base_url=own.url, local="x.gguf", local_sha256="0"), BODY)
        assert len(own.script.seen) == 1
    assert len(server.script.seen) == 1


def test_through_caller_and_client(transport: str, server: Server, tmp_path: Path) -> None:
    specs = {"default": spec_of(transport=transport, base_url=server.url, concurrency=8)}
    with Caller(specs, tmp_path, "r", pauses=QUICK) as caller:
        requests = [Request(messages=(Message(role="user", content=f"q{n}"),)) for n in range(50)]
        texts = [reply.text for reply in Client(caller, specs, "e").ask(requests, 32)]
    assert texts == [f"re: q{n}" for n in range(50)]
    assert server.script.most_inside <= 8


def test_storm(transport: str, tmp_path: Path) -> None:
    """A third of the attempts fail in every way; every call ends as a reply, none twice."""
    faults: list[Sent] = [failed(500), failed(429), failed(429, headers={"Retry-After": "0.02"}), Sent(how="reset")]
    faults += [Sent(body=said("x").body, how="half"), Sent(body=b"<html>"), Sent(body={"choices": []}), failed(408)]

    def answer(seen: Seen) -> Sent:
        number = int(seen.text.removeprefix("q"))
        return faults[number % len(faults)] if number % 2 and seen.attempt == 1 else said(f"re: {seen.text}")

    with (
        serving_script(answer) as server,
        Caller(
            {"default": spec_of(transport=transport, base_url=server.url, concurrency=32)}, tmp_path, "r", pauses=QUICK
        ) as caller,
    ):
        replies = list(Client(caller, caller.specs, "e").ask((Request(prompt=f"q{n}") for n in range(160)), 128))
        assert [reply.text for reply in replies] == [f"re: q{n}" for n in range(160)]
        usage = caller.usage("e")
    assert usage.sent == len(server.script.seen) == 240
    assert usage.maybe_paid == 80 * 4 // 8


def test_a_server_that_repeats_the_key_does_not_get_it_into_ledger_or_errors(transport: str, tmp_path: Path) -> None:
    """Everything that is written or raised is searched for the key and the secret header."""

    def answer(seen: Seen) -> Sent:
        said_back = f"you sent {seen.headers['authorization']} and {seen.headers['x-extra']}"
        if seen.text == "wrong":
            return failed(401, said_back)
        return failed(400, said_back) if seen.text == "refused" else said(said_back)

    told: list[str] = []
    with serving_script(answer) as server:
        spec = spec_of(
            transport=transport, base_url=server.url, api_key_env="WIRE_KEY", extra_headers={"X-Extra": "$WIRE_HEADER"}
        )
        assert secrets_of(spec) == [KEY, "header-secret-99"]
        with Caller({"default": spec}, tmp_path, "r", pauses=QUICK) as caller:
            for text in ("fine", "refused"):
                told.append(repr(caller.submit(Request(prompt=text), "e").result(10)))
            with pytest.raises(ModelError) as caught:
                caller.submit(Request(prompt="wrong"), "e").result(10)
            told += [str(caught.value), repr(caught.value), repr(caller.specs), repr(caller.usage())]
    assert "you sent Bearer [key] and [key]" in told[0]
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"you sent Bearer [key]" in written
    for secret in (KEY, "header-secret-99"):
        assert secret not in "".join(told)
        assert secret.encode() not in written


def test_the_official_sdk_would_send_the_same_body(server: Server) -> None:
    """The SDK as the oracle of what a chat call looks like on the wire."""
    import openai

    params: dict[str, Any] = {"temperature": 0.5, "max_tokens": 9, "stop": ["\n"], "seed": 3}
    client = openai.OpenAI(base_url=server.url, api_key="k")
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], **params)
    from pipeline.llm.body import compose, wire_body

    spec = spec_of(base_url=server.url)
    request = Request(messages=(Message(role="user", content="hi"),), params=params)
    path, data = wire_body(spec, compose(spec, request, "e"))
    post(spec, data, path=path)
    theirs, ours = server.script.seen
    assert (theirs.path, theirs.body) == (ours.path, ours.body)
