"""How a batch gets to its server: noted before anything is sent, begun once, found again after a crash."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from pipeline.crash import crash_point
from pipeline.llm.batch.book import Book, Entry
from pipeline.llm.batch.lines import Line
from pipeline.llm.batch.patience import Away, OutOfTime, Patience
from pipeline.llm.batch.server import BatchServer, Later, NotTaken, Seen

_ON_ITS_WAY = 60.0
"""Seconds that a request to begin a batch may need to arrive, though the process that sent it has died."""


class Unsure(Exception):
    """The server may have begun a batch whose id we shall never know, for it does not list its batches."""


async def launch(
    entry: Entry, lines: Sequence[Line], book: Book, server: BatchServer, patience: Patience
) -> tuple[Entry, Seen]:
    """Plan a batch, upload its file and begin it.

    Returns:
        The book's entry as it now stands, and the batch as the server shows it.

    Raises:
        TooLarge, NotTaken, SeedmillError: nothing was begun, and the book does not know it any more.
        OutOfTime, Away: nothing was begun, or the book says `creating`: a later run finds out.
        Unsure: see there.
    """
    await asyncio.to_thread(book.plan, entry, lines)
    crash_point("batch-planned")
    try:
        content = b"".join(line.data for line in lines)
        file = await patience.ask(server.upload, f"seedmill-{entry.token}.jsonl", content)
        await asyncio.to_thread(book.note, entry.token, state="uploaded", file=file)
        crash_point("batch-uploaded")
        if patience.leaving:
            raise Away
        await asyncio.to_thread(book.note, entry.token, state="creating")
        entry = replace(entry, state="creating", file=file)
        seen = await _create(entry, server, patience)
    except BaseException as error:
        if entry.state != "creating" or not isinstance(error, OutOfTime | Away):
            await asyncio.to_thread(book.forget, entry.token)
        raise
    return await _known(entry, seen, book), seen


async def find_again(entry: Entry, book: Book, server: BatchServer, patience: Patience) -> tuple[Entry, Seen] | None:
    """After a crash: the batch whose id was never noted, or None when the server has none.

    A request that was on its way when the process died may arrive later than we look; a young one is looked for twice.
    """
    seen = await _find(entry, server, patience)
    if seen is None and (young := entry.changed + _ON_ITS_WAY - time.time()) > 0:
        await patience.rest(min(young, patience.pauses.longest))
        seen = await _find(entry, server, patience)
    return None if seen is None else (await _known(entry, seen, book), seen)


async def _create(entry: Entry, server: BatchServer, patience: Patience) -> Seen:
    """Begin it once: an answer that was lost on its way is looked for before anything is asked twice."""
    assert entry.file is not None
    began, tries = time.monotonic(), 0
    while True:
        try:
            return await asyncio.to_thread(server.create, entry.file, entry.url, entry.token, entry.run)
        except Later as later:
            tries += 1
            await patience.rest_after(later, tries, began)
            seen = None if later.limited else await _find(entry, server, patience)
        if seen is not None:
            return seen


async def _find(entry: Entry, server: BatchServer, patience: Patience) -> Seen | None:
    try:
        return await patience.ask(server.find, entry.token, entry.file)
    except NotTaken as error:
        raise Unsure("a batch may have begun whose id was lost") from error


async def _known(entry: Entry, seen: Seen, book: Book) -> Entry:
    crash_point("batch-created")
    await asyncio.to_thread(book.note, entry.token, state="created", id=seen.id)
    crash_point("batch-noted")
    return replace(entry, state="created", id=seen.id)
