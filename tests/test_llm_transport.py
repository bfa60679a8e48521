"""The two transports send the same; the thin one reads whatever HTTP a server may speak."""

import asyncio
import datetime
import gzip
import ipaddress
import json
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import pytest
import uvloop

from pipeline.errors import UsageError
from pipeline.llm import thin
from pipeline.llm.body import compose, wire_body
from pipeline.llm.faults import Answer, NoAnswer
from pipeline.llm.models import ModelSpec
from pipeline.llm.request import Request
from pipeline.llm.roles import resolve_models
from pipeline.llm.thin import ThinWire
from pipeline.llm.transport import behind_proxy, open_wire
from pipeline.llm.wire import SdkWire
from pipeline.record import Message
from tests.scripted import spec_of

KEY = "sk-secret-4f1d9a77c0"
PATH = "/chat/completions"
REPLY = json.dumps({"choices": [{"message": {"role": "assistant", "content": "hé 猫"}}]}, ensure_ascii=False).encode()
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WIRE_KEY", KEY)
    monkeypatch.setenv("WIRE_HEADER", "header-secret-99")


@dataclass
class Heard:
    """One request as it came over a socket."""

    connection: int
    line: str
    headers: dict[str, str]
    body: bytes


Play = Callable[[asyncio.StreamWriter, Heard], Awaitable[None]]


@dataclass
class Raw:
    """A server that hears requests byte for byte and answers with whatever bytes `play` writes."""

    play: Play
    heard: list[Heard] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        mine = self.connections
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                pairs = (line.split(": ", 1) for line in head[1:] if line)
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers["content-length"]))
                self.heard.append(Heard(mine, head[0], headers, body))
                await self.play(writer, self.heard[-1])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def served(play: Play, tls: ssl.SSLContext | None = None) -> AsyncIterator[Raw]:
    raw = Raw(play)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0, ssl=tls)
    raw.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield raw
    finally:
        server.close()


def whole(body: bytes = REPLY, headers: str = "") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), headers.encode(), body)


def saying(*pieces: bytes, close: bool = False) -> Play:
    """Writes the pieces, each in a packet of its own."""

    async def play(writer: asyncio.StreamWriter, heard: Heard) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0.001)
        if close:
            writer.close()

    return play


async def asked(wire: Any, body: bytes = b"{}") -> Answer | NoAnswer:
    try:
        answer: Answer = await wire.post(PATH, body)
    except NoAnswer as error:
        return error
    return answer


def ask(play: Play, times: int = 1, **settings: Any) -> tuple[list[Answer | NoAnswer], Raw]:
    """The answers to so many requests, one after the other, over the thin transport."""

    async def run() -> tuple[list[Answer | NoAnswer], Raw]:
        async with served(play) as raw:
            wire = ThinWire(spec_of(base_url=raw.url, **settings))
            try:
                return [await asked(wire) for _ in range(times)], raw
            finally:
                await wire.close()

    return uvloop.run(run())


def target(heard: Heard) -> tuple[str, list[tuple[str, str]]]:
    """Path and query as they are meant."""
    parts = urlsplit(heard.line.split(" ")[1])
    return parts.path, parse_qsl(parts.query)


MATTER = ("authorization", "content-type", "content-length", "host", "x-extra", "x-plain")


@pytest.mark.parametrize("query", ["", "?api-version=2026-01-01", "?a=1&b=x%20y&c=%3A%2F%26-_.~%C3%BC"])
@pytest.mark.parametrize("key", ["WIRE_KEY", None])
@pytest.mark.parametrize(
    "extra",
    [{}, {"X-Extra": "$WIRE_HEADER", "X-Plain": "p"}, {"authorization": "Token own", "CONTENT-TYPE": "application/x"}],
)
def test_both_transports_send_the_same(query: str, key: str | None, extra: dict[str, str]) -> None:
    request = Request(
        messages=(Message(role="system", content='say "ü"'), Message(role="user", content="猫\ud800\n\x00 {}")),
        params={"temperature": 0.0, "stop": ["\n"], "logit_bias": {"1": -1}, "top_p": None},
        tools=({"type": "function", "function": {"name": "f"}},),
    )

    async def run() -> list[Heard]:
        async with served(saying(whole())) as raw:
            for transport in ("thin", "sdk"):
                spec = spec_of(
                    base_url=raw.url + query, api_key_env=key, extra_headers=extra, transport=transport, max_tokens=9
                )
                wire = open_wire(spec)
                assert type(wire) is {"thin": ThinWire, "sdk": SdkWire}[transport]
                assert isinstance(await wire.post(*wire_body(spec, compose(spec, request, "e"))), Answer)
                await wire.close()
        return raw.heard

    ours, theirs = uvloop.run(run())
    assert ours.body == theirs.body
    assert b"\\ud83d" not in ours.body
    assert target(ours) == target(theirs)
    assert ours.line == theirs.line or "%" in query, "the same but for how a query may be written"
    assert ours.line.startswith("POST /v1/chat/completions")
    for name in MATTER:
        assert ours.headers.get(name) == theirs.headers.get(name), name
    assert ours.headers["accept"] == theirs.headers["accept"] == "application/json"


