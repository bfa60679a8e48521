"""The servers people use: which parameters they refuse or rename, from a data file."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml

from pipeline.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Server:
    """One kind of server, as `servers.yaml` describes it; the empty one changes nothing."""

    name: str = ""
    hosts: tuple[str, ...] = ()
    port: int | None = None
    path: str = "/v1"
    api_key_env: str | None = None
    key_header: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    refuse: tuple[str, ...] = ()
    at_most: Mapping[str, float] = field(default_factory=dict)
    first: Mapping[str, int] = field(default_factory=dict)
    models: tuple[Mapping[str, Any], ...] = ()

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


UNKNOWN = Server()


@functools.cache
def known_servers() -> tuple[Server, ...]:
    """The servers of `servers.yaml`, in its order."""
    text = (resources.files("pipeline.llm") / "servers.yaml").read_text(encoding="utf-8")
    return tuple(_server(item) for item in yaml.safe_load(text))


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
    return UNKNOWN


def completed_url(url: str, where: str) -> str:
    """A base URL as the wire needs it: a bare host gets its usual path, a pasted endpoint loses its last part.

    Args:
        url: as the user wrote it.
        where: what to call it in an error.

    Raises:
        UsageError: it is no http(s) URL, or carries credentials.
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
    path = re.sub(r"(/chat)?/completions$", "", parts.path.rstrip("/"))
    return urlunsplit((parts.scheme, parts.netloc, path or server_of(url).path, parts.query, ""))


@functools.lru_cache(maxsize=256)
def normalised(base_url: str) -> str:
    """A base URL's one spelling: lower-case host, no default port, no query, no final slash."""
    parts = urlsplit(base_url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    netloc = host if parts.port in (None, default) else f"{host}:{parts.port}"
    return urlunsplit((parts.scheme.lower(), netloc, parts.path.rstrip("/"), "", ""))
