"""The calls of self-instruct, each written as one flow: list tasks, sift them, have examples worked out."""

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.answer_request import answer_request
from pipeline.licenses import derived
from pipeline.llm.flow import Flow
from pipeline.llm.request import Profile, Reply, Request
from pipeline.prompt import Prompt
from pipeline.record import Drop, Message, Record, derived_id
from pipeline.stage import Tools
from pipeline.stages.answered import Answered, answered
from pipeline.stages.instruction_preset import objections
from pipeline.stages.task_instance import INPUT_FIRST, LABEL_FIRST, parse_instance
from pipeline.stages.task_list import Piece, parse_instructions, parse_tasks
from pipeline.stages.task_markup import LABELS, Field, listed, shown
from pipeline.stages.task_pool import TaskPool
from pipeline.stages.unusable import unusable

if TYPE_CHECKING:
    from pipeline.stages.self_instruct import SelfInstruct

_STOPS = {"en": ["\nTask:"], "zh": ["\n任务："]}
"""Where a completion has gone on to a task of its own."""

_YES_NO = re.compile(r"\W*(?:(yes|是)|(no|否|不是))(?![a-z])", re.IGNORECASE)
_VERDICT_TOKENS = {"chat": 512, "completion": 4}
"""A reasoning model needs room to think before its one word; a completion is cut after it."""


@dataclass(slots=True)
class Batch:
    """What became of the tasks of one call."""

    kept: list[Record] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)

    def drop(self, record: Record, reason: str, **detail: Any) -> None:
        """Set a task aside."""
        self.drops.append(Drop(record=record, reason=reason, detail=detail))


