"""A small HTTP server whose every answer a test writes as a function, and a transport without a network."""

import asyncio
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pipeline.llm.faults import Answer, NoAnswer
from pipeline.llm.models import ModelSpec


@dataclass(frozen=True)
class Seen:
    """A request as it came; `attempt` counts equal bodies from 1."""

    path: str
    body: dict[str, Any]
    headers: Mapping[str, str]
    attempt: int

    @property
    def text(self) -> str:
        return str(self.body["prompt"] if "prompt" in self.body else self.body["messages"][-1]["content"])


@dataclass(frozen=True)
class Sent:
    """An answer. `how`: whole; half (the body stops in the middle); reset; hang (until the server ends)."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    how: str = "whole"

    @property
    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def said(text: str, finish: str = "stop", **usage: Any) -> Sent:
    """A chat reply."""
    message = {"role": "assistant", "content": text}
    counts = {"prompt_tokens": 7, "completion_tokens": 3} | usage
    return Sent(
        body={"model": "said-model", "choices": [{"message": message, "finish_reason": finish}], "usage": counts}
    )


def failed(status: int, message: str = "no", headers: Mapping[str, str] | None = None, **error: Any) -> Sent:
    """An error as OpenAI writes it."""
    return Sent(status, {"error": {"message": message} | error}, headers or {})


class Script:
    """Plays one answering function and keeps what it saw."""

    def __init__(self, answer: Callable[[Seen], Sent]) -> None:
        self.answer = answer
        self.seen: list[Seen] = []
        self.counts: Counter[str] = Counter()
        self.inside = self.most_inside = 0
        self._lock = threading.Lock()

    def enter(self, path: str, data: bytes, headers: Mapping[str, str]) -> Sent:
        with self._lock:
            key = data.decode()
            self.counts[key] += 1
            seen = Seen(path, json.loads(data), headers, self.counts[key])
            self.seen.append(seen)
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        return self.answer(seen)

    def leave(self) -> None:
        with self._lock:
            self.inside -= 1

    @property
    def texts(self) -> list[str]:
        return [seen.text for seen in self.seen]


class FunctionWire:
    """A transport that asks a script directly; `latency` is awaited before each answer."""

    def __init__(self, script: Script, latency: Callable[[], float] = lambda: 0.0) -> None:
        self.script, self.latency, self.closed = script, latency, False

    async def post(self, path: str, body: bytes) -> Answer:
        sent = self.script.enter(path, body, {})
        try:
            await asyncio.sleep(self.latency())
        finally:
            self.script.leave()
        if sent.how == "refused":
            raise NoAnswer("connection refused", paid=False)
        if sent.how != "whole":
            raise NoAnswer("timeout" if sent.how == "hang" else "connection broken", paid=True)
        return Answer(status=sent.status, headers=sent.headers, body=sent.data.decode())

    async def close(self) -> None:
        self.closed = True


class _PatientHTTPServer(ThreadingHTTPServer):
    request_queue_size = 256


class Server:
    """A real HTTP server on a free loopback port."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                sent = outer.script.enter(self.path, data, {k.lower(): v for k, v in self.headers.items()})
                try:
                    outer._send(self, sent)
                finally:
                    outer.script.leave()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = _PatientHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def _send(self, handler: BaseHTTPRequestHandler, sent: Sent) -> None:
        if sent.how == "hang":
            self._over.wait()
        if sent.how == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if sent.how in ("hang", "reset"):
            handler.close_connection = True
            handler.connection.close()
            return
        handler.send_response(sent.status)
        for name, value in {"Content-Type": "application/json", **sent.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(sent.data)))
        handler.end_headers()
        if sent.how == "half":
            handler.wfile.write(sent.data[: len(sent.data) // 2])
            handler.close_connection = True
        else:
            handler.wfile.write(sent.data)

    def close(self) -> None:
        self._over.set()
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def serving_script(answer: Callable[[Seen], Sent]) -> Iterator[Server]:
    server = Server(Script(answer))
    try:
        yield server
    finally:
        server.close()


def spec_of(**settings: Any) -> ModelSpec:
    return ModelSpec(**({"role": "default", "model": "m", "base_url": "http://model.test/v1"} | settings))


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)
