"""A server's files and batches, with the official SDK. Every method is one HTTP request, or a few, and blocks."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pipeline.errors import ModelError
from pipeline.llm.batch.terms import Terms
from pipeline.llm.faults import Again, Answer, judge
from pipeline.llm.models import ModelSpec
from pipeline.llm.reading import error_message
from pipeline.llm.wire import NO_KEY, headers_of, without_secrets

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch as SdkBatch

FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
"""States in which a batch stays."""

MARK = "seedmill"
"""Under this name a batch's metadata carry our token."""

_CONNECT_SECONDS, _TRANSFER_SECONDS = 10.0, 600.0

_LISTED = 2_000
"""Batches looked through, newest first, for one of ours."""


class NotTaken(Exception):
    """The server has no batches, or not for this model."""


class TooLarge(Exception):
    """The file has more lines or bytes than the server takes."""


class Missing(Exception):
    """There is no such batch or file there (any more)."""


class Later(Exception):
    """It did not work this time.

    Attributes:
        wait: seconds the server wants to be left alone, or None.
        limited: it said that we ask too much (429): what was asked was not done.
    """

    def __init__(self, why: str, wait: float | None = None, *, limited: bool = False) -> None:
        super().__init__(why)
        self.wait, self.limited = wait, limited


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A batch as the server shows it.

    Attributes:
        state: as OpenAI names it, in lower case.
        problems: why its file was not accepted: code, message, and the number of the line (from 1) or None.
    """

    id: str
    state: str
    total: int = 0
    done: int = 0
    failed: int = 0
    output_file: str | None = None
    error_file: str | None = None
    problems: tuple[tuple[str, str, int | None], ...] = ()

    @property
    def over(self) -> bool:
        """Whether it stays as it is."""
        return self.state in FINAL


class BatchServer:
    """The files and batches of one model's server. Thread-safe."""

    def __init__(self, spec: ModelSpec, terms: Terms) -> None:
        self._spec, self._terms = spec, terms
        self._client: OpenAI | None = None

    def upload(self, name: str, content: bytes) -> str:
        """Upload a batch's file; its id."""
        with self._faults():
            file = (name, content, "application/jsonl")
            return self._open().files.create(file=file, purpose="batch", extra_headers=self._headers()).id

    def create(self, file: str, url: str, token: str, run: str) -> Seen:
        """Begin a batch. When this raises Later it may have begun all the same: see `find`."""
        with self._faults():
            batch = self._open().batches.create(
                input_file_id=file,
                endpoint=url,  # type: ignore[arg-type]
                completion_window=self._terms.completion_window,  # type: ignore[arg-type]
                metadata={MARK: token, "run": run[:512]},
                extra_headers=self._headers(),
            )
        return _seen(batch)

    def find(self, token: str, file: str | None) -> Seen | None:
        """The batch that carries this token or was made of this file."""
        with self._faults():
            for number, batch in enumerate(self._open().batches.list(limit=100, extra_headers=self._headers())):
                if (batch.metadata or {}).get(MARK) == token or (file is not None and batch.input_file_id == file):
                    return _seen(batch)
                if number >= _LISTED:
                    break
        return None

    def look(self, id: str) -> Seen:
        """A batch as it stands."""
        with self._faults(known=True):
            return _seen(self._open().batches.retrieve(id, extra_headers=self._headers()))

    def cancel(self, id: str) -> Seen:
        """Have a batch stopped; one that is over already is shown as it is."""
        try:
            with self._faults(known=True):
                return _seen(self._open().batches.cancel(id, extra_headers=self._headers()))
        except NotTaken:  # a 400: most servers refuse to cancel what is over
            return self.look(id)

    def read(self, file: str) -> str:
        """A file's content, without the key should the server repeat it."""
        with self._faults(known=True):
            content = self._open().files.content(file, extra_headers=self._headers()).content
        return without_secrets(self._spec, content)

    def delete(self, file: str) -> None:
        """Delete a file."""
        with self._faults(known=True):
            self._open().files.delete(file, extra_headers=self._headers())

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _open(self) -> "OpenAI":
        if self._client is None:
            import httpx2
            import openai

            spec = self._spec
            parts = urlsplit(spec.base_url)
            self._client = openai.OpenAI(
                api_key=lambda: spec.api_key() or NO_KEY,
                base_url=urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")),
                default_query=dict(parse_qsl(parts.query)),
                max_retries=0,
                timeout=httpx2.Timeout(_TRANSFER_SECONDS, connect=_CONNECT_SECONDS),
            )
        return self._client

    def _headers(self) -> dict[str, str]:
        return {name: value for name, value in headers_of(self._spec).items() if name != "Content-Type"}

    @contextmanager
    def _faults(self, known: bool = False) -> Iterator[None]:
        """Turn what the SDK raises into our own; `known`: the request names something that should be there."""
        import httpx2
        import openai

        try:
            yield
        except openai.APIStatusError as error:
            body = without_secrets(self._spec, error.response.content)
            answer = Answer(status=error.status_code, headers=error.response.headers, body=body)
            raise self._fault(answer, known) from error
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise Later("timeout" if isinstance(error, openai.APITimeoutError) else "no connection") from error
        except (openai.APIError, ValueError) as error:  # a 200 that is no JSON
            raise Later("an answer that cannot be read") from error

    def _fault(self, answer: Answer, known: bool) -> Exception:
        said = error_message(answer.body)
        if answer.status == 404 and known:
            return Missing(said)
        if answer.status in (404, 405, 501):
            return NotTaken(f"HTTP {answer.status}")
        if answer.status == 413:
            return TooLarge(said)
        verdict = judge(self._spec, answer)
        if isinstance(verdict, Again):
            return Later(verdict.why, verdict.wait, limited=verdict.limited)
        if isinstance(verdict, ModelError) and answer.status != 400:
            return verdict
        return NotTaken(f"HTTP {answer.status}: {said}")


def _seen(batch: "SdkBatch") -> Seen:
    """Servers that only resemble OpenAI's leave fields out or fill them otherwise; nothing is taken for granted."""
    counts: Any = batch.request_counts
    errors: Any = batch.errors
    problems = getattr(errors, "data", None) or ()
    return Seen(
        id=batch.id,
        state=str(batch.status).lower(),
        **{
            name: _count(counts, key) for name, key in (("total", "total"), ("done", "completed"), ("failed", "failed"))
        },
        output_file=batch.output_file_id or None,
        error_file=batch.error_file_id or None,
        problems=tuple((str(p.code or ""), str(p.message or ""), p.line) for p in problems),
    )


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, Mapping) else getattr(counts, name, None)
    return value if isinstance(value, int) else 0
