"""The servers people use: what they call things, what they refuse, can and tell, from a data file."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import yaml

from pipeline.errors import UsageError

_ENDPOINT = re.compile(r"/(chat/completions|completions|embeddings|moderations)$")
"""What a pasted address may have behind the base URL."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """One kind of server, as `servers.yaml` describes it; one that is not known is asked as OpenAI is."""

    name: str = ""
    hosts: tuple[str, ...] = ()
    port: int | None = None
    path: str = "/v1"
    query: Mapping[str, str] = field(default_factory=dict)
    api_key_env: str | None = None
    key_header: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    refuse: tuple[str, ...] = ()
    at_most: Mapping[str, float] = field(default_factory=dict)
    first: Mapping[str, int] = field(default_factory=dict)
    samples: int = 1
    texts: int = 32
    base64: bool = False
    json: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    models: tuple[Mapping[str, Any], ...] = ()
    batch: Mapping[str, Any] = field(default_factory=dict)

    def rule(self, name: str, model: str) -> Any:
        """A setting as the last rule that matches this model has it, else the server's own."""
        found = getattr(self, name)
        for rule in self.models:
            if name in rule and re.match(rule["match"], model):
                found = rule[name]
        return found

    def fitted(self, params: Mapping[str, Any], model: str, *, chat: bool) -> dict[str, Any]:
        """The parameters as this server takes them, in the order given.

        Args:
            params: sampling parameters by their usual names.
            model: the model's name; some servers' models differ in what they take.
            chat: whether this is a chat call; only those have parameters of another name.
        """
        rename, refuse = dict(self.rename), set(self.refuse)
        for rule in self.models:
            if re.match(rule["match"], model):
                rename |= rule.get("rename", {})
                refuse |= set(rule.get("refuse", ()))
        fitted = {}
        for name, value in params.items():
            if name in refuse:
                continue
            if name in self.at_most and isinstance(value, int | float):
                value = min(value, self.at_most[name])
            if name in self.first and isinstance(value, list):
                value = value[: self.first[name]]
            fitted[rename.get(name, name) if chat else name] = value
        return fitted

    def fitted_format(self, wanted: Mapping[str, Any] | None, model: str) -> Mapping[str, Any] | None:
        """The strictest `response_format` that this server can enforce of the wanted one, or None.

        A schema loses the keywords that the server refuses: whoever asked validates the reply with the whole schema.
        """
        if wanted is None:
            return None
        modes, kind = self.rule("json", model), wanted.get("type")
        if kind == "json_schema" and "json_schema" in modes:
            without = frozenset(self.rule("without", model))
            inner = wanted["json_schema"]
            return {**wanted, "json_schema": {**inner, "schema": _sent(inner["schema"], without)}}
        if kind in ("json_schema", "json_object") and "json_object" in modes:
            return {"type": "json_object"}
        return None


def _sent(schema: Any, without: frozenset[str]) -> Any:
    """A schema and all within it without some keywords, its properties in the order in which it requires them.

    Models write properties in the schema's order, which a call's document, being sorted, does not keep.
    """
    if not isinstance(schema, Mapping):
        return schema
    kept: dict[str, Any] = {}
    for name, value in schema.items():
        if name in without:
            continue
        if name in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            order = [key for key in schema.get("required", ()) if key in value] if name == "properties" else []
            kept[name] = {key: _sent(value[key], without) for key in dict.fromkeys([*order, *value])}
        elif name in ("const", "enum", "default", "examples"):
            kept[name] = value
        elif isinstance(value, list):
            kept[name] = [_sent(part, without) for part in value]
        else:
            kept[name] = _sent(value, without)
    return kept


@functools.cache
def _entries() -> tuple[Server, tuple[Server, ...]]:
    """The entry `default` of `servers.yaml`, and the servers, which have what it says where they say nothing."""
    text = (resources.files("pipeline.llm") / "servers.yaml").read_text(encoding="utf-8")
    default, *items = yaml.safe_load(text)
    usual = {name: value for name, value in default.items() if name != "name"}
    return Server(**usual), tuple(_server(usual | item) for item in items)


def known_servers() -> tuple[Server, ...]:
    """The servers of `servers.yaml`, in its order."""
    return _entries()[1]


def _server(item: dict[str, Any]) -> Server:
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in item.items()}
    return Server(**values)


@functools.cache
def server_of(base_url: str) -> Server:
    """The server behind a base URL: by host name first, then by port."""
    parts = urlsplit(base_url)
    host = (parts.hostname or "").lower()
    for server in known_servers():
        if any(host.endswith(h) if h.startswith(".") else host == h for h in server.hosts):
            return server
    for server in known_servers():
        if not server.hosts and parts.port == server.port:
            return server
    return _entries()[0]


def named_server(name: str, where: str) -> Server:
    """The server of that name, whatever its case.

    Args:
        name: as the user wrote it.
        where: what to call it in an error.

    Raises:
        UsageError: there is none.
    """
    for server in known_servers():
        if server.name.casefold() == name.casefold():
            return server
    names = ", ".join(server.name for server in known_servers())
    raise UsageError(f"{where}: no server called '{name}' is known", f"known ones: {names}")


def completed_url(url: str, where: str) -> str:
    """A base URL as the wire needs it: a bare host gets its usual path, a pasted endpoint loses its last part.

    Args:
        url: as the user wrote it.
        where: what to call it in an error.

    Raises:
        UsageError: it is no http(s) URL, carries credentials, or lacks a query that its server insists on.
    """
    parts = urlsplit(url.strip())
    try:
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f"{where}: not a URL of a server", "such as http://localhost:8000/v1")
    if "@" in parts.netloc:
        raise UsageError(
            f"{where}: the URL carries credentials", "put the key into LLM_API_KEY and leave it out of the URL"
        )
    path, server = _ENDPOINT.sub("", parts.path.rstrip("/")), server_of(url)
    for part, query in server.query.items():
        if part in path and query.partition("=")[0] not in dict(parse_qsl(parts.query)):
            raise UsageError(
                f"{where}: this URL of {server.name} needs '?{query}' at its end",
                f"or use {parts.scheme}://{parts.netloc}{server.path}, which does not",
            )
    return urlunsplit((parts.scheme, parts.netloc, path or server.path, parts.query, ""))


@functools.lru_cache(maxsize=256)
def normalised(base_url: str) -> str:
    """A base URL's one spelling: lower-case host, no default port, no query, no final slash."""
    parts = urlsplit(base_url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    netloc = host if parts.port in (None, default) else f"{host}:{parts.port}"
    return urlunsplit((parts.scheme.lower(), netloc, parts.path.rstrip("/"), "", ""))