@dataclass(frozen=True, kw_only=True)
class TaskFlow:
    """Makes the flows of one run of the stage; they share the pool.

    Attributes:
        prompts: `list` and, for two-step, `classification`, `instance` and `label_first`.
    """

    settings: "SelfInstruct"
    tools: Tools
    pool: TaskPool
    prompts: dict[str, Prompt]
    profile: Profile

    def call(self, number: int) -> Flow[Batch]:
        """Everything that call `number` leads to. Nothing more is asked for a task that is not new."""
        self.pool.calls += 1
        batch = Batch()
        try:
            fresh = yield from self._tasks(number, batch)
            for record in fresh if self.settings.mode == "two-step" else ():
                yield from self._example(record, batch)
        except GeneratorExit:  # no reply in time: the pool would grow differently from here on
            self.pool.stopped = True
            raise
        return batch

    def _tasks(self, number: int, batch: Batch) -> Generator[Request, Reply, list[Record]]:
        """Ask for a list of tasks; those that pass the rules and are new. Joint ones are finished with that."""
        s = self.settings
        dice = self.tools.draw(str(number), "demonstrations")
        shown_tasks = self.pool.demonstrations(dice, s.seed_demonstrations, s.machine_demonstrations)
        first = len(shown_tasks) + 1
        reply = yield self._list_request(number, shown_tasks)
        if self._late():
            return []
        origin = Record(
            id=str(number),
            language=s.language,
            source="self-instruct",
            method=s.mode,
            parents=tuple(record.id for record in shown_tasks),
            model=reply.model,
            license=derived([record.license for record in shown_tasks], reply.model, self.profile.terms),
            prompt=self.prompts["list"].ref,
            calls=(reply.key,),
        )
        fault = unusable(reply)
        if fault and not (fault == "truncated" and reply.text.strip()):
            self.pool.listed(0, 0)
            batch.drop(self._derived(origin, 0, Piece(raw="")), fault, call=number, raw=reply.text)
            return []
        parse = parse_tasks if s.mode == "joint" else parse_instructions
        opened = self.profile.style == "completion"
        found = parse(reply.text, first, opened=opened, truncated=fault == "truncated")
        self.pool.notes.update({f"drift_{name}": count for name, count in found.drift.items()})
        return self._sifted(origin, found.pieces, batch)

    def _sifted(self, origin: Record, pieces: Sequence[Piece], batch: Batch) -> list[Record]:
        """The tasks worth going on with; the others become drops."""
        s = self.settings
        fresh: list[Record] = []
        objected = objections([piece.instruction for piece in pieces], s.rules)
        for ordinal, (piece, objection) in enumerate(zip(pieces, objected, strict=True)):
            record = self._derived(origin, ordinal, piece)
            fault = piece.reason or (_instance_fault(piece) if s.mode == "joint" else None)
            if fault:
                batch.drop(record, fault, call=int(origin.id), raw=piece.raw)
            elif objection:
                batch.drop(record, objection[0], value=objection[1])
            elif self.pool.full:
                batch.drop(record, "after-target", call=int(origin.id))
            elif near := self.pool.admit(record.instruction, record.id):
                batch.drop(record, "not-novel", **near)
            else:
                fresh.append(record)
                if s.mode == "joint":
                    self._finish(record, batch)
        self.pool.listed(len(pieces), len(fresh))
        return fresh

    def _example(self, record: Record, batch: Batch) -> Generator[Request, Reply, None]:
        """Have a new instruction's kind named and one example of it worked out, or have it answered."""
        s = self.settings
        if self.pool.full:
            batch.drop(record, "after-target")
        elif not s.inputs:
            yield from self._answer(record, batch)
        elif s.classify:
            found = yield from self._kind(record, batch)
            if found:
                yield from self._instance(*found, batch)
        else:
            yield from self._instance(record, INPUT_FIRST, batch)

    def _answer(self, record: Record, batch: Batch) -> Generator[Request, Reply, None]:
        """Ask the task as it stands, as the answer stage would."""
        s = self.settings
        request = answer_request(
            record,
            self.profile,
            seed=self.tools.seed,
            system=s.answer_system,
            temperature=s.answer_temperature,
            max_tokens=s.answer_max_tokens,
        )
        result = yield from answered(request, s.language)
        record = replace(record, calls=(*record.calls, *result.calls))
        if self._late():
            batch.drop(record, "after-target")
        elif isinstance(result, Answered):
            self._finish(replace(record, messages=(*record.messages, result.message)), batch)
        else:
            batch.drop(record, result.reason, **result.detail)

    def _instance(self, record: Record, order: tuple[Field, Field], batch: Batch) -> Generator[Request, Reply, None]:
        """Ask for an input and an output, in this order."""
        s = self.settings
        params = {
            "temperature": s.answer_temperature,
            "max_tokens": s.answer_max_tokens,
            "seed": self.tools.draw(record.id, "example").randrange(2**31),
        }
        prompt = "label_first" if order == LABEL_FIRST else "instance"
        reply = yield self._request(prompt, {"instruction": record.instruction}, params, _STOPS[s.language])
        record = replace(record, calls=(*record.calls, reply.key))
        if self._late():
            batch.drop(record, "after-target")
        elif fault := unusable(reply):
            batch.drop(record, fault, raw=reply.text)
        else:
            piece = parse_instance(reply.text, order, opened=self.profile.style == "completion")
            record = _completed(record, piece)
            if fault := piece.reason or _instance_fault(piece):
                batch.drop(record, fault, raw=piece.raw)
            else:
                self._finish(record, batch)

    def _kind(
        self, record: Record, batch: Batch
    ) -> Generator[Request, Reply, tuple[Record, tuple[Field, Field]] | None]:
        """The task with its kind, and the order in which an example of that kind is made.

        Asked again once if the reply says neither that it is classification nor that it is not.
        """
        heard: list[str] = []
        for sample in (0, 1):
            reply = yield self._kind_request(record, sample)
            record = replace(record, calls=(*record.calls, reply.key))
            if self._late():
                batch.drop(record, "after-target")
                return None
            heard.append(reply.text)
            if (fault := unusable(reply)) in ("refused", "content-filter"):
                batch.drop(record, str(fault), raw=reply.text)
                return None
            if verdict := _YES_NO.match(reply.text):
                kind, order = ("classification", LABEL_FIRST) if verdict[1] else ("generation", INPUT_FIRST)
                return replace(record, tags={**record.tags, "task_type": kind}), order
            self.pool.notes["asked_again"] += sample == 0
        batch.drop(record, "kind-unclear", replies=heard)
        return None

    def _list_request(self, number: int, shown_tasks: Sequence[Record]) -> Request:
        s = self.settings
        first = len(shown_tasks) + 1
        last = first + s.tasks_per_call - 1
        numbered = list(enumerate(shown_tasks, 1))
        if s.mode == "joint":
            demonstrations = "\n".join(shown(record, n, s.language) for n, record in numbered)
            stops = [f"\n{last + 1}. {LABELS[s.language]['instruction']}"]
        else:
            demonstrations = "\n".join(listed(record, n) for n, record in numbered)
            stops = ["\n\n", f"\n{last + 1}."]
        values = {
            "demonstrations": demonstrations,
            "shown": str(len(shown_tasks)),
            "count": str(s.tasks_per_call),
            "first": str(first),
            "last": str(last),
        }
        params: dict[str, Any] = {
            "temperature": s.temperature,
            "top_p": s.top_p,
            "max_tokens": s.max_tokens,
            "seed": self.tools.draw(str(number), "sampling").randrange(2**31),
        }
        if s.presence_penalty:
            params["presence_penalty"] = s.presence_penalty
        return self._request("list", values, params, stops)

    def _kind_request(self, record: Record, sample: int) -> Request:
        params = {"temperature": 0.0, "max_tokens": _VERDICT_TOKENS[self.profile.style]}
        request = self._request("classification", {"instruction": record.instruction}, params, ["\n"])
        return replace(request, sample=sample)

    def _request(self, prompt: str, values: dict[str, str], params: dict[str, Any], stops: list[str]) -> Request:
        """The prompt in the model's style; only a completion needs to be told where to stop."""
        role, text = self.profile.role, self.prompts[prompt]
        if self.profile.style == "chat":
            return Request(role=role, messages=text.messages(**values), params=params)
        return Request(role=role, prompt=text.render(**values), params={**params, "stop": stops})

    def _derived(self, origin: Record, ordinal: int, piece: Piece) -> Record:
        id = derived_id(self.tools.entry, origin.parents, f"{origin.id}.{ordinal}")
        messages = (Message(role="user", content=piece.instruction),) if piece.instruction else ()
        return _completed(replace(origin, id=id, messages=messages), piece)

    def _late(self) -> bool:
        """Whether the reply came after the pool had closed: it is in the ledger, but not looked at."""
        late = self.pool.full or self.pool.stopped
        self.pool.notes["after_target"] += late
        return late

    def _finish(self, record: Record, batch: Batch) -> None:
        self.pool.finish(record)
        batch.kept.append(record)


def _completed(record: Record, piece: Piece) -> Record:
    answer = (Message(role="assistant", content=piece.output),) if piece.output else ()
    return replace(record, messages=(*record.messages, *answer), input=piece.input or None)


def _instance_fault(piece: Piece) -> str | None:
    """Self-Instruct's rules for an example: the output repeats the input, or one of them stops at a colon."""
    if piece.input and piece.input == piece.output:
        return "output-is-input"
    return "ends-with-colon" if piece.input.endswith((":", "：")) or piece.output.endswith((":", "：")) else None