def test_the_setting_is_in_no_key_and_no_identity() -> None:
    models = {"default": {"base_url": "http://h/v1", "model": "m"}, "judge": {"transport": "sdk"}}
    specs = resolve_models(models, {})
    assert (specs["default"].transport, specs["judge"].transport) == ("thin", "sdk")
    request = Request(prompt="q")
    assert specs["default"].identity == specs["judge"].identity
    assert compose(specs["default"], request, "e").key == compose(specs["judge"], request, "e").key


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;note=x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX-Late: 1\r\n\r\n"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(REPLY, 7)
PLAIN = zlib.compressobj(wbits=-zlib.MAX_WBITS)
BARE = PLAIN.compress(REPLY) + PLAIN.flush()

SPOKEN = {
    "with its length": whole(),
    "in chunks": CHUNKED,
    "after a 100 and a 103": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + whole(),
    "gzip, unasked": whole(gzip.compress(REPLY), "Content-Encoding: gzip\r\n"),
    "deflate, unasked": whole(zlib.compress(REPLY), "Content-Encoding: deflate\r\n"),
    "bare deflate, unasked": whole(BARE, "Content-Encoding: deflate\r\n"),
    "with odd spacing": b"HTTP/1.1 200 OK\r\ncontent-length:%d\r\nX-A:   b  \r\n\r\n%b" % (len(REPLY), REPLY),
    "without a reason": whole().replace(b"200 OK", b"200"),
}


@pytest.mark.parametrize("how", list(SPOKEN))
@pytest.mark.parametrize("cut", ["whole", "bytes"])
def test_whatever_http_a_server_speaks_is_read_and_the_connection_kept(how: str, cut: str) -> None:
    data = SPOKEN[how]
    pieces = [data] if cut == "whole" else [data[at : at + 1] for at in range(len(data))]
    answers, raw = ask(saying(*pieces), times=2 if cut == "bytes" else 5)
    assert [answer.body for answer in answers if isinstance(answer, Answer)] == [REPLY.decode()] * len(answers)
    assert raw.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + REPLY,
        b"HTTP/1.0 200 OK\r\n\r\n" + REPLY,
        b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(REPLY), REPLY),
        whole(headers="Connection: close\r\n"),
    ],
    ids=["until the end", "1.0 until the end", "1.0 with its length", "connection: close"],
)
def test_answers_that_end_their_connection(data: bytes) -> None:
    answers, raw = ask(saying(data, close=True), times=3)
    assert [answer.body for answer in answers if isinstance(answer, Answer)] == [REPLY.decode()] * 3
    assert raw.connections == 3


def test_headers_come_in_lower_case_and_repeated_ones_together() -> None:
    (answer,), _ = ask(saying(whole(headers="X-RateLimit-Limit-Requests: 5\r\nVia: a\r\nVIA: b\r\n")))
    assert isinstance(answer, Answer)
    assert answer.headers["x-ratelimit-limit-requests"] == "5"
    assert answer.headers["via"] == "a, b"


BROKEN = {
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n", False, "not HTTP"),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Le", True, "connection broken"),
    "half a body": (whole()[:-3], True, "connection broken"),
    "half a chunk": (CHUNKED[:-40], True, "connection broken"),
    "no answer": (b"", True, "connection broken"),
    "two lengths": (whole(headers="Content-Length: 3\r\n"), False, "not HTTP"),
    "an upgrade": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", True, ""),
    "endless headers": (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 40_000, False, "endless headers"),
    "brotli": (whole(headers="Content-Encoding: br\r\n"), False, "encoding 'br'"),
    "no gzip": (whole(headers="Content-Encoding: gzip\r\n"), False, "not 'gzip'"),
}


