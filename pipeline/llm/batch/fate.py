"""What becomes of the lines that a batch did not bring: decided here, done by the desk."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.errors import ModelError, SeedmillError
from pipeline.llm.batch.course import Course, Crowded, Harvest
from pipeline.llm.batch.funds import Paid
from pipeline.llm.batch.lines import Line
from pipeline.llm.batch.patience import Away, OutOfTime
from pipeline.llm.batch.server import NotTaken, TooLarge
from pipeline.llm.models import ModelSpec
from pipeline.llm.servers import normalised

Next = Literal["again", "online", "give up", "fail", "nothing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """One line's.

    Attributes:
        line: as it is to go on, its attempts counted.
        next: put into another batch, asked alone, given up (no reply in time), failed, or nothing at all.
        paid: whether the attempt that is over may be on the bill.
        why: a few words for reports.
        error: what it fails with.
    """

    line: Line
    next: Next
    paid: Paid = "no"
    why: str = ""
    error: Exception | None = None


def after_harvest(course: Course, harvest: Harvest, *, online: bool) -> Iterator[Fate]:
    """The fates after a batch that is over; `online`: what failed is to be asked alone."""
    for line in harvest.alone:
        yield Fate(line=line, next="online")
    for line, again in harvest.left:
        fate = Fate(line=line, next="online", paid="perhaps" if again.paid else "no", why=again.why)
        if harvest.refusal is not None:
            yield replace(fate, next="fail", error=harvest.refusal)
        elif harvest.cancelled:
            yield replace(fate, next="give up", why="its batch was cancelled")
        elif online:
            yield fate
        elif line.attempt >= course.means.terms.attempts:
            yield replace(fate, next="give up")
        else:
            yield replace(fate, next="again", line=replace(line, attempt=line.attempt + 1))


def after_error(course: Course, error: Exception) -> Iterator[Fate]:
    """The fates after a batch that was not begun, or that we cannot follow."""
    single = len(course.lines) == 1
    open_end: Paid = "no" if course.entry.state == "planned" else "open"
    for line in course.lines:
        if isinstance(error, TooLarge):
            yield Fate(line=line, next="online" if single else "again")
        elif isinstance(error, Crowded):
            tries = line.attempt + int(single)
            give_up = tries > course.means.terms.attempts
            next_: Next = "give up" if give_up else "again"
            yield Fate(line=replace(line, attempt=tries), next=next_, why=str(error))
        elif isinstance(error, NotTaken):
            if course.means.spec.mode == "batch":
                yield Fate(line=line, next="fail", error=not_taken(course.means.spec, error))
            else:
                yield Fate(line=line, next="online")
        elif isinstance(error, OutOfTime):
            yield Fate(line=line, next="give up", paid="open", why=str(error))
        elif isinstance(error, Away):
            yield Fate(line=line, next="nothing", paid="open")
        else:
            yield Fate(line=line, next="fail", paid=open_end, error=error)


def not_taken(spec: ModelSpec, error: NotTaken) -> SeedmillError:
    """The error of a server that makes no batches, or not of this model."""
    return ModelError(
        f"{normalised(spec.base_url)} does not take batches of the model '{spec.model}' (role {spec.role}: {error})",
        f"set models.{spec.role}.mode to online, or to auto, which asks online where there are no batches",
    )
