"""Self-Instruct: new tasks in the manner of the seeds, each unlike every one before it."""

import itertools
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast

import polars as pl

from pipeline.answer_request import MAX_TOKENS, TEMPERATURE
from pipeline.errors import UsageError
from pipeline.llm.flow import UNAVAILABLE, converse
from pipeline.prompt import Prompt, load_prompt
from pipeline.record import DROP_SCHEMA, Record
from pipeline.stage import Outcome, Stream, Tools
from pipeline.stages.instruction_preset import Preset
from pipeline.stages.task_flow import Batch, TaskFlow
from pipeline.stages.task_markup import Language
from pipeline.stages.task_pool import Limits, TaskPool

_CALLS = 50
"""Calls whose tasks make up one outcome."""

_PLACEHOLDERS = ("demonstrations", "shown", "count", "first", "last")


def _at_least(default: Any, minimum: float, maximum: float | None = None) -> Any:
    bounds = {"minimum": minimum} if maximum is None else {"minimum": minimum, "maximum": maximum}
    return field(default=default, metadata={"schema": bounds})


@dataclass(frozen=True, kw_only=True)
class SelfInstruct:
    """Grows a pool of tasks from seed tasks.

    Each call shows a model some seeds, and perhaps some of its own earlier tasks, and asks for more. What comes back
    is taken apart, checked by rules and compared with every seed and every task so far (ROUGE-L F1) before anything
    more is paid for it. The incoming records are the seeds: they leave as drops with the reason `seed`, for the result
    is what the machine wrote and a dataset that repeats its seeds cannot be compared with them; `keep_seeds: true` puts
    them first instead.

    Sources: Wang et al., Self-Instruct (ACL 2023): two-step, 6 seeds + 2 of the machine's, threshold 0.7; Stanford
    Alpaca: joint, 3 seeds + 0.

    Attributes:
        target: complete tasks to make.
        mode: `joint` asks for instruction, input and output at once; `two-step` asks for instructions, and for each new
            one whether it is classification, then for an example (answer first for classification).
        language: of the prompts and of the tasks.
        seed_demonstrations: seeds shown in a prompt.
        machine_demonstrations: earlier finished tasks shown; seeds take their places while there are too few.
        demonstration_limit: longest seed shown, in characters of its instruction, input and output (two-step: of its
            instruction); null for no limit. Small models with a short context need one.
        tasks_per_call: tasks asked for at a time.
        inputs: two-step only; false makes tasks that stand alone: seeds with an input are not shown, and the answer is
            asked for as the answer stage would.
        classify: two-step only; false treats every task alike.
        novelty: highest ROUGE-L F1 with any seed or task at which an instruction still counts as new.
        patience: the stage stops when of the tasks of the last so many calls less than `min_novel` were new ...
        min_novel: ... as a share of all that these calls listed, unreadable ones included.
        max_calls: calls for tasks at most; null for no limit.
        preset: rules for instructions: `alpaca` (English), `belle` (Chinese), `auto` (by language) or `none`.
        keep_seeds: keep the seeds, ahead of the new tasks.
        prompt: file used in place of our prompt for the list of tasks.
        window: calls under way at once; what a call shows depends on the calls at least so many before it.
        answer_system: system message for the answers (`inputs: false`).
        answer_temperature: for examples and answers.
        answer_max_tokens: for examples and answers.
    """

    scope: ClassVar[Literal["dataset"]] = "dataset"

    target: int = _at_least(100, 1)
    mode: Literal["joint", "two-step"] = "joint"
    language: Language = "en"
    seed_demonstrations: int = _at_least(3, 0)
    machine_demonstrations: int = _at_least(0, 0)
    demonstration_limit: int | None = _at_least(None, 1)
    tasks_per_call: int = _at_least(10, 1)
    inputs: bool = True
    classify: bool = True
    novelty: float = _at_least(0.7, 0, 1)
    patience: int = _at_least(20, 1)
    min_novel: float = _at_least(0.1, 0, 1)
    max_calls: int | None = _at_least(None, 1)
    preset: Literal["auto", "alpaca", "belle", "none"] = "auto"
    keep_seeds: bool = False
    model: str = "default"
    window: int = _at_least(8, 1)
    prompt: str | None = field(default=None, metadata={"file": True})
    temperature: float = _at_least(1.0, 0, 2)
    top_p: float = _at_least(1.0, 0, 1)
    presence_penalty: float = _at_least(0.0, -2, 2)
    max_tokens: int = _at_least(3072, 1)
    answer_system: str | None = None
    answer_temperature: float = _at_least(TEMPERATURE, 0, 2)
    answer_max_tokens: int = _at_least(MAX_TOKENS, 1)

    def __post_init__(self) -> None:
        if self.mode == "joint" and not self.inputs:
            raise UsageError("'inputs: false' needs 'mode: two-step'", "joint asks for inputs in the same call")
        other = {"en": "belle", "zh": "alpaca"}[self.language]
        if self.preset == other:
            made_for = {"belle": "Chinese", "alpaca": "English"}[other]
            raise UsageError(
                f"the preset '{other}' is made for {made_for} instructions", "use 'preset: auto' or 'none'"
            )
        if self.seed_demonstrations + self.machine_demonstrations < 1:
            raise UsageError("self-instruct must show at least one task", "set seed_demonstrations to 3 or more")

    @property
    def rules(self) -> Preset:
        """The preset that applies."""
        if self.preset == "auto":
            return "alpaca" if self.language == "en" else "belle"
        return self.preset

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """The seeds, then the tasks call by call."""
        flows = self._flows(stream, tools)
        for block in stream.blocks():
            yield Outcome(kept=block) if self.keep_seeds else Outcome(drops=_as_seeds(block))
        pool = flows.pool
        tools.progress(0, self.target)
        source = (flows.call(number) for number in itertools.takewhile(lambda _: not pool.closed, itertools.count()))
        batches: list[Batch] = []
        unavailable: list[str] = []
        results = cast(Generator[Any, None, None], converse(tools.llm, source, self.window))
        with closing(results):
            for number, batch in enumerate(results):
                if batch is UNAVAILABLE:
                    unavailable.append(f"call {number}")
                    continue
                batches.append(batch)
                tools.progress(pool.finished, self.target)
                if len(batches) == _CALLS:
                    yield _outcome(batches)
                    batches = []
        yield _outcome(batches, notes=self._notes(pool), unavailable=tuple(unavailable))

    def _flows(self, stream: Stream, tools: Tools) -> TaskFlow:
        profile = tools.model(self.model)
        profile.require_language(self.language)
        seeds = list(stream.records())
        limits = Limits(target=self.target, patience=self.patience, min_novel=self.min_novel, max_calls=self.max_calls)
        demonstrations = [seed for seed in seeds if self._may_be_shown(seed)]
        if not demonstrations:
            raise UsageError(
                f"none of the {len(seeds)} incoming records can be shown as a seed task",
                "a seed has an instruction and, for joint, an answer; see also demonstration_limit and inputs",
            )
        pool = TaskPool(seeds, demonstrations, self.novelty, limits)
        return TaskFlow(settings=self, tools=tools, pool=pool, prompts=self._prompts(profile.style), profile=profile)

    def _may_be_shown(self, seed: Record) -> bool:
        whole = self.mode == "joint"
        if not seed.instruction.strip() or (whole and not seed.output.strip()) or (seed.input and not self.inputs):
            return False
        size = len(seed.question) + len(seed.output) if whole else len(seed.instruction)
        return self.demonstration_limit is None or size <= self.demonstration_limit

    def _prompts(self, style: str) -> dict[str, Prompt]:
        chat = style == "chat"
        kind = "joint" if self.mode == "joint" else "instruction" if self.inputs else "standalone"
        tail = f"{style}.{self.language}"
        prompts = {"list": load_prompt(f"self_instruct.{kind}.{tail}", _PLACEHOLDERS, self.prompt, chat=chat)}
        if kind == "instruction":
            for name in ("classification", "instance", "label_first"):
                prompts[name] = load_prompt(f"self_instruct.{name}.{tail}", ("instruction",), chat=chat)
        return prompts

    def _notes(self, pool: TaskPool) -> dict[str, int]:
        notes = pool.notes.copy()
        notes["calls_for_tasks"] = pool.calls
        if not pool.full:
            notes["short_of_target"] = self.target - pool.finished
            notes["dried_up"] = int(pool.dry)
        return {name: notes[name] for name in sorted(notes) if notes[name]}


def _as_seeds(block: pl.DataFrame) -> pl.DataFrame:
    return block.with_columns(reason=pl.lit("seed"), detail=pl.lit("{}")).select(list(DROP_SCHEMA))


def _outcome(batches: list[Batch], **extra: Any) -> Outcome:
    kept = [record for batch in batches for record in batch.kept]
    drops = [drop for batch in batches for drop in batch.drops]
    return Outcome.of(kept, drops, derived=len(kept) + len(drops), **extra)
