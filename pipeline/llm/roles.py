"""Which model answers in which role: a recipe's `models:` completed from the environment."""

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.llm import local
from pipeline.llm.models import ModelSpec
from pipeline.llm.prices import published
from pipeline.llm.servers import completed_url, named_server, normalised, server_of

OPENAI_URL = "https://api.openai.com/v1"

_RATES = ("requests_per_minute", "tokens_per_minute")
_ENDPOINT = (
    *("base_url", "server", "local", "api_key_env", "endpoint_name", "extra_headers", "concurrency", *_RATES),
    *("mode", "batch"),
)
_MODEL = ("model", "style", "languages", "small", "terms", "price", "token_param", "extra_body")


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
