"""Opens connections to one server: its name looked up now and then, all its addresses tried, TLS where it is asked."""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohappyeyeballs

from pipeline.llm.faults import NoAnswer

if TYPE_CHECKING:
    import ssl

CONNECT_SECONDS = 10.0

_KNOWN_FOR = 10.0
"""Seconds for which an address is believed: a server that moves is found again, and a burst asks for it once."""

_NEXT_ADDRESS_AFTER = 0.25
"""Seconds until the next address of a name is tried beside the first (RFC 8305)."""

_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 30))
"""A long answer is minutes of silence, and routers forget connections that are silent for so long."""


class Dialler:
    """Dials the server of a base URL."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._secure = parts.scheme.lower() == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._trust: ssl.SSLContext | None = None
        self._addresses: asyncio.Task[list[Any]] | None = None
        self._believed_until = 0.0

    async def dial(self, protocol: Callable[[], asyncio.Protocol], seconds: float) -> asyncio.Protocol:
        """A connection that stands.

        Raises:
            NoAnswer: there is none after so many seconds, or the server is not who it should be; never paid.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                open_socket = await aiohappyeyeballs.start_connection(
                    await self._known_addresses(loop), happy_eyeballs_delay=_NEXT_ADDRESS_AFTER
                )
                _keep_alive(open_socket)
                name = self._host if self._secure else None
                _, made = await loop.create_connection(
                    protocol, sock=open_socket, ssl=self._context(), server_hostname=name
                )
        except TimeoutError as error:
            raise NoAnswer("no connection", paid=False) from error
        except ConnectionRefusedError as error:
            raise NoAnswer("connection refused", paid=False) from error
        except OSError as error:  # no such host, no route, no file left for it, a certificate that is not good
            raise NoAnswer(str(error).split("] ")[-1][:120] or "no connection", paid=False) from error
        return made

    async def _known_addresses(self, loop: asyncio.AbstractEventLoop) -> list[Any]:
        task = self._addresses
        if task is None or loop.time() > self._believed_until or (task.done() and task.exception() is not None):
            self._believed_until = loop.time() + _KNOWN_FOR
            looking = loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            task = self._addresses = loop.create_task(looking)
        return await asyncio.shield(task)  # one of many who wait may give up

    def _context(self) -> "ssl.SSLContext | None":
        """Trusts whom the SDK trusts."""
        if self._secure and self._trust is None:
            import httpx2

            self._trust = httpx2.create_ssl_context()
        return self._trust


def _keep_alive(open_socket: socket.socket) -> None:
    open_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            open_socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
