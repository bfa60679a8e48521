"""What self-instruct has so far: the seeds, the machine's own tasks, and whether it is time to stop."""

import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.record import Record
from pipeline.similar.novelty import NoveltyGate


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a pool stops growing.

    Attributes:
        target: complete tasks wanted.
        patience: calls that are looked back upon.
        min_novel: the least share of their tasks that must have been new.
        max_calls: calls at most; None for no limit.
    """

    target: int
    patience: int
    min_novel: float
    max_calls: int | None


class TaskPool:
    """Tasks to demonstrate, tasks to differ from, and the count of finished ones.

    It changes only when a reply arrives, so what a request draws from it depends on earlier replies alone.

    Attributes:
        finished: complete tasks so far.
        calls: calls begun.
        notes: counts for the report.
        stopped: set when a call got no reply in time; nothing more is asked then.
    """

    def __init__(
        self, seeds: Sequence[Record], demonstrations: Sequence[Record], novelty: float, limits: Limits
    ) -> None:
        self.finished = 0
        self.calls = 0
        self.notes = Counter[str]()
        self.stopped = False
        self._limits = limits
        self._seeds = demonstrations
        self._machine: list[Record] = []
        self._gate = NoveltyGate(threshold=novelty)
        self._gate.add(seed.instruction for seed in seeds)
        self._ids = [seed.id for seed in seeds]
        self._recent: deque[tuple[int, int]] = deque(maxlen=limits.patience)

    @property
    def full(self) -> bool:
        """Whether the target is reached: what arrives from now on is put aside."""
        return self.finished >= self._limits.target

    @property
    def dry(self) -> bool:
        """Whether too few of the latest calls' tasks were new."""
        if len(self._recent) < self._limits.patience:
            return False
        new, listed = sum(new for new, _ in self._recent), sum(listed for _, listed in self._recent)
        return listed == 0 or new < self._limits.min_novel * listed

    @property
    def closed(self) -> bool:
        """Whether no further call should begin."""
        spent = self._limits.max_calls is not None and self.calls >= self._limits.max_calls
        return self.full or self.stopped or spent or self.dry

    def demonstrations(self, dice: random.Random, seeds: int, machine: int) -> list[Record]:
        """So many seeds and machine tasks in random order; seeds fill up while the machine's are too few."""
        own = dice.sample(self._machine, min(machine, len(self._machine)))
        chosen = dice.sample(self._seeds, min(seeds + machine - len(own), len(self._seeds))) + own
        dice.shuffle(chosen)
        return chosen

    def admit(self, instruction: str, id: str) -> dict[str, object] | None:
        """Take in an instruction if it is new; otherwise the evidence: the partner's id and the similarity."""
        verdict = self._gate.admit(instruction)
        if verdict.admitted:
            self._ids.append(id)
            return None
        assert verdict.partner is not None
        return {"partner": self._ids[verdict.partner], "similarity": verdict.similarity}

    def listed(self, tasks: int, new: int) -> None:
        """Note how many tasks a call listed, and how many of them were new."""
        self._recent.append((new, tasks))

    def finish(self, record: Record) -> None:
        """Count a complete task; from now on it may be a demonstration."""
        self.finished += 1
        self._machine.append(record)
