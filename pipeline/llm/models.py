"""Which model answers in which role: a recipe's `models:` completed from the environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import UsageError
from pipeline.llm import local
from pipeline.llm.prices import PRICE_SCHEMA, published
from pipeline.llm.request import Profile, Style
from pipeline.llm.servers import Server, completed_url, named_server, normalised, server_of

TokenParam = Literal["max_tokens", "max_completion_tokens"]
Transport = Literal["thin", "sdk"]

Mode = Literal["online", "batch", "auto"]

OPENAI_URL = "https://api.openai.com/v1"

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

_RATES = ("requests_per_minute", "tokens_per_minute")
_ENDPOINT = (
    *("base_url", "server", "local", "api_key_env", "endpoint_name", "extra_headers", "concurrency", *_RATES),
    *("mode", "batch"),
)
_MODEL = ("model", "style", "languages", "small", "terms", "price", "token_param", "extra_body")


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


def resolve_models(recipe_models: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str]) -> dict[str, ModelSpec]:
    """The models of a recipe by role; `default` is always there.

    For `default` the environment wins over the recipe, so that a better model is one line away: `LLM_BASE_URL` (or
    `LOCAL_MODEL`, a gguf file) replaces the server that the recipe names with all that belongs to it, `LLM_MODEL` the
    model likewise, and `LLM_API_KEY` the key. With a key alone the server is OpenAI's; with nothing at all it is the
    embedded model. Other roles take from `default` what they do not say themselves, except that a role with a server of
    its own inherits nothing that belongs to the default's server (least of all its key), and one with a model of its
    own nothing that belongs to the default's model.

    Args:
        recipe_models: the recipe's `models:` block, valid under MODELS_SCHEMA.
        environ: the environment; only names of keys are taken from it.

    Raises:
        UsageError: no model name, a base URL that is none, or settings that contradict each other.
    """
    default = _default(dict(recipe_models.get("default", {})), {k: v for k, v in environ.items() if v.strip()})
    specs = {"default": _spec("default", default)}
    for role, own in recipe_models.items():
        if role != "default":
            specs[role] = _spec(role, _inherited(role, dict(own), default, environ))
    return specs


def _default(settings: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    url, gguf, model = (environ.get(name) for name in ("LLM_BASE_URL", "LOCAL_MODEL", "LLM_MODEL"))
    if url and gguf:
        raise UsageError("LLM_BASE_URL and LOCAL_MODEL are both set", "unset the one you do not mean")
    if url:
        url = completed_url(url, "LLM_BASE_URL")
        named = settings.get("local") or _url("default", settings)
        if named and normalised(url) != normalised(named):
            settings = _without(settings, _ENDPOINT + _MODEL)
        settings["base_url"] = url
    if gguf:
        if settings.get("base_url") or settings.get("local", gguf) != gguf:
            settings = _without(settings, _ENDPOINT + _MODEL)
        settings["local"] = gguf
    if model:
        if settings.get("model", model) != model:
            settings = _without(settings, _MODEL)
        settings["model"] = model
    if environ.get("LLM_API_KEY"):
        settings["api_key_env"] = "LLM_API_KEY"
    if not settings.get("base_url") and not settings.get("local"):
        if environ.get("LLM_API_KEY") or environ.get("OPENAI_API_KEY"):
            settings["base_url"] = OPENAI_URL
        elif settings.get("model"):
            raise UsageError(
                f"it is not said where the model '{settings['model']}' is served",
                "set LLM_BASE_URL, and LLM_API_KEY if it asks for a key; with none of these the embedded model is used",
            )
        else:
            settings["local"] = local.EMBEDDED
    return _with_key(settings, environ, fallback="OPENAI_API_KEY" if url else None)


def _inherited(
    role: str, own: dict[str, Any], default: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Any]:
    elsewhere = "local" in own and own["local"] != default.get("local")
    if "base_url" in own:
        here = default.get("base_url")
        elsewhere = here is None or normalised(_url(role, own) or "") != normalised(here)
    kept = dict(default)
    if elsewhere:
        kept = _without(kept, _ENDPOINT + _MODEL)
    elif own.get("model", default.get("model")) != default.get("model"):
        kept = _without(kept, _MODEL)
    return _with_key(kept | own, environ, fallback=None)


def _with_key(settings: dict[str, Any], environ: Mapping[str, str], fallback: str | None) -> dict[str, Any]:
    """Name the variable that holds the key: the given one, else the server's usual one, else the fallback if set."""
    if settings.get("base_url") and not settings.get("api_key_env"):
        usual = server_of(settings["base_url"]).api_key_env
        found = next((name for name in (usual, fallback) if name and environ.get(name)), None)
        settings["api_key_env"] = found or usual
    return settings


def _url(role: str, settings: Mapping[str, Any]) -> str | None:
    url = settings.get("base_url")
    return None if url is None else completed_url(url, f"models.{role}.base_url")


def _without(settings: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


def _spec(role: str, settings: Mapping[str, Any]) -> ModelSpec:
    if settings.get("base_url") and settings.get("local"):
        raise UsageError(f"models.{role}: base_url and local exclude each other", "leave one of them out")
    if settings.get("local"):
        if settings.get("mode") == "batch":
            hint = "leave 'mode' out, or name a server that has one"
            raise UsageError(f"models.{role}: the embedded model has no batch API (mode: batch)", hint)
        settings = _embedded(settings)
    else:
        settings = {**settings, "base_url": _url(role, settings)}
    if not settings.get("model"):
        hint = f"add 'model:' to models.{role} of the recipe"
        if role == "default":
            hint = "set LLM_MODEL, or unset OPENAI_API_KEY and LLM_API_KEY to use the embedded model"
        raise UsageError(f"no model is named for {normalised(settings['base_url'])} (role {role})", hint)
    if settings.get("server"):
        named_server(settings["server"], f"models.{role}.server")
    known = {f.name for f in fields(ModelSpec)}
    values: dict[str, Any] = {
        name: tuple(v) if name in ("languages", "terms") else v for name, v in settings.items() if name in known
    }
    if values.get("price") is None and not values.get("local"):
        found = published(values["base_url"], values["model"])
        values["price"] = None if found is None else found.price
    return ModelSpec(role=role, **values)


def _embedded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a gguf file: found, hashed, and with what is known of the embedded model."""
    path = local.find_gguf(settings["local"])
    sha256 = local.sha256_of(path)
    known: dict[str, Any] = {"model": re.sub(r"[^a-z0-9]+", "-", Path(path).stem.lower()).strip("-")}
    known |= {"concurrency": local.SLOTS, "price": {"input": 0.0, "output": 0.0}, "timeout": 600.0}
    if sha256 == local.SMOLLM2_SHA256:
        known |= {"model": local.SMOLLM2, "style": "completion", "languages": ["en"], "small": True}
    return known | dict(settings) | {"local": str(path), "local_sha256": sha256, "api_key_env": None}
