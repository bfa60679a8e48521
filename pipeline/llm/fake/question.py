"""A request as the fake understands it, and its objections: what a real server answers with a 4xx."""

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pipeline.llm.fake import tokens

Path = Literal["chat", "completions", "embeddings", "moderations", "models", "files", "batches"]

PATHS: Mapping[str, Path] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/moderations": "moderations",
}
"""Where models are asked; the other paths only keep books."""

_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))

COMPLETION_LIMIT = 16
"""max_tokens of a completion that names none, as OpenAI and vLLM have it."""


class Objection(Exception):
    """The server will not do it: becomes an error body in OpenAI's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        param: str | None = None,
        type: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body = {"error": {"message": message, "type": type, "param": param, "code": code}}


@dataclass(frozen=True)
class Question:
    """One call's body, with a key that depends on nothing else.

    Attributes:
        seed: the script's seed; enters every draw but not the key.
        key: hash of the path and the body; the order of keys and the spaces of the JSON text do not matter.
    """

    path: Path
    body: Mapping[str, Any]
    seed: int = 0
    key: str = field(init=False)

    def __post_init__(self) -> None:
        source = f"{self.path}\n{_CANONICAL.encode(self.body)}".encode("utf-8", "surrogatepass")
        object.__setattr__(self, "key", hashlib.blake2b(source, digest_size=16).hexdigest())

    def unit(self, purpose: str, number: int = 0) -> float:
        """A number in [0, 1) addressed by (script's seed, key, purpose, number)."""
        return self._drawn(purpose, number) / 2**64

    def dice(self, purpose: str, number: int = 0) -> random.Random:
        """Randomness addressed by (script's seed, key, purpose, number)."""
        return random.Random(self._drawn(purpose, number))

    def _drawn(self, purpose: str, number: int) -> int:
        source = f"{self.seed}\n{self.key}\n{purpose}\n{number}".encode()
        return int.from_bytes(hashlib.blake2b(source, digest_size=8).digest(), "big")

    @property
    def model(self) -> str:
        """The model asked for."""
        return str(self.body.get("model", ""))

    @cached_property
    def messages(self) -> tuple[tuple[str, str], ...]:
        """Role and text of every message; a completion's prompt counts as the user's."""
        if self.path == "chat":
            return tuple((str(m["role"]), _text(m.get("content"))) for m in self.body["messages"])
        source = self.body.get("prompt", self.body.get("input", ""))
        return (("user", source if isinstance(source, str) else "\n".join(map(str, source))),)

    @property
    def system(self) -> str:
        """The system message, or an empty string."""
        return next((text for role, text in self.messages if role in ("system", "developer")), "")

    @property
    def text(self) -> str:
        """The last message, or the prompt."""
        return self.messages[-1][1]

    @cached_property
    def whole(self) -> str:
        """All messages, a blank line between them."""
        return "\n\n".join(text for _, text in self.messages)

    @property
    def n(self) -> int:
        """How many samples are asked for."""
        return int(self.body.get("n") or 1)

    @property
    def limit(self) -> int | None:
        """The most tokens of one sample, or None."""
        if self.path == "completions":
            given = self.body.get("max_tokens")
            return COMPLETION_LIMIT if given is None else int(given)
        given = self.body.get("max_completion_tokens") or self.body.get("max_tokens")
        return None if given is None else int(given)

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings at which a sample ends."""
        stop = self.body.get("stop") or ()
        return (stop,) if isinstance(stop, str) else tuple(stop)

    @cached_property
    def prompt_tokens(self) -> int:
        """By the rule of `tokens`, tool definitions and calls included."""
        if self.path != "chat":
            return tokens.count(self.text)
        total = tokens.PRIMING + sum(tokens.FRAME + tokens.count(text) for _, text in self.messages)
        extra = [m["tool_calls"] for m in self.body["messages"] if m.get("tool_calls")]
        if self.body.get("tools"):
            extra.append(self.body["tools"])
        return total + sum(tokens.count(json.dumps(item)) for item in extra)


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def parse(source: bytes) -> dict[str, Any]:
    """The JSON object of a request's body; an Objection for anything else."""
    try:
        body = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise Objection(400, f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(body, dict):
        raise Objection(400, "The body of your request must be a JSON object")
    return body


def validate(path: Path, body: Mapping[str, Any]) -> None:
    """Raise the Objection that a real server would raise to this body."""
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Objection(400, "you must provide a model parameter", param="model")
    if path == "chat":
        _validate_messages(body.get("messages"))
    elif path == "completions":
        prompt = body.get("prompt")
        lines = prompt if isinstance(prompt, list) and prompt else [prompt]
        if not all(isinstance(line, str) for line in lines):
            raise Objection(
                400, "'prompt' must be text or a list of texts; the fake provider knows no token ids", param="prompt"
            )
    elif not _is_texts(body.get("input")):
        raise Objection(400, "'input' must be text or a non-empty list of texts", param="input")
    if body.get("stream"):
        raise Objection(400, "the fake provider does not stream: send the request without 'stream'", param="stream")
    if (stop := body.get("stop")) is not None and not isinstance(stop, str) and not _is_texts(stop):
        raise Objection(400, "'stop' must be text or a list of texts", param="stop")
    if not isinstance(body.get("response_format") or {}, dict):
        raise Objection(400, "'response_format' must be an object", param="response_format")
    if not isinstance(body.get("logprobs", 0), int | None) or (
        path == "completions" and (body.get("logprobs") or 0) > 20
    ):
        raise Objection(400, "'logprobs' must be true or false in a chat, 0 to 20 in a completion", param="logprobs")
    for name, low, high in _RANGES:
        value = body.get(name)
        whole = isinstance(low, int)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
            kind = "a whole number" if whole else "a number"
            raise Objection(
                400, f"Invalid value for '{name}': expected {kind} from {low} to {high}, got {value!r:.40}", param=name
            )


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("n", 1, 128),
    ("max_tokens", 1, 10**9),
    ("max_completion_tokens", 1, 10**9),
    ("top_logprobs", 0, 20),
    ("temperature", 0.0, 2.0),
    ("top_p", 0.0, 1.0),
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
)


def _validate_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise Objection(400, "'messages' must be a non-empty list", param="messages")
    for i, message in enumerate(messages):
        roles = ("system", "developer", "user", "assistant", "tool", "function")
        if not isinstance(message, dict) or message.get("role") not in roles:
            raise Objection(
                400, f"'messages[{i}]' must be an object with a role out of {', '.join(roles)}", param=f"messages[{i}]"
            )
        content = message.get("content")
        if not isinstance(content, str | list) and not (content is None and message["role"] == "assistant"):
            raise Objection(
                400, f"'messages[{i}].content' must be text or a list of parts", param=f"messages[{i}].content"
            )


def _is_texts(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)
    )
