"""What a model says of each of many texts, asked about many texts a call."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pipeline.llm.batched import batches
from pipeline.llm.flow import UNAVAILABLE, Flow, Unavailable, converse
from pipeline.llm.request import LLM, Moderation, Reply, Request

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Said:
    """What was said of one text: `place` in the list of a reply, or a reply that says nothing of it.

    The latter is `refused` or `content_filter`, and was given to this text alone.
    """

    reply: Reply
    place: int = 0

    @property
    def vector(self) -> bytes:
        """Of an embeddings call; empty when there is none."""
        return self.reply.vectors[self.place] if self.reply.vectors else b""

    @property
    def moderation(self) -> Moderation | None:
        """Of a moderations call."""
        return self.reply.moderations[self.place] if self.reply.moderations else None


def said_of(
    llm: LLM,
    groups: Iterable[tuple[T, tuple[str, ...]]],
    request: Callable[[tuple[str, ...]], Request],
    most: int,
    window: int,
) -> Iterator[tuple[T, tuple[Said, ...] | Unavailable]]:
    """For each owner of texts, in order, what is said of them; `Unavailable` when a call outlasted its deadline.

    A call that is refused is halved until the text that it is refused for stands alone, so that the others are not
    lost with it.

    Args:
        llm: who is asked.
        groups: owners with their texts, perhaps none; pulled as far ahead as the window asks.
        request: the request about some texts.
        most: texts in one call.
        window: calls under way at most.
    """
    waiting: deque[tuple[T, int]] = deque()
    came: deque[Said | Unavailable] = deque()
    sizes: deque[int] = deque()

    def texts() -> Iterator[str]:
        for owner, own in groups:
            waiting.append((owner, len(own)))
            yield from own

    def flows() -> Iterator[Flow[list[Said]]]:
        for batch in batches(texts(), most):
            sizes.append(len(batch))
            yield _asked(tuple(batch), request)

    def whole() -> Iterator[tuple[T, tuple[Said, ...] | Unavailable]]:
        while waiting and len(came) >= waiting[0][1]:
            owner, count = waiting.popleft()
            own = [came.popleft() for _ in range(count)]
            lost = any(isinstance(one, Unavailable) for one in own)
            yield owner, UNAVAILABLE if lost else cast("tuple[Said, ...]", tuple(own))

    with closing(cast(Any, converse(llm, flows(), window))) as results:
        for result in results:
            size = sizes.popleft()
            came.extend([result] * size if isinstance(result, Unavailable) else result)
            yield from whole()
    yield from whole()


def _asked(texts: tuple[str, ...], request: Callable[[tuple[str, ...]], Request]) -> Flow[list[Said]]:
    reply = yield request(texts)
    if reply.outcome == "ok":
        return [Said(reply, place) for place in range(len(texts))]
    if len(texts) == 1:
        return [Said(reply)]
    half = len(texts) // 2
    first = yield from _asked(texts[:half], request)
    second = yield from _asked(texts[half:], request)
    return [*first, *second]
