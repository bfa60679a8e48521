"""Evol-Instruct: each task made harder or rarer, round by round, and failed evolutions eliminated."""

from collections import Counter, deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, cast

from pipeline.answer_request import MAX_TOKENS, TEMPERATURE, answer_request
from pipeline.errors import UsageError
from pipeline.licenses import derived
from pipeline.llm.flow import Flow, Unavailable, converse
from pipeline.llm.request import Profile, Reply, Request
from pipeline.prompt import Prompt, load_prompt
from pipeline.record import Drop, Message, Record, derived_id
from pipeline.stage import Outcome, Stream, Tools
from pipeline.stages.answered import Answered, answered
from pipeline.stages.comparison import Comparison
from pipeline.stages.elimination import answer_fault, copied, text_fault
from pipeline.stages.task_markup import Language
from pipeline.stages.unusable import unusable

OPERATORS = ("add_constraints", "deepen", "concretize", "add_reasoning", "complicate_input", "broaden")
"""WizardLM's operators: five that go into depth, and one into breadth."""

_LASTING_TAGS = ("category", "topic", "domain", "subject")
"""What remains true of a task when it is rewritten; its difficulty, verb and kind may not."""

_STOPS = {"en": ["\nTask:", "\n\n"], "zh": ["\n任务：", "\n\n"]}

_ROOTS = 200
"""Incoming records whose lineages make up one outcome."""


@dataclass(slots=True)
class Lineage:
    """What became of one incoming record."""

    root: Record
    kept: list[Record] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    derived: int = 0
    notes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class EvolInstruct:
    """Evolves every incoming task by one operator a round.

    A child is a new record with its own answer; it never inherits the parent's. An evolution that fails is a drop with
    the evidence, and the parent tries again in the next round. Records that are no single question (several turns,
    tools, preference data) pass unchanged, counted as `not_evolvable`.

    Source: Xu et al., WizardLM (2023): six operators at equal probability, 4 rounds, temperature 1 and top_p 0.95.

    Attributes:
        operators: weight of each operator that may be chosen.
        rounds: evolutions in a row; each starts from the latest child.
        keep: `all` keeps every generation; `last` only the latest, its forebears being dropped as `superseded`.
        answer: ask for the child's answer at once. Without it two of the four eliminations cannot be made, and an
            answer stage must follow.
        language: of the prompts and the tasks.
        prompt: file used in place of our prompts, whatever the operator; see `{{task}}` and `{{operator}}`.
        judge: role of the model that is asked whether a child demands more than its parent; `none` for no judge.
        judge_reply: `text` has the judge say one word, `json` name the difference first and then give its verdict.
        window: calls under way at once.
        temperature: for evolving; `top_p` and `max_tokens` likewise.
        judge_max_tokens: room for a verdict; a reasoning judge needs more.
        answer_system: system message for the answers.
    """

    scope: ClassVar[Literal["dataset"]] = "dataset"
    batchable: ClassVar[bool] = True

    operators: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(OPERATORS, 1.0),
        metadata={"schema": {"propertyNames": {"enum": list(OPERATORS)}, "minProperties": 1}},
    )
    rounds: int = field(default=1, metadata={"schema": {"minimum": 1}})
    keep: Literal["all", "last"] = "all"
    answer: bool = True
    language: Language = "en"
    model: str = "default"
    judge: str | None = field(default="default", metadata={"role": True})
    judge_reply: Literal["text", "json"] = "text"
    window: int = field(default=64, metadata={"schema": {"minimum": 1}})
    prompt: str | None = field(default=None, metadata={"file": True})
    temperature: float = 1.0
    top_p: float = 0.95
    max_tokens: int = field(default=2048, metadata={"schema": {"minimum": 1}})
    judge_max_tokens: int = field(default=256, metadata={"schema": {"minimum": 1}})
    answer_system: str | None = None
    answer_temperature: float = TEMPERATURE
    answer_max_tokens: int = field(default=MAX_TOKENS, metadata={"schema": {"minimum": 1}})

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.operators) - set(OPERATORS)):
            raise UsageError(f"unknown operator '{unknown[0]}'", f"operators: {', '.join(OPERATORS)}")
        if min(self.operators.values(), default=0.0) < 0 or sum(self.operators.values()) <= 0:
            raise UsageError("the operators' weights must not be negative, and one must be above 0")

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """Each record followed by its descendants, in the order of the rounds."""
        evolution = _Evolution(self, tools)
        waiting: deque[Record] = deque()

        def flows() -> Iterator[Flow[Lineage]]:
            for record in stream.records():
                waiting.append(record)
                yield evolution.lineage(record)

        tools.progress(0, stream.rows)
        done: list[Lineage] = []
        unavailable: list[str] = []
        results = cast(Generator[Lineage | Unavailable, None, None], converse(tools.llm, flows(), self.window))
        with closing(results):
            for number, result in enumerate(results, 1):
                root = waiting.popleft()
                if isinstance(result, Unavailable):
                    unavailable.append(root.id)
                else:
                    done.append(result)
                tools.progress(number, stream.rows)
                if number % _ROOTS == 0:
                    yield _outcome(done, unavailable)
                    done, unavailable = [], []
        yield _outcome(done, unavailable)


