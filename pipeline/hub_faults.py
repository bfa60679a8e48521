"""What goes wrong with the Hub: whether to try again, how long to wait, and the sentence a user reads."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2

from pipeline.errors import DataError, SeedmillError, UsageError

TOKEN_HINT = "log in with 'hf auth login', or set HF_TOKEN to a token with write access (hf.co/settings/tokens)"

FAILURES = (httpx2.HTTPError, OSError, RuntimeError, ValueError)
"""What huggingface_hub raises for foreseeable reasons; an upload's HTTP error comes wrapped in a RuntimeError."""

_TRANSIENT = (408, 412, 429, 500, 502, 503, 504)
"""412 is the Hub's answer when somebody else's commit came between our look and ours."""

_NO_NETWORK = (httpx2.TransportError, ConnectionError, TimeoutError)
_LONGEST_WAIT_S = 300.0
"""The Hub counts requests in windows of five minutes (hub-docs, rate-limits.md)."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What was being done: to which repository (`dataset alice/x`), at which address, with which token."""

    what: str
    endpoint: str
    token: str | None = field(repr=False)


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, or None when there was no reply."""
    response = _response(error)
    return None if response is None else response.status_code


def out_of_reach(error: BaseException) -> bool:
    """Whether the Hub gave no answer at all, or none that says anything about what was asked."""
    status = status_of(error)
    # A gateway's HTML page where huggingface_hub expects JSON ends in a JSONDecodeError.
    kinds = (*_NO_NETWORK, json.JSONDecodeError)
    return status in _TRANSIENT if status is not None else any(isinstance(e, kinds) for e in _chain(error))


def worth_another_try(error: BaseException) -> bool:
    """Whether the same call may succeed a little later."""
    return out_of_reach(error) and not _switched_off(error)


def wait_s(error: BaseException, attempt: int) -> float:
    """Seconds to wait before the next try: what the Hub asks for, else 1, 2, 4, 8 by the number of tries before."""
    response = _response(error)
    asked = "" if response is None else response.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_WAIT_S) if asked.isdigit() else float(2**attempt)


def sentence(error: BaseException, call: Call) -> SeedmillError:
    """The error in our words. Never str() of an HTTP error: it holds the URL, which may be signed."""
    refused_card = next((str(e) for e in _chain(error) if str(e).startswith("Invalid metadata in README.md")), None)
    if refused_card is not None:
        said = " ".join(refused_card.split()[4:]).removeprefix("- ")
        return DataError(f"the Hub refuses the metadata at the top of README.md: {said}", "mend it and try again")
    status = status_of(error)
    if status is not None:
        return _refusal(status, _said(error, call), call)
    if out_of_reach(error):
        return _silence(error, call)
    return SeedmillError(f"{call.what}: {_clean(str(error) or type(error).__name__, call)}", "mend that and try again")


def _refusal(status: int, said: str, call: Call) -> SeedmillError:
    if status == 401:
        if call.token is None:
            return UsageError(f"the Hub shows no {call.what} to somebody without a token", TOKEN_HINT)
        return UsageError(f"the Hub at {call.endpoint} does not accept the token{said}", TOKEN_HINT)
    if status == 403:
        hint = "use a token with the right to it (hf.co/settings/tokens), or a repository of your own"
        return UsageError(f"the token has no right to do that to the {call.what}{said}", hint)
    if status == 404:
        return UsageError(f"the Hub has no {call.what}, or none that this token may see{said}", "check the name")
    if status == 412:
        return SeedmillError(f"somebody else keeps changing the {call.what}", "try again when they are done")
    if status in _TRANSIENT:
        return SeedmillError(f"the Hub at {call.endpoint} answers with {status}{said}", "try again later")
    return SeedmillError(f"the Hub refuses that for the {call.what} with {status}{said}", "mend that and try again")


def _silence(error: BaseException, call: Call) -> SeedmillError:
    if _switched_off(error):
        return SeedmillError(f"the Hub at {call.endpoint} may not be asked: HF_HUB_OFFLINE is set", "unset it")
    reason = next((str(e) for e in _chain(error) if isinstance(e, _NO_NETWORK)), "it sends no JSON")
    return SeedmillError(
        f"the Hub at {call.endpoint} cannot be reached: {_clean(reason, call) or 'no answer in time'}",
        "check the connection, HTTPS_PROXY and HF_ENDPOINT",
    )


def _switched_off(error: BaseException) -> bool:
    return any(type(e).__name__ == "OfflineModeIsEnabled" for e in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _response(error: BaseException) -> httpx2.Response | None:
    found = (getattr(e, "response", None) for e in _chain(error))
    return next((response for response in found if isinstance(response, httpx2.Response)), None)


def _said(error: BaseException, call: Call) -> str:
    """What the server said, if anything, as the end of a sentence."""
    said = next((text for e in _chain(error) if (text := getattr(e, "server_message", None))), None)
    return f": {_clean(' '.join(str(said).split())[:300], call)}" if said else ""


def _clean(text: str, call: Call) -> str:
    text = text if call.token is None else text.replace(call.token, "***")
    return re.sub(r"hf_[A-Za-z0-9]{8,}", "hf_***", text)
