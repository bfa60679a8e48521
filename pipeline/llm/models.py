"""All that is known of the model in one role, and what a recipe's `models:` may say of it."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.errors import UsageError
from pipeline.llm.prices import PRICE_SCHEMA
from pipeline.llm.request import Profile, Style
from pipeline.llm.servers import Server, named_server, normalised, server_of

TokenParam = Literal["max_tokens", "max_completion_tokens"]
Transport = Literal["thin", "sdk"]

Mode = Literal["online", "batch", "auto"]

_POSITIVE = {"type": "number", "exclusiveMinimum": 0}
_COUNT = {"type": "integer", "minimum": 1}
_NAME = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}
_TEXT = {"type": "string", "minLength": 1}

MODEL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "base_url": _TEXT,
        "server": _TEXT,
        "model": _TEXT,
        "local": _TEXT,
        "api_key_env": _NAME,
        "endpoint_name": _TEXT,
        "max_tokens": _COUNT,
        "token_param": {"enum": ["max_tokens", "max_completion_tokens"]},
        "extra_body": {"type": "object"},
        "extra_headers": {"type": "object", "additionalProperties": {"type": "string"}},
        "style": {"enum": ["chat", "completion"]},
        "languages": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{2,3}$"}},
        "small": {"type": "boolean"},
        "terms": {"type": "array", "items": {"type": "string", "minLength": 1}},
        "price": PRICE_SCHEMA,
        "mode": {"enum": ["online", "batch", "auto"]},
        "batch": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "completion_window": {"type": "string", "pattern": "^[1-9][0-9]*[hd]$"},
                **dict.fromkeys(("lines", "bytes", "least", "attempts"), _COUNT),
                "prefix": {"type": "string", "pattern": "^(/[A-Za-z0-9._-]+)*$"},
                "poll": _POSITIVE,
            },
        },
        "concurrency": _COUNT,
        "requests_per_minute": _POSITIVE,
        "tokens_per_minute": _POSITIVE,
        "timeout": _POSITIVE,
        "deadline": _POSITIVE,
        "transport": {"enum": ["thin", "sdk"]},
    },
}

MODELS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "propertyNames": {"pattern": "^[a-z][a-z0-9_-]*$"},
    "additionalProperties": MODEL_SCHEMA,
}
"""JSON Schema of a recipe's `models:` block: role -> settings; see ModelSpec for what each means."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """All that is known of the model in one role; picklable, and without the key itself.

    Attributes:
        role: default, judge, translator, student ...
        model: the model's name as the server knows it.
        base_url: where the server is; empty for an embedded model that is not started (see `local.serving`).
        server: whose habits the server has, as `servers.yaml` names it, when its address does not tell.
        api_key_env: name of the environment variable that holds the key; None when there is none.
        endpoint_name: stands for the base URL in ledger keys, so that one model behind several addresses is one.
        local: path of the gguf file of an embedded model.
        local_sha256: that file's hash, which stands for the endpoint in ledger keys.
        max_tokens: sent when a request says nothing about it.
        token_param: what this server calls it, when our table of servers does not know better.
        extra_body: added to every body, above a request's own parameters; null leaves a parameter out.
        extra_headers: sent with every call; a value `$NAME` is read from the environment when it is sent.
        languages: the languages it can write, as BCP 47 primary tags; empty means no limit is known.
        small: True for models whose answers show the mechanism, not quality.
        terms: licences or terms of what it writes, none at all when empty; None for what `licenses.yaml` says.
        price: US dollars per million tokens, the recipe's or the published one (see `prices.yaml`); None when unknown.
        concurrency: the largest number of calls in flight.
        timeout: seconds that one attempt may take.
        deadline: seconds from the first attempt after which a call is not tried again.
        transport: `thin`, our own HTTP over kept connections, or `sdk`, the official client; both send the same bytes.
        mode: `online` asks call by call, `batch` by the server's batch API, `auto` by batch where many calls wait.
        batch: settings of batches, see `batch.terms.Terms`.
    """

    role: str
    model: str
    base_url: str = ""
    server: str | None = None
    api_key_env: str | None = None
    endpoint_name: str | None = None
    local: str | None = None
    local_sha256: str | None = None
    max_tokens: int | None = None
    token_param: TokenParam | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    style: Style = "chat"
    languages: tuple[str, ...] = ()
    small: bool = False
    terms: tuple[str, ...] | None = None
    price: Mapping[str, float] | None = None
    concurrency: int = 16
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout: float = 300.0
    deadline: float = 900.0
    transport: Transport = "thin"
    mode: Mode = "online"
    batch: Mapping[str, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The logical endpoint: `gguf:<sha256>`, the given name, or the normalised base URL."""
        if self.local_sha256 is not None:
            return f"gguf:{self.local_sha256}"
        return self.endpoint_name or normalised(self.base_url)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides this model's replies, as plain JSON values; for fingerprints and manifests."""
        names = ("endpoint", "model", "max_tokens", "style")
        return {name: getattr(self, name) for name in names} | {"extra_body": dict(self.extra_body)}

    @property
    def kind(self) -> Server:
        """What is known of the server that answers: named, embedded, or told by its address."""
        name = self.server or ("llama.cpp" if self.local_sha256 is not None else None)
        return server_of(self.base_url) if name is None else named_server(name, f"models.{self.role}.server")

    @property
    def profile(self) -> Profile:
        """What stages may know of it."""
        names = ("role", "model", "style", "languages", "concurrency", "small", "terms")
        samples, texts = (int(self.kind.rule(name, self.model)) for name in ("samples", "texts"))
        return Profile(samples=samples, texts=texts, **{name: getattr(self, name) for name in names})

    def api_key(self) -> str | None:
        """The key, read at the moment of use; None when there is none."""
        return (os.environ.get(self.api_key_env) or None) if self.api_key_env else None

    def headers(self) -> dict[str, str]:
        """The extra headers, with `$NAME` values read from the environment."""
        return {name: _from_environment(value, name) for name, value in self.extra_headers.items()}


def _from_environment(value: str, header: str) -> str:
    if not re.fullmatch(r"\$[A-Za-z_][A-Za-z0-9_]*", value):
        return value
    if value[1:] not in os.environ:
        raise UsageError(f"the header '{header}' is read from {value[1:]}, which is not set")
    return os.environ[value[1:]]