@pytest.mark.parametrize("how", list(BROKEN))
def test_what_is_no_whole_answer_may_have_been_paid(how: str) -> None:
    data, close, reason = BROKEN[how]
    (error,), _ = ask(saying(data, close=close), timeout=5.0)
    assert isinstance(error, NoAnswer), error
    assert error.paid
    assert reason in str(error)


def test_an_answer_with_no_end_in_size_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.llm.connection._MOST_BODY", 100_000)
    big = b"x" * 300_000
    for data in (whole(big), b"HTTP/1.1 200 OK\r\n\r\n" + big, whole(gzip.compress(big), "Content-Encoding: gzip\r\n")):
        (error,), _ = ask(saying(data, close=True))
        assert isinstance(error, NoAnswer), data[:60]


def test_what_follows_an_answer_unasked_is_no_answer_to_the_next_request() -> None:
    forged = whole(b'{"forged": true}')

    async def play(writer: asyncio.StreamWriter, heard: Heard) -> None:
        writer.write(whole() + forged)
        await writer.drain()

    answers, raw = ask(play, times=3)
    assert [answer.body for answer in answers if isinstance(answer, Answer)] == [REPLY.decode()] * 3
    assert raw.connections == 3


def test_a_server_that_hung_up_on_a_resting_connection_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It closed while nothing was asked: the next request goes over a new connection, and nobody counts a loss."""
    monkeypatch.setattr(thin, "_LOOK_AGAIN_AFTER", 0.0)

    async def run(linger: float, farewell: bytes) -> Raw:
        async def play(writer: asyncio.StreamWriter, heard: Heard) -> None:
            writer.write(whole())
            await writer.drain()
            await asyncio.sleep(linger)
            writer.write(farewell)
            writer.close()

        async with served(play) as raw:
            wire = ThinWire(spec_of(base_url=raw.url))
            for _ in range(3):
                assert isinstance(await asked(wire), Answer)
                await asyncio.sleep(linger + 0.02)
            await wire.close()
        return raw

    for farewell in (b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"):
        raw = uvloop.run(run(0.02, farewell))
        assert [heard.connection for heard in raw.heard] == [1, 2, 3]


def test_a_connection_is_not_used_after_the_time_that_its_server_promises() -> None:
    async def run() -> Raw:
        async with served(saying(whole(headers="Keep-Alive: timeout=1, max=100\r\n"))) as raw:
            wire = ThinWire(spec_of(base_url=raw.url))
            for _ in range(2):
                assert isinstance(await asked(wire), Answer)
            await wire.close()
        return raw

    assert uvloop.run(run()).connections == 2


def test_connections_are_shared_by_many_and_closed_in_the_end() -> None:
    async def run() -> tuple[Raw, int]:
        async def play(writer: asyncio.StreamWriter, heard: Heard) -> None:
            await asyncio.sleep(0.005)
            writer.write(whole(heard.body))

        async with served(play) as raw:
            wire = ThinWire(spec_of(base_url=raw.url))
            limit = asyncio.Semaphore(8)

            async def one(number: int) -> None:
                async with limit:
                    answer = await wire.post(PATH, b'{"n":%d}' % number)
                assert answer.body == f'{{"n":{number}}}'

            await asyncio.gather(*[one(n) for n in range(200)])
            await wire.close()
            await asyncio.sleep(0.02)
            left = sum(task.get_coro().__qualname__ == "Raw.serve" for task in asyncio.all_tasks())  # type: ignore[union-attr]
        return raw, left

    raw, left = uvloop.run(run())
    assert len(raw.heard) == 200
    assert raw.connections <= 8
    assert left == 0


@pytest.mark.parametrize("end", ["timeout", "cancel"])
def test_a_connection_nobody_waits_for_any_more_is_closed(end: Literal["timeout", "cancel"]) -> None:
    """A late answer must not be taken for the answer to the next request."""

    async def run() -> Raw:
        async def play(writer: asyncio.StreamWriter, heard: Heard) -> None:
            if heard.connection == 1:
                await asyncio.sleep(0.3)
            writer.write(whole(b'"%d"' % heard.connection))

        async with served(play) as raw:
            wire = ThinWire(spec_of(base_url=raw.url, timeout=0.1 if end == "timeout" else 30.0))
            task = asyncio.create_task(asked(wire))
            await asyncio.sleep(0.02)
            if end == "cancel":
                task.cancel()
            (first,) = await asyncio.gather(task, return_exceptions=True)
            if end == "timeout":
                assert isinstance(first, NoAnswer)
                assert (str(first), first.paid) == ("timeout", True)
            else:
                assert isinstance(first, asyncio.CancelledError)
            second = await asked(wire)
            assert isinstance(second, Answer)
            assert second.body == '"2"'
            await wire.close()
        return raw

    assert uvloop.run(run()).connections == 2


def test_the_timeout_holds_for_each_attempt_over_a_kept_connection() -> None:
    slow = {"a": 0.0, "b": 0.15, "c": 30.0}

    async def play(writer: asyncio.StreamWriter, heard: Heard) -> None:
        await asyncio.sleep(slow[heard.body.decode()])
        writer.write(whole())

    async def run() -> list[bool]:
        async with served(play) as raw:
            wire = ThinWire(spec_of(base_url=raw.url, timeout=0.2))
            answers = [await asked(wire, body) for body in (b"a", b"b", b"b", b"c")]
            await wire.close()
            assert raw.connections == 1
        return [isinstance(answer, Answer) for answer in answers]

    assert uvloop.run(run()) == [True, True, True, False]


@pytest.mark.parametrize("value", ["sk-with-a-break\n", "two\r\nX-Forged: 1"])
def test_a_key_with_a_line_break_is_a_sentence_that_does_not_repeat_it(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIRE_KEY", value)
    with pytest.raises(UsageError, match="'Authorization' holds a line break") as caught:
        uvloop.run(ThinWire(spec_of(base_url="http://127.0.0.1:9/v1", api_key_env="WIRE_KEY")).post(PATH, b"{}"))
    assert value.strip() not in f"{caught.value} {caught.value.hint}"


def test_a_key_that_changes_is_sent_as_it_is_at_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> Raw:
        async with served(saying(whole())) as raw:
            wire = ThinWire(spec_of(base_url=raw.url, api_key_env="WIRE_KEY"))
            for key in ("one-key", "another-key"):
                monkeypatch.setenv("WIRE_KEY", key)
                await wire.post(PATH, b"{}")
            await wire.close()
        return raw

    heard = uvloop.run(run()).heard
    assert [one.headers["authorization"] for one in heard] == ["Bearer one-key", "Bearer another-key"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, and its key, in one file."""
    crypto = pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    assert crypto
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "here.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


