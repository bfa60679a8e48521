"""The endpoints that only keep books: models, files and batches."""

import re
from typing import Any

from aiohttp import BodyPartReader, web

from pipeline.llm.fake.batches import Batches, File
from pipeline.llm.fake.completion import CREATED
from pipeline.llm.fake.question import Objection, parse
from pipeline.llm.fake.wire import Answer, encoded

PATH = re.compile(r"/v1/(models|files|batches)(?:/([^/]+))?(?:/(content|cancel))?")


class Books:
    """What OpenAI's SDK asks beside questions."""

    def __init__(self, models: tuple[str, ...], batches: Batches) -> None:
        self._names = models or ("fake",)
        self._batches = batches

    async def answer(self, request: web.BaseRequest) -> Answer:
        """The answer to one request; an Objection when there is none."""
        found = PATH.fullmatch(request.path)
        method, (noun, id, tail) = request.method, found.groups() if found else (None, None, None)
        if noun == "models" and method == "GET" and tail is None:
            return self._models(id)
        if noun in ("files", "batches") and self._batches.absent:
            raise Objection(404, f"Invalid URL ({method} {request.path})")
        if noun == "files":
            return await self._files(request, method, id, tail)
        if noun == "batches" and method == "POST" and id is None:
            body = parse(await request.read())
            await self._batches.look_at_all()  # so that what has ended is no longer enqueued
            batch = self._batches.create(body)
            return Answer(200, encoded(batch.shown()))
        if noun == "batches" and id is not None and (method, tail) in (("GET", None), ("POST", "cancel")):
            batch = await self._batches.look(id)
            if tail == "cancel":
                self._batches.cancel(batch)
            return Answer(200, encoded(batch.shown()))
        if noun == "batches" and method == "GET" and id is None:
            return _page(request, [batch.shown() for batch in await self._batches.look_at_all()])
        raise Objection(404, f"Invalid URL ({method} {request.path})")

    def _models(self, id: str | None) -> Answer:
        shown = [{"id": name, "object": "model", "created": CREATED, "owned_by": "fake"} for name in self._names]
        if id is None:
            return Answer(200, encoded({"object": "list", "data": shown}))
        if id not in self._names:
            raise Objection(404, f"The model '{id}' does not exist", "model_not_found", param="model")
        return Answer(200, encoded(next(item for item in shown if item["id"] == id)))

    async def _files(self, request: web.BaseRequest, method: str, id: str | None, tail: str | None) -> Answer:
        batches = self._batches
        if method == "POST" and id is None:
            return Answer(200, encoded((await self._upload(request)).shown()))
        if method == "GET" and id is None:
            return _page(request, [file.shown() for file in reversed(list(batches.files.values()))])
        if id is not None and method == "GET":
            file = batches.file(id)
            content = tail == "content"
            return (
                Answer(200, file.content, type="application/octet-stream")
                if content
                else Answer(200, encoded(file.shown()))
            )
        if id is not None and method == "DELETE" and tail is None:
            del batches.files[batches.file(id).id]
            return Answer(200, encoded({"id": id, "object": "file", "deleted": True}))
        raise Objection(404, f"Invalid URL ({method} {request.path})")

    async def _upload(self, request: web.BaseRequest) -> File:
        purpose, name, content = "", "", None
        if not request.content_type.startswith("multipart/"):
            raise Objection(400, "a file is uploaded as multipart/form-data with the fields 'purpose' and 'file'")
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                continue
            if part.name == "purpose":
                purpose = await part.text()
            elif part.name == "file":
                name, content = part.filename or "file", bytes(await part.read())
        if content is None or not purpose:
            raise Objection(400, f"'{'purpose' if content is not None else 'file'}' is a required property")
        return self._batches.put(name, purpose, content)


def _page(request: web.BaseRequest, items: list[dict[str, Any]]) -> Answer:
    """A page of a list, by the query's `limit` and `after`."""
    limit, after = request.query.get("limit", "20"), request.query.get("after")
    if not limit.isdecimal() or not 1 <= int(limit) <= 10_000:
        raise Objection(400, "Invalid 'limit': a whole number from 1 to 10000", param="limit")
    ids = [item["id"] for item in items]
    start = ids.index(after) + 1 if after in ids else 0
    page = items[start : start + int(limit)]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    more = start + len(page) < len(items)
    return Answer(200, encoded({"object": "list", "data": page, **ends, "has_more": more}))
