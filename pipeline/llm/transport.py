"""Which transport carries a model's calls."""

import urllib.request
from urllib.parse import urlsplit

from pipeline.llm.models import ModelSpec
from pipeline.llm.thin import ThinWire
from pipeline.llm.wire import SdkWire, Wire


def open_wire(spec: ModelSpec) -> Wire:
    """The transport for a model: thin, unless its recipe wants the SDK's or a proxy stands between.

    What is sent and how it ends is the same with both. Proxies, with all their ways of being asked, are the SDK's.
    """
    return SdkWire(spec) if spec.transport == "sdk" or behind_proxy(spec) else ThinWire(spec)


def behind_proxy(spec: ModelSpec) -> bool:
    """Whether the environment names a proxy for this server; never for our own embedded one."""
    parts = urlsplit(spec.base_url)
    if spec.local is not None or not parts.hostname:
        return False
    proxies = urllib.request.getproxies()
    named = proxies.get(parts.scheme.lower()) or proxies.get("all")
    return bool(named) and not urllib.request.proxy_bypass(parts.netloc)
