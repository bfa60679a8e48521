"""Doubles that obey the seams' contracts: a model that is a function, tools for one stage, a stream on disk."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from pipeline.llm.request import Profile, Reply, Request
from pipeline.record import Record, digest, to_frame
from pipeline.stage import Outcome, Slice, Stream, Tools


class FunctionLLM:
    """A model that is a pure function of the request; keeps every request it was asked.

    The function returns the reply's text, or a whole Reply (its key is filled in) for other outcomes.
    """

    def __init__(self, answer: Callable[[Request], str | Reply], profile: Profile | None = None) -> None:
        self.answer = answer
        self.asked: list[Request] = []
        self._profile = profile

    def ask(self, requests: Iterable[Request], window: int) -> Iterator[Reply]:
        pulled: deque[Request] = deque()
        source = iter(requests)
        while True:
            while len(pulled) < window and (request := next(source, None)) is not None:
                self.asked.append(request)
                pulled.append(request)
            if not pulled:
                return
            yield self._reply(pulled.popleft())

    def _reply(self, request: Request) -> Reply:
        key = digest("call", repr(request))
        answer = self.answer(request)
        if isinstance(answer, Reply):
            return replace(answer, key=key, others=tuple(replace(other, key=key) for other in answer.others))
        return Reply(key=key, text=answer, model="double", prompt_tokens=1, completion_tokens=1)

    def profile(self, role: str) -> Profile:
        return self._profile or Profile(role=role, model="double")


def no_model(request: Request) -> str:
    raise AssertionError(f"this stage must not ask a model: {request}")


def lend(llm: FunctionLLM | None = None, entry: str = "entry", seed: int = 1, folder: Path | None = None) -> Tools:
    """Tools whose map runs in this process."""
    return Tools(
        entry=entry,
        seed=seed,
        llm=llm or FunctionLLM(no_model),
        map=lambda function, slices: (function(s.load()) for s in slices),
        folder=folder,
    )


def stream_of(folder: Path, records: Sequence[Record], block: int = 1000) -> Stream:
    """The records as a stream of parquet slices under `folder`."""
    path = folder / "stream.parquet"
    to_frame(records).write_parquet(path)
    starts = range(0, len(records), block)
    return Stream(tuple(Slice(i, path, s, min(block, len(records) - s)) for i, s in enumerate(starts)))


def run_rows(stage: object, records: Sequence[Record], tools: Tools | None = None) -> Outcome:
    """A rows stage over one block."""
    return stage.run(to_frame(records), tools or lend())  # type: ignore[attr-defined]


def kept_ids(outcomes: Iterable[Outcome]) -> list[str]:
    return [id for o in outcomes for id in o.kept["id"]]


def reasons(outcomes: Iterable[Outcome]) -> dict[str, int]:
    frame = pl.concat([o.drops for o in outcomes])
    return dict(frame["reason"].value_counts().sort("reason").iter_rows())
