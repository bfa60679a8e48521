"""A request as the ledger knows it (its key) and as the wire carries it (its body)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.errors import UsageError
from pipeline.llm.models import ModelSpec
from pipeline.llm.request import Request
from pipeline.llm.servers import server_of
from pipeline.record import Message

Kind = Literal["chat", "completion"]

PATHS: dict[Kind, str] = {"chat": "/chat/completions", "completion": "/completions"}

_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_canonical_ascii = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one entry, before anything is known of its reply. Picklable and free of secrets.

    Attributes:
        key: sha256 of `document`, 64 hexadecimal digits; equal keys are the same call.
        document: canonical JSON of everything that decides the reply and nothing else: logical endpoint, kind, model,
            messages or prompt, params, tools, response_format, sample. The wire's body is made from it.
        role: which model is asked.
        entry: the recipe entry that asks.
    """

    key: str
    document: str
    role: str
    entry: str


def compose(spec: ModelSpec, request: Request, entry: str) -> Call:
    """The call that a request is, for this model.

    Parameters are the request's own over the model's max_tokens, under the model's extra_body. Numbers that are equal
    are written alike (0.0 is 0), so that a recipe's spelling does not matter.

    Raises:
        UsageError: the request holds something that is not JSON.
    """
    chat = request.prompt is None
    document: dict[str, Any] = {
        "endpoint": spec.endpoint,
        "kind": "chat" if chat else "completion",
        "model": spec.model,
        "params": _params(spec, request.params),
        "sample": request.sample,
    }
    if chat:
        document["messages"] = [_wire_message(m) for m in request.messages]
    else:
        document["prompt"] = request.prompt
    if request.tools:
        document["tools"] = list(request.tools)
    if request.response_format is not None:
        document["response_format"] = request.response_format
    try:
        text = _canonical(document)
        data = text.encode()
    except UnicodeEncodeError:  # half a character in somebody's data
        text = _canonical_ascii(document)
        data = text.encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"entry {entry}: a request to the model '{spec.model}' is not JSON: {error}") from error
    return Call(hashlib.sha256(data).hexdigest(), text, request.role, entry)


def _params(spec: ModelSpec, own: Mapping[str, Any]) -> dict[str, Any]:
    params = {} if spec.max_tokens is None else {"max_tokens": spec.max_tokens}
    params |= own
    params |= spec.extra_body
    return {
        name: int(value) if type(value) is float and value.is_integer() else value
        for name, value in params.items()
        if value is not None
    }


def _wire_message(message: Message) -> dict[str, Any]:
    """A message as OpenAI writes it; weights are for trainers, and thinking is never sent back."""
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls is not None:
        wire["tool_calls"] = json.loads(message.tool_calls)
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        wire["name"] = message.name
    return wire


def wire_body(spec: ModelSpec, call: Call) -> tuple[str, bytes]:
    """Path below the base URL and JSON body; equal for equal calls, whatever sends them.

    The server's profile renames and drops parameters here, so a better profile changes no ledger key. An embedded
    model that is given no seed gets one from the key: its replies are then reproducible and differ between samples.
    """
    document = json.loads(call.document)
    kind: Kind = document["kind"]
    params = document["params"]
    if spec.local_sha256 is not None:
        params.setdefault("seed", int(call.key[:7], 16))
    else:
        forced = {name: params.pop(name) for name in spec.extra_body if name in params}
        if spec.token_param is not None and "max_tokens" in params:
            params[spec.token_param] = params.pop("max_tokens")
        params = server_of(spec.base_url).fitted(params, spec.model, chat=kind == "chat") | forced
    body: dict[str, Any] = {"model": spec.model}
    for part in ("messages", "prompt"):
        if part in document:
            body[part] = document[part]
    body |= dict(sorted(params.items()))
    for part in ("tools", "response_format"):
        if part in document:
            body[part] = document[part]
    return PATHS[kind], _compact(body).encode("utf-8", "replace")


def token_bound(call: Call) -> int:
    """A rough guess at what a call will use, for tokens-per-minute limits: a token per 4 bytes, and its max_tokens."""
    document = json.loads(call.document)
    limit = document["params"].get("max_tokens", 512)
    return len(call.document.encode("utf-8", "replace")) // 4 + (limit if isinstance(limit, int) else 512)
