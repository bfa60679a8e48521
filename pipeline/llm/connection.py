"""One HTTP/1.1 connection: a request out, its answer in, and whether another request may follow."""

import asyncio
import re
import zlib
from dataclasses import dataclass
from typing import cast

import httptools

_MOST_HEAD = 256 * 1024
_MOST_BODY = 64 * 1024 * 1024
"""Bytes; more than any answer of a model has, and little enough that a server gone mad does not fill our memory."""

_PROMISED = re.compile(r"timeout=(\d+)")


class Broken(Exception):
    """The connection ended, or what came over it is no HTTP, before an answer was whole."""


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer as it came: status, headers by lower-case name, body without its transfer encoding."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """Carries one exchange at a time; llhttp does the parsing.

    Attributes:
        rested_at: the loop's time when the last exchange ended.
        rest: seconds after which the server is thought to hang up on a connection that rests.
    """

    def __init__(self, rest: float) -> None:
        self.rested_at, self.rest = 0.0, rest
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Raw] | None = None
        self._deadline = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._begin()

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def exchange(self, request: bytes, seconds: float) -> "asyncio.Future[Raw]":
        """Send a request. The future brings the answer, or raises Broken, or TimeoutError after so many seconds."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._deadline = loop.time() + seconds
        # One alarm outlives many exchanges: setting one for each would cost more than the occasional one for nothing.
        if self._alarm is None or self._alarm.when() > self._deadline:
            self._set_alarm(loop)
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """Hang up; an exchange under way breaks."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._answer is None:  # nobody asked: a farewell such as a 408, or nonsense
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self._whole:
                self._fail(Broken(f"an answer that is not HTTP: {error}"))
                return
            self._reusable = False  # something follows the answer that was not asked for
        if self._whole:
            self._deliver()
        elif not self._headed:
            self._head_size += len(data)
            if self._head_size > _MOST_HEAD:
                self._fail(Broken("an answer with endless headers"))
        elif self._body_size > _MOST_BODY:
            self._fail(Broken("an answer of more than 64 MB"))

    def connection_lost(self, error: Exception | None) -> None:
        """The other side, or we, hung up."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._answer is None:
            return
        until_the_end = self._headed and not {"content-length", "transfer-encoding"} & self._headers.keys()
        if until_the_end and error is None:
            self._status, self._reusable = self._parser.get_status_code(), False
            self._deliver()
        else:
            self._fail(Broken("connection broken"))

    # What the parser calls.

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self._whole:
            raise Broken("an answer too many")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """The body follows."""
        self._headed = True

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._parts.append(data)
        self._body_size += len(data)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it only says that one will come."""
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._begin()
            return
        self._status, self._whole, self._reusable = status, True, self._parser.should_keep_alive()

    def _begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._status = self._head_size = self._body_size = 0
        self._headed = self._whole = self._reusable = False

    def _deliver(self) -> None:
        """Hand the answer out and rest, or hang up."""
        answer, raw = self._answer, Raw(self._status, self._headers, b"".join(self._parts))
        reusable, self._answer = self._reusable, None
        assert answer is not None
        assert self._transport is not None
        self._begin()
        if not reusable or self._transport.get_write_buffer_size():  # it did not want to hear all that we said
            self.close()
        promised = _PROMISED.search(raw.headers.get("keep-alive", ""))
        if promised:
            self.rest = min(self.rest, int(promised[1]) - 1.0)
        self.rested_at = asyncio.get_running_loop().time()
        if not answer.done():
            answer.set_result(raw)

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        self.close()
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def _set_alarm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = loop.call_at(self._deadline, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._alarm = None
        if self._answer is None:
            return
        if loop.time() >= self._deadline - 1e-3:
            self._fail(TimeoutError())
        else:
            self._set_alarm(loop)


def decoded(raw: Raw) -> bytes:
    """The body without its content encoding, should the server use one although we ask for none.

    Raises:
        Broken: an encoding we do not know, or a body that is not what it says.
    """
    encoding = raw.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return raw.body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Broken(f"an answer in the encoding '{encoding[:20]}'")
    for bits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):  # gzip or zlib by their heads; bare deflate has none
        inflater = zlib.decompressobj(bits)
        try:
            body = inflater.decompress(raw.body, _MOST_BODY)
        except zlib.error:
            continue
        if inflater.eof:
            return body
    raise Broken(f"an answer that is not '{encoding}' although it says so")
