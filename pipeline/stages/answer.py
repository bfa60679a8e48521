"""Fill in the answers that records lack."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from typing import ClassVar

from pipeline.answer_request import MAX_TOKENS, TEMPERATURE, answer_request
from pipeline.errors import UsageError
from pipeline.licenses import derived
from pipeline.llm.flow import Flow
from pipeline.llm.request import Profile
from pipeline.prompt import Prompt, load_prompt
from pipeline.record import Drop, Message, Record
from pipeline.stage import Outcome, Stream, Tools
from pipeline.stages.answered import Answered, answered
from pipeline.stages.fates import Fate, settle
from pipeline.stages.languages import letters_of


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Has a model answer the last question of every record that has no final assistant message.

    Records with tool definitions, with tool calls, or with a chosen and a rejected answer are left alone. Reasons to
    drop: `answer-cut-off`, `answer-empty`, `answer-content-filter`, `answer-refused-by-server`, `no-question`.

    Attributes:
        model: role of the model that answers.
        system: system prompt for conversations that have none of their own.
        overwrite: answer again what has an answer; scores of the old answer are taken away with it.
        continue_cut: `continue` in recipes: have an answer that was cut off at max_tokens continued, instead of
            dropping it.
        continue_at_most: how often one answer may be continued.
        window: how many requests may be under way; enters the fingerprint.
        prompt: a chat prompt file whose turns stand in the place of the first question; placeholder {{question}}.
            With one, answers are no longer shared with other stages.
    """

    scope: ClassVar = "dataset"
    batchable: ClassVar[bool] = True

    model: str = "default"
    system: str | None = None
    temperature: float = field(default=TEMPERATURE, metadata={"schema": {"minimum": 0, "maximum": 2}})
    max_tokens: int = field(default=MAX_TOKENS, metadata={"schema": {"minimum": 1}})
    overwrite: bool = False
    continue_cut: bool = field(default=False, metadata={"key": "continue"})
    continue_at_most: int = field(default=3, metadata={"schema": {"minimum": 1}})
    window: int = field(default=256, metadata={"schema": {"minimum": 1}})
    prompt: str | None = field(default=None, metadata={"file": True})

    def __post_init__(self) -> None:
        if self.system and self.prompt:
            raise UsageError("'system' and 'prompt' cannot both be set", "put the system text into the prompt file")

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """The records with their answers, in order."""
        profile = tools.model(self.model)
        self._require_languages(stream, profile)
        yield from settle(stream, lambda record: self._flow(record, profile, tools.seed), tools, self.window)

    @cached_property
    def _own_prompt(self) -> Prompt | None:
        return load_prompt("answer", ("question",), self.prompt) if self.prompt else None

    def _flow(self, record: Record, profile: Profile, seed: int) -> Flow[Fate]:
        if not is_question(record, self.overwrite):
            return Fate(kept=(record,), notes=("left_alone",))
        if not record.question.strip():
            return Fate(drops=(Drop(record=record, reason="no-question"),))
        request = answer_request(
            self._asked(record),
            profile,
            seed=seed,
            system=self.system,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )
        more = self.continue_at_most if self.continue_cut else 0
        language = record.language or ("zh" if letters_of(record.question, "zh") else "en")
        result = yield from answered(request, language, more)
        notes = ("continued",) if len(result.calls) > 1 else ()
        if isinstance(result, Answered):
            filled = with_answer(record, result, profile)
            if self._own_prompt:
                filled = replace(filled, prompt=self._own_prompt.ref)
            return Fate(kept=(filled,), notes=notes)
        tried = replace(record, calls=(*record.calls, *result.calls))
        return Fate(drops=(Drop(record=tried, reason=result.reason, detail=result.detail),), notes=notes)

    def _asked(self, record: Record) -> Record:
        """The record as it is put to the model: with the user's own prompt, if any, in the first question's place."""
        if self._own_prompt is None:
            return record
        turns = self._own_prompt.messages(question=record.question)
        has_system = any(turn.role == "system" for turn in turns)
        messages: list[Message] = []
        placed = False
        for message in record.messages:
            if message.role == "user" and not placed:
                placed = True
                messages.extend(turns)
            elif not (message.role == "system" and has_system):
                messages.append(message)
        messages.sort(key=lambda m: m.role != "system")  # stable: system turns first, all else in order
        return replace(record, messages=tuple(messages), input=None)

    def _require_languages(self, stream: Stream, profile: Profile) -> None:
        """Stop before anything is asked when a model of few languages would have to answer in another."""
        if profile.languages:
            for record in stream.records():
                if record.language not in (None, "und") and is_question(record, self.overwrite):
                    profile.require_language(str(record.language))


def is_question(record: Record, overwrite: bool = False) -> bool:
    """Whether the record is a conversation of plain turns that an answer is missing from (or may be replaced in)."""
    turns = record.messages
    if record.tools or record.chosen is not None or record.rejected is not None:
        return False
    if any(m.tool_calls or m.role == "tool" for m in turns):
        return False
    return overwrite or not any(m.content.strip() for m in _last_answer(record))


def _last_answer(record: Record) -> tuple[Message, ...]:
    """The assistant turns that the conversation ends with."""
    return tuple(takewhile(lambda m: m.role == "assistant", reversed(record.messages)))


def with_answer(record: Record, answer: Answered, profile: Profile) -> Record:
    """The record ending in this answer, under the same id; what was said of an earlier answer is gone."""
    old = _last_answer(record)
    return replace(
        record,
        messages=(*record.messages[: len(record.messages) - len(old)], answer.message),
        scores={} if any(m.content.strip() for m in old) else record.scores,
        model=answer.model or record.model,
        license=derived([record.license], answer.model or record.model, profile.terms),
        calls=(*record.calls, *answer.calls),
    )