class _Evolution:
    """The flows of one run of the stage."""

    def __init__(self, stage: EvolInstruct, tools: Tools) -> None:
        self.stage = stage
        self.tools = tools
        self.profile = tools.model(stage.model)
        self.profile.require_language(stage.language)
        self.operators = [name for name in OPERATORS if stage.operators.get(name)]
        self.weights = [stage.operators[name] for name in self.operators]
        style = self.profile.style
        self.prompts = {
            name: load_prompt(
                f"evol_instruct.{name}.{style}.{stage.language}",
                ("task", "operator"),
                stage.prompt,
                chat=style == "chat",
            )
            for name in self.operators
        }
        self.judge: Comparison | None = None
        if stage.judge not in (None, "none"):
            profile, json = tools.model(str(stage.judge)), stage.judge_reply == "json"
            self.judge = Comparison.of(profile, stage.language, max_tokens=stage.judge_max_tokens, json=json)

    def lineage(self, root: Record) -> Flow[Lineage]:
        """The rounds of one record."""
        lineage = Lineage(root)
        family = [root]
        if _evolvable(root):
            for number in range(1, self.stage.rounds + 1):
                child = yield from self._child(root, family[-1], number, lineage)
                if child:
                    family.append(child)
        else:
            lineage.notes["not_evolvable"] += 1
        lineage.kept = family if self.stage.keep == "all" else family[-1:]
        superseded = family[: len(family) - len(lineage.kept)]
        for parent, child in zip(superseded, family[1:], strict=False):
            lineage.drops.append(Drop(record=parent, reason="superseded", detail={"by": child.id}))
        return lineage

    def _child(
        self, root: Record, parent: Record, number: int, lineage: Lineage
    ) -> Generator[Request, Reply, Record | None]:
        """One evolution: the child, or None when it failed and has been dropped."""
        stage = self.stage
        dice = self.tools.draw(root.id, f"operator {number}")
        operator = dice.choices(self.operators, self.weights)[0]
        prompt = self.prompts[operator]
        reply = yield self._evolve_request(parent, operator, number)
        lineage.derived += 1
        text = reply.text.strip()
        child = self._record(parent, operator, number, text, reply)

        def fail(reason: str, **detail: Any) -> None:
            lineage.drops.append(Drop(record=child, reason=reason, detail={"operator": operator, **detail}))

        fault = unusable(reply)
        fault = (
            "empty" if fault == "empty-output" else fault or text_fault(parent.question, text, prompt, stage.language)
        )
        if fault:
            leak = copied(parent.question, text, prompt, stage.language) if fault == "prompt-leak" else None
            fail(fault, of="task", parent=parent.id, **({"words": leak} if leak else {}))
            return None
        if self.judge:
            equal, heard = yield from self.judge.judged(parent.question, child.question)
            lineage.notes["asked_again"] += len(heard) - 1
            child = replace(child, calls=(*child.calls, *(r.key for r in heard)))
            if equal is not False:
                fail("no-gain" if equal else "verdict-unclear", parent=parent.id, replies=[r.text for r in heard])
                return None
        if not stage.answer:
            return child
        result = yield from answered(self._answer_request(child), stage.language)
        child = replace(child, calls=(*child.calls, *result.calls))
        if not isinstance(result, Answered):
            fail(result.reason, of="answer", **result.detail)
            return None
        child = replace(child, messages=(*child.messages, result.message))
        if fault := answer_fault(result.message.content, stage.language):
            fail(fault, of="answer")
            return None
        return child

    def _record(self, parent: Record, operator: str, number: int, text: str, reply: Reply) -> Record:
        system = tuple(m for m in parent.messages if m.role == "system")
        lasting = {key: value for key, value in parent.tags.items() if key in _LASTING_TAGS}
        return Record(
            id=derived_id(self.tools.entry, (parent.id,), number),
            messages=(*system, Message(role="user", content=text)) if text else system,
            language=parent.language or self.stage.language,
            tags={**lasting, "operator": operator, "round": str(number)},
            source="evol-instruct",
            method=operator,
            parents=(parent.id,),
            model=reply.model,
            prompt=self.prompts[operator].ref,
            license=derived([parent.license], reply.model, self.profile.terms),
            calls=(reply.key,),
        )

    def _evolve_request(self, parent: Record, operator: str, number: int) -> Request:
        stage = self.stage
        params = {
            "temperature": stage.temperature,
            "top_p": stage.top_p,
            "max_tokens": stage.max_tokens,
            "seed": self.tools.draw(parent.id, f"evolve {number}").randrange(2**31),
        }
        values = {"task": parent.question, "operator": operator}
        return _request(self.profile, self.prompts[operator], values, params, _STOPS[stage.language])

    def _answer_request(self, child: Record) -> Request:
        return answer_request(
            child,
            self.profile,
            seed=self.tools.seed,
            system=self.stage.answer_system,
            temperature=self.stage.answer_temperature,
            max_tokens=self.stage.answer_max_tokens,
        )


def _request(
    profile: Profile, prompt: Prompt, values: dict[str, str], params: dict[str, Any], stops: list[str]
) -> Request:
    """The prompt in the model's style; only a completion needs to be told where to stop."""
    if profile.style == "chat":
        return Request(role=profile.role, messages=prompt.messages(**values), params=params)
    return Request(role=profile.role, prompt=prompt.render(**values), params={**params, "stop": stops})


def _evolvable(record: Record) -> bool:
    """Whether the record is one question, perhaps with its answer."""
    roles = [m.role for m in record.messages if m.role != "system"]
    single = roles in (["user"], ["user", "assistant"]) and bool(record.question.strip())
    preference = (record.chosen, record.rejected, record.label) != (None, None, None)
    return single and record.tools is None and not preference


def _outcome(lineages: list[Lineage], unavailable: list[str]) -> Outcome:
    notes = Counter[str]()
    for lineage in lineages:
        notes.update(lineage.notes)
    return Outcome.of(
        [record for lineage in lineages for record in lineage.kept],
        [drop for lineage in lineages for drop in lineage.drops],
        derived=sum(lineage.derived for lineage in lineages),
        notes={name: notes[name] for name in sorted(notes) if notes[name]},
        unavailable=tuple(unavailable),
    )
