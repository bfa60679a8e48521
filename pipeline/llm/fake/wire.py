"""What goes over the connection: whole answers, and the several ways in which one arrives broken."""

import asyncio
import email.utils
import json
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from pipeline.llm.fake.faults import Fault
from pipeline.llm.fake.question import Objection

_PIECES = 20
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Please wait</title></head><body><h1>We'll be right back</h1></body></html>\n"
)
_MESSAGES = {
    400: "The request was rejected.",
    403: "You are not allowed to do this.",
    408: "The request timed out.",
    429: "Rate limit reached. Please try again later.",
    500: "The server had an error while processing your request.",
    502: "Bad gateway.",
    503: "The engine is currently overloaded, please try again later.",
    529: "Overloaded.",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a body on their way out."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    type: str = "application/json"


def encoded(body: Mapping[str, Any]) -> bytes:
    """The body as JSON; lone surrogates, which UTF-8 cannot carry, become question marks."""
    return _COMPACT.encode(body).encode("utf-8", "replace")


def refused(objection: Objection, headers: Mapping[str, str]) -> Answer:
    """The answer that tells an objection."""
    return Answer(objection.status, encoded(objection.body), {**headers, **objection.headers})


def status_fault(fault: Fault) -> Objection:
    """The objection of a fault of kind `status`."""
    status = int(fault.params["status"])
    headers = {}
    if "retry_after" in fault.params:
        seconds, form = fault.number("retry_after", 0), fault.params.get("retry_after_as", "seconds")
        if form == "milliseconds":
            headers["retry-after-ms"] = f"{seconds * 1000:g}"
        else:
            date = email.utils.formatdate(time.time() + seconds, usegmt=True)
            headers["retry-after"] = date if form == "date" else f"{seconds:g}"
    kinds = {
        429: ("rate_limit_exceeded", "requests"),
        400: (None, "invalid_request_error"),
        403: (None, "permission_error"),
    }
    code, kind = kinds.get(status, (None, "server_error" if status >= 500 else "invalid_request_error"))
    message = fault.params.get("message", _MESSAGES.get(status, f"The request failed with status {status}."))
    return Objection(status, message, fault.params.get("code", code), type=kind, headers=headers)


async def send(request: web.BaseRequest, answer: Answer, fault: Fault | None = None) -> web.StreamResponse:
    """Send the answer as the fault lets it out; returns when its last byte was handed to the connection."""
    kind = None if fault is None else fault.kind
    if fault is not None and kind == "truncated_json":
        answer = Answer(answer.status, _head(answer.body, fault), answer.headers)
    elif fault is not None and kind == "wrong_type":
        answer = Answer(int(fault.number("status", 200)), _PAGE, answer.headers, "text/html")
    headers = {**answer.headers, "content-type": answer.type}
    if fault is not None and kind in ("reset", "drip"):
        stream = web.StreamResponse(status=answer.status, headers=headers)
        stream.content_length = len(answer.body)
        await (_reset if kind == "reset" else _drip)(request, stream, answer.body, fault)
        return stream
    response = web.Response(status=answer.status, body=answer.body, headers=headers)
    await response.prepare(request)
    await response.write_eof()
    return response


def _head(body: bytes, fault: Fault) -> bytes:
    """The part of the body that is sent; never all of it."""
    return body[: min(len(body) - 1, int(len(body) * fault.number("after", 0.5)))]


async def _drip(request: web.BaseRequest, stream: web.StreamResponse, body: bytes, fault: Fault) -> None:
    """The whole body, bit by bit."""
    await stream.prepare(request)
    step = max(1, -(-len(body) // _PIECES))
    pieces = [body[at : at + step] for at in range(0, len(body), step)]
    for i, piece in enumerate(pieces):
        if i:
            await asyncio.sleep(fault.number("seconds", 0) / (len(pieces) - 1))
        await stream.write(piece)
    await stream.write_eof()


async def _reset(request: web.BaseRequest, stream: web.StreamResponse, body: bytes, fault: Fault) -> None:
    """Some of the body, then the end of the connection: with a TCP reset, or orderly if `clean`."""
    transport = request.transport
    if transport is None:
        return
    if fault.number("after", 0.5) > 0:
        await stream.prepare(request)
        await stream.write(_head(body, fault))
    if fault.params.get("clean"):
        transport.close()
    else:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
