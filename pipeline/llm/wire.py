"""One attempt over the wire, with the official SDK: its configuration, authentication and connection pool."""

import asyncio
import os
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pipeline.llm.faults import Answer, NoAnswer
from pipeline.llm.models import ModelSpec
from pipeline.llm.secrets import scrubbed

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_CONNECT_SECONDS = 10.0

NO_KEY = "none"
"""Sent to servers that need no key; the SDK insists on one."""

REST_SECONDS = 4.0
"""How long a connection may rest and be used again; the servers in use hang up after five or more."""


class Wire(Protocol):
    """Carries one body to one endpoint. The only seam between us and the network."""

    async def post(self, path: str, body: bytes) -> Answer:
        """Send `body` to `path` below the base URL.

        Raises:
            NoAnswer: nothing whole came back in time.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class SdkWire:
    """The official `openai` SDK over its aiohttp backend; sends our bytes as they are and never retries by itself."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._client: AsyncOpenAI | None = None

    async def post(self, path: str, body: bytes) -> Answer:
        """One POST; see Wire."""
        import httpx2
        import openai

        client = self._client or self._open()
        try:
            async with asyncio.timeout(self._spec.timeout):
                response = await client.post(
                    path, cast_to=httpx2.Response, content=body, options={"headers": headers_of(self._spec)}
                )
        except openai.APIStatusError as error:
            response = error.response
        except (TimeoutError, openai.APIConnectionError) as error:
            raise _no_answer(error) from error
        except httpx2.HTTPError as error:  # broke off in the middle of the body
            raise NoAnswer("connection broken", paid=True) from error
        return Answer(
            status=response.status_code, headers=response.headers, body=without_secrets(self._spec, response.content)
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _open(self) -> "AsyncOpenAI":
        import httpx2
        import openai

        spec = self._spec
        parts = urlsplit(spec.base_url)
        limits = httpx2.Limits(max_connections=None, keepalive_expiry=REST_SECONDS)
        # A proxy named in the environment must not stand between us and our own embedded server.
        http = openai.DefaultAioHttpClient(limits=limits, trust_env=spec.local is None)
        self._client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")),
            default_query=dict(parse_qsl(parts.query)),
            max_retries=0,
            timeout=httpx2.Timeout(spec.timeout, connect=_CONNECT_SECONDS),
            http_client=http,
        )
        return self._client

    async def _key(self) -> str:
        return self._spec.api_key() or NO_KEY


def headers_of(spec: ModelSpec) -> dict[str, str]:
    """The headers that say who asks and what comes: a recipe's own above ours, whatever case they are written in."""
    key, name = spec.api_key(), spec.kind.key_header
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key or NO_KEY}"}
    own = spec.headers() | ({name: key} if name and key else {})
    replaced = {header.lower() for header in own}
    return {header: value for header, value in headers.items() if header.lower() not in replaced} | own


def secrets_of(spec: ModelSpec) -> list[str]:
    """What must never be written anywhere: the key and header values read from the environment."""
    named = (os.environ.get(v[1:]) for v in spec.extra_headers.values() if v.startswith("$"))
    return [secret for secret in (spec.api_key(), *named) if secret]


def without_secrets(spec: ModelSpec, content: bytes) -> str:
    """A body as text, without the key or a secret header, should the server repeat them."""
    return scrubbed(content.decode("utf-8", "replace"), secrets_of(spec))


def _no_answer(error: BaseException) -> NoAnswer:
    """Why nothing came back, and whether the server may have worked on it."""
    import aiohttp

    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and len(chain) < 8:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    for link in chain:
        if isinstance(link, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return NoAnswer(_connector_reason(link), paid=False)
    timed_out = any(isinstance(link, TimeoutError) for link in chain)
    return NoAnswer("timeout" if timed_out else "connection broken", paid=True)


def _connector_reason(error: BaseException) -> str:
    os_error = getattr(error, "os_error", None)
    if isinstance(os_error, ConnectionRefusedError):
        return "connection refused"
    return str(os_error or "no connection").split("] ")[-1][:120]
