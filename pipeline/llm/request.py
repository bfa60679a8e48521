"""A request, a reply and the one seam between stages and models."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pipeline.errors import UsageError
from pipeline.record import Message

Style = Literal["chat", "completion"]

Kind = Literal["chat", "completion", "embeddings", "moderations"]
"""What a call asks for: a reply to messages, the continuation of a text, or something about each text of a list."""

OutcomeKind = Literal["ok", "length", "content_filter", "refused", "unavailable"]
"""How a call ended. Final, ledgered and replayed: `ok`; `length` (cut off at max_tokens); `content_filter`; `refused`
(HTTP 400 for this very input, `text` is then the server's message). Not ledgered: `unavailable` (a transient fault
outlasted its deadline)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to a model. Two equal requests are the same call and are paid once.

    Which of `messages`, `prompt`, `embed` and `moderate` is there decides the kind of the call.

    Attributes:
        role: which of the recipe's models answers (default, judge, translator, student ...).
        messages: the conversation, for a chat call; empty for any other.
        prompt: the text to continue, for a completion call; None for any other.
        embed: the texts to embed, for an embeddings call; `batched.batches` cuts many texts into calls.
        moderate: the texts to moderate, for a moderations call.
        params: sampling parameters as the OpenAI protocol names them (temperature, top_p, max_tokens, stop, seed ...).
        tools: tool definitions, as OpenAI writes them.
        response_format: as OpenAI writes it; servers that do not know it are not sent it: the prompt must say it.
        sample: index that tells repeated askings of the same question apart, or of the first sample asked for.
        samples: how many replies this one call asks for (`n`); see `samples.several` for who may ask for more than one.
    """

    role: str = "default"
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    embed: tuple[str, ...] = ()
    moderate: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[Mapping[str, Any], ...] = ()
    response_format: Mapping[str, Any] | None = None
    sample: int = 0
    samples: int = 1

    @property
    def kind(self) -> Kind:
        """What the call asks for."""
        if self.embed:
            return "embeddings"
        if self.moderate:
            return "moderations"
        return "chat" if self.prompt is None else "completion"

    @property
    def texts(self) -> tuple[str, ...]:
        """The list of texts that the call asks something about; empty for one that wants a reply."""
        return self.embed or self.moderate


@dataclass(frozen=True, slots=True, kw_only=True)
class Moderation:
    """What a moderations endpoint finds in one text.

    Attributes:
        flagged: the server's own verdict.
        categories: its verdict for each of its categories.
        scores: how sure it is of each, usually from 0 to 1; empty where the server gives none.
    """

    flagged: bool
    categories: Mapping[str, bool]
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model said.

    Attributes:
        key: the call's ledger key.
        text: the answer without its reasoning part.
        thinking: the reasoning part (`<think>` or `reasoning_content`), or None.
        finish_reason: as the server gave it.
        outcome: how the call ended, see OutcomeKind.
        model: the model that answered, as the server named it.
        completion_tokens: of all samples of the call together, thinking included.
        reasoning_tokens: of these, spent on thinking, as far as the server says so.
        logprobs: the answer's tokens with their natural log probabilities, when the request asked for them and the
            server gives them; alternatives (`top_logprobs`) are in the raw reply.
        vectors: of an embeddings call, one for each text in order: little-endian float32; empty for a text whose vector
            is no direction (a number in it is not finite, or all are 0).
        moderations: of a moderations call, one for each text in order.
        reused: True when the ledger already held the call.
        others: the further samples of a call that asked for several. They have its key, and no tokens of their own.
    """

    key: str
    text: str
    thinking: str | None = None
    finish_reason: str = "stop"
    outcome: OutcomeKind = "ok"
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    logprobs: tuple[tuple[str, float], ...] = ()
    vectors: tuple[bytes, ...] = ()
    moderations: tuple[Moderation, ...] = ()
    reused: bool = False
    others: "tuple[Reply, ...]" = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What stages may know of a model: never its address or key.

    Attributes:
        style: `chat` for models that follow instructions, `completion` for base and very small ones.
        languages: the languages it can write, as BCP 47 primary tags; empty means no limit is known.
        concurrency: the largest number of calls in flight.
        small: True for models whose answers show the mechanism, not quality.
        samples: the most samples that one call may ask for.
        texts: the most texts that one embeddings or moderations call may hold.
        terms: licences or terms that hold for what it writes, when the recipe says so.
    """

    role: str
    model: str
    style: Style = "chat"
    languages: tuple[str, ...] = ()
    concurrency: int = 16
    small: bool = False
    samples: int = 1
    texts: int = 32
    terms: tuple[str, ...] | None = None

    def require_language(self, language: str) -> None:
        """Raise UsageError when this model is known not to write `language`."""
        if self.languages and language.split("-")[0] not in self.languages:
            raise UsageError(
                f"the model '{self.model}' (role {self.role}) cannot write '{language}': "
                f"it knows {', '.join(self.languages)}",
                "set LLM_BASE_URL, LLM_MODEL and LLM_API_KEY to a model that can, or change the recipe's language",
            )


class LLM(Protocol):
    """The seam. Implementations: the wire client (in-process or behind Ray actors), and doubles in tests."""

    def ask(self, requests: Iterable[Request], window: int) -> Iterator[Reply]:
        """Replies in the order of the requests.

        Before reply i is handed out, requests up to i + window - 1 have been pulled from `requests`, and no more; so
        what a lazily built request depends on never depends on timing. Closing the iterator waits for the calls
        already sent and writes them to the ledger.

        Raises:
            ModelError: the endpoint refuses us for good (wrong key, unknown model, nobody listening).
        """
        ...

    def profile(self, role: str) -> Profile:
        """What is known of the model in this role; UsageError for a role the recipe does not define."""
        ...
