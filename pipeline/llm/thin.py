"""One attempt over the wire, with nothing between our bytes and the socket but a parser."""

import asyncio
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pipeline.errors import UsageError
from pipeline.llm.connection import Broken, Connection, decoded
from pipeline.llm.dial import CONNECT_SECONDS, Dialler
from pipeline.llm.faults import Answer, NoAnswer
from pipeline.llm.models import ModelSpec
from pipeline.llm.secrets import scrubbed
from pipeline.llm.wire import REST_SECONDS, headers_of, secrets_of

_LOOK_AGAIN_AFTER = 0.2

_OUR_OWN = {"content-length", "transfer-encoding", "accept-encoding"}
"""Headers that say how the message is framed; a recipe cannot set them."""


class ThinWire:
    """HTTP/1.1 over connections that are kept; what the SDK sends, at a tenth of its work.

    A connection lost after a request was written counts as maybe paid, even when it had rested before: a server that
    hung up because it was idle looks the same as one that read the request and died. So that this stays rare, none is
    used that has rested for longer than servers commonly wait, and one that has rested at all is used only after the
    loop has seen whatever the server said meanwhile.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._dialler = Dialler(spec.base_url)
        self._resting: list[Connection] = []
        self._open: set[Connection] = set()
        self._heads: dict[str, bytes] = {}
        self._secrets: list[str] = []

    async def post(self, path: str, body: bytes) -> Answer:
        """One POST; see Wire."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._spec.timeout
        secrets = secrets_of(self._spec)  # those that are sent; the next call may have others
        request = b"%b%d\r\n\r\n%b" % (self._request_head(path, secrets), len(body), body)
        connection = await self._connection(loop)
        try:
            raw = await connection.exchange(request, ends - loop.time())
            content = decoded(raw)
        except TimeoutError as error:
            raise NoAnswer("timeout", paid=True) from error
        except Broken as error:
            raise NoAnswer(str(error), paid=True) from error
        except BaseException:  # whoever asked has gone
            connection.close()
            raise
        finally:
            if connection.usable:
                self._resting.append(connection)
            else:
                self._open.discard(connection)
        text = scrubbed(content.decode("utf-8", "replace"), secrets)
        return Answer(status=raw.status, headers=raw.headers, body=text)

    async def close(self) -> None:
        """Close the connections."""
        for connection in self._open:
            connection.close()
        self._open.clear()
        self._resting.clear()

    async def _connection(self, loop: asyncio.AbstractEventLoop) -> Connection:
        """The connection that has rested for the shortest time, or a new one."""
        while self._resting:
            connection = self._resting.pop()
            rested = loop.time() - connection.rested_at
            if rested > _LOOK_AGAIN_AFTER:
                for _ in range(2):  # the loop's next look at the sockets, and what follows from it
                    await asyncio.sleep(0)
            if connection.usable and rested < connection.rest:
                return connection
            connection.close()
            self._open.discard(connection)
        seconds = min(CONNECT_SECONDS, self._spec.timeout)
        made = await self._dialler.dial(lambda: Connection(REST_SECONDS), seconds)
        assert isinstance(made, Connection)
        self._open.add(made)
        return made

    def _request_head(self, path: str, secrets: list[str]) -> bytes:
        """The head up to the value of Content-Length; made anew only when the key or a header's value changes."""
        if secrets != self._secrets:
            self._heads, self._secrets = {}, secrets
        head = self._heads.get(path)
        if head is None:
            head = self._heads[path] = _head(self._spec.base_url, path, headers_of(self._spec))
        return head


def _head(base_url: str, path: str, headers: dict[str, str]) -> bytes:
    parts = urlsplit(base_url)
    target = quote(parts.path.rstrip("/") + path, safe="/%:@!$&'()*+,;=~")
    if parts.query:
        target += "?" + urlencode(dict(parse_qsl(parts.query)))  # as the SDK does
    default = {"host": _host(parts.netloc), "accept": "application/json", "user-agent": "seedmill"}
    sent = {name.lower(): (name, value) for name, value in {**default, **headers}.items()}
    lines = [f"POST {target} HTTP/1.1"]
    for lower, (name, value) in sent.items():
        if lower not in _OUR_OWN:
            lines.append(f"{name}: {_on_one_line(name, value)}")
    return "\r\n".join([*lines, "accept-encoding: identity", "content-length: "]).encode("utf-8", "replace")


def _host(netloc: str) -> str:
    return netloc if netloc.isascii() else netloc.encode("idna").decode()


def _on_one_line(name: str, value: str) -> str:
    """The value of a header, or an error that does not repeat it: it may be a key."""
    if any(character in value or character in name for character in "\r\n\0"):
        hint = "look for a stray line break at the end of the key, in the environment or in .env"
        raise UsageError(f"the value of the header '{name.strip()}' holds a line break", hint)
    return value.strip()
