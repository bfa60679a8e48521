"""One run of one client, in a process of its own: python benchmarks/_client.py NAME URL IN_FLIGHT COUNT."""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from _questions import MAX_TOKENS, MODEL, Watch, check, question, report

Ask = Callable[[str], Awaitable[str]]

_PATIENCE = 4.0

WORK = Path(__file__).parent / ".work"
"""On the disk that holds the repository: a temporary folder may be memory, where durability costs nothing."""


async def drive(ask: Ask, in_flight: int, count: int) -> None:
    """The plainest loop there is: so many workers take the next question; the clock runs once all are connected."""

    async def all_of(kind: str, count: int) -> list[str]:
        replies = [""] * count
        numbers = iter(range(count))

        async def worker() -> None:
            for number in numbers:
                replies[number] = await ask(question(number, kind))

        await asyncio.gather(*[worker() for _ in range(in_flight)])
        return replies

    await all_of("warm", in_flight)
    with Watch() as watch:
        replies = await all_of("timed", count)
    check(replies)
    report(watch, count)


async def by_openai(url: str, in_flight: int, count: int, aiohttp_backend: bool) -> None:
    import openai

    more: dict[str, Any] = {"http_client": openai.DefaultAioHttpClient()} if aiohttp_backend else {}
    async with openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0, timeout=300, **more) as client:

        async def ask(text: str) -> str:
            reply = await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": text}], max_tokens=MAX_TOKENS
            )
            return reply.choices[0].message.content or ""

        await drive(ask, in_flight, count)


async def by_aiohttp(url: str, in_flight: int, count: int) -> None:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none"}
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def ask(text: str) -> str:
            body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": MAX_TOKENS}
            data = json.dumps(body).encode()
            async with session.post(f"{url}/chat/completions", data=data, headers=headers) as response:
                return str(json.loads(await response.read())["choices"][0]["message"]["content"])

        await drive(ask, in_flight, count)


def by_seedmill(url: str, in_flight: int, count: int, transport: str) -> None:
    """As a stage asks: `ask` with a window of four times the calls in flight, every reply in the ledger first."""
    from pipeline.llm.caller import Caller
    from pipeline.llm.client import Client
    from pipeline.llm.ledger import ledger_facts
    from pipeline.llm.models import ModelSpec
    from pipeline.llm.request import Request
    from pipeline.record import Message

    def requests(kind: str, count: int | None = None) -> Iterator[Request]:
        number = 0
        while number != count:
            yield Request(messages=(Message(role="user", content=question(number, kind)),))
            number += 1

    spec = ModelSpec(
        role="default", model=MODEL, base_url=url, max_tokens=MAX_TOKENS, concurrency=in_flight, transport=transport
    )  # type: ignore[arg-type]
    window = 4 * in_flight
    with tempfile.TemporaryDirectory(prefix="bench-", dir=WORK) as folder:
        with Caller({"default": spec}, Path(folder), "bench") as caller:
            client = Client(caller, caller.specs, "bench")
            end = time.monotonic() + _PATIENCE  # the gate opens bit by bit, and no further than pays
            with closing(cast(Any, client.ask(requests("warm"), window))) as replies:
                next(reply for reply in replies if caller.usage().in_flight >= in_flight or time.monotonic() > end)
            warm = ledger_facts(Path(folder))["calls"]
            with Watch() as watch:
                texts = [reply.text for reply in client.ask(requests("timed", count), window)]
            check(texts)
            facts = ledger_facts(Path(folder))
            if facts != {"calls": warm + count, "intents": 0, "lost": 0}:
                raise SystemExit(f"the ledger does not hold the calls: {facts}")
            sent = caller.usage().sent
            with Watch() as again:
                found = [reply.text for reply in client.ask(requests("timed", count), window)]
            if found != texts or caller.usage().sent != sent:
                raise SystemExit("replaying brought other replies, or sent some calls again")
        report(watch, count, replay=count / again.seconds)


def main() -> None:
    name, url, in_flight, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if name in ("thin", "sdk"):
        by_seedmill(url, in_flight, count, name)
    elif name == "aiohttp":
        asyncio.run(by_aiohttp(url, in_flight, count))
    else:
        asyncio.run(by_openai(url, in_flight, count, aiohttp_backend=name == "openai-aiohttp"))


if __name__ == "__main__":
    main()
