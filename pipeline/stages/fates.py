"""One flow for each record of a stream, gathered into outcomes."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import cast

from pipeline.llm.flow import Flow, Unavailable, converse
from pipeline.record import Drop, Record
from pipeline.stage import Outcome, Stream, Tools

BATCH = 300
"""Records an outcome holds: what is in memory at a time, beside the flows under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of one record: 1 + `derived` = kept + dropped.

    Attributes:
        derived: records among them that the stage made.
        notes: names of counts that go up by one.
    """

    kept: tuple[Record, ...] = ()
    drops: tuple[Drop, ...] = ()
    derived: int = 0
    notes: tuple[str, ...] = ()


def settle(stream: Stream, flow_of: Callable[[Record], Flow[Fate]], tools: Tools, window: int) -> Iterator[Outcome]:
    """Run each record's flow, many at a time; outcomes in the records' order, each of at most BATCH records.

    A record whose call outlasted its deadline is in none of the frames; its id is listed as unavailable.
    """
    waiting: deque[str] = deque()

    def flows() -> Iterator[Flow[Fate]]:
        for record in stream.records():
            waiting.append(record.id)
            yield flow_of(record)

    results = cast("Iterator[Fate | Unavailable]", converse(tools.llm, flows(), window))
    with closing(results):  # type: ignore[type-var]
        yield from gathered(((waiting.popleft(), result) for result in results), tools, stream.rows)


def gathered(results: Iterable[tuple[str, Fate | Unavailable]], tools: Tools, total: int) -> Iterator[Outcome]:
    """Ids of all records in order with what became of each, as outcomes of at most BATCH records."""
    fates: list[Fate] = []
    unavailable: list[str] = []
    tools.progress(0, total)
    for done, (id, result) in enumerate(results, 1):
        if isinstance(result, Unavailable):
            unavailable.append(id)
        else:
            fates.append(result)
        tools.progress(done, total)
        if done % BATCH == 0 or done == total:
            yield _outcome(fates, unavailable)
            fates, unavailable = [], []


def _outcome(fates: list[Fate], unavailable: list[str]) -> Outcome:
    return Outcome.of(
        [record for fate in fates for record in fate.kept],
        [drop for fate in fates for drop in fate.drops],
        derived=sum(fate.derived for fate in fates),
        notes=dict(Counter(note for fate in fates for note in fate.notes)),
        unavailable=tuple(unavailable),
    )