def test_tls_with_a_trusted_server_and_not_with_a_stranger(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)

    async def run(transport: str) -> tuple[Answer | NoAnswer, int]:
        async with served(saying(whole()), tls) as raw:
            wire = open_wire(spec_of(base_url=raw.url, transport=transport))
            answers = [await asked(wire) for _ in range(3)]
            await wire.close()
            return answers[-1], raw.connections

    for transport in ("thin", "sdk"):
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        stranger, _ = uvloop.run(run(transport))
        assert isinstance(stranger, NoAnswer)
        assert not stranger.paid
        assert "certificate" in str(stranger).lower()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        answer, connections = uvloop.run(run(transport))
        assert isinstance(answer, Answer)
        assert connections == 1


def spec_at(url: str, **settings: Any) -> ModelSpec:
    return spec_of(base_url=url, **settings)


def test_which_calls_go_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", "localhost,.inside.test")
    assert behind_proxy(spec_at("https://api.openai.com/v1"))
    assert isinstance(open_wire(spec_at("https://api.openai.com/v1")), SdkWire)
    for url in ("http://api.openai.com/v1", "https://localhost:8000/v1", "https://gpu.inside.test/v1"):
        assert isinstance(open_wire(spec_at(url)), ThinWire), url
    assert isinstance(open_wire(spec_at("https://own.test/v1", local="x.gguf", local_sha256="0")), ThinWire)
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.test:1080")
    assert behind_proxy(spec_at("http://api.openai.com/v1"))
