"""Have a judge score every answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from pipeline.errors import UsageError
from pipeline.llm.flow import Flow
from pipeline.llm.request import Profile
from pipeline.prompt import load_prompt
from pipeline.record import Drop, Record
from pipeline.stage import Outcome, Stream, Tools
from pipeline.stages.fates import Fate, settle
from pipeline.stages.judge import Judge
from pipeline.stages.languages import prompt_tongue
from pipeline.stages.quoted import answer_of
from pipeline.stages.verdict import NoVerdict

RUBRICS: dict[str, tuple[str, str]] = {"accuracy": ("accuracy", "准确性"), "helpfulness": ("helpfulness", "有用程度")}
"""Dimensions that have a rubric of ours, with their English and Chinese names; AlpaGasus filtered with the first."""

COMPLETION_TOKENS = 8
"""A completion is a number and the line break that stops it."""

_PLACEHOLDERS = ("dimension", "rubric", "conversation", "answer")
_REASONS = {"content_filter": "judge-content-filter", "refused": "judge-refused-by-server"}


@dataclass(frozen=True, kw_only=True)
class Score:
    """AlpaGasus' filter: a judge gives the final answer of every record 0 to 5 for one dimension, at temperature 0.

    A reply whose first line is no number of the scale is asked for once more; if that is none either the record drops
    as `unparsable-score` with both raw replies. Other reasons: `nothing-to-score` (no final answer),
    `judge-content-filter`, `judge-refused-by-server`.

    Attributes:
        model: role of the judge.
        dimension: `accuracy`, `helpfulness`, or a word of your own together with a `rubric`; the score's name.
        rubric: what each score means, in place of ours.
        language: language of the prompts for records whose own is not known.
        max_tokens: of a judge's reply, its reasoning included.
        window: how many requests may be under way; enters the fingerprint.
        prompt: a prompt file of your own, chat turns for a chat model and plain text for a completion model;
            placeholders {{dimension}}, {{rubric}}, {{conversation}} and {{answer}}.
    """

    scope: ClassVar = "dataset"

    model: str = "default"
    dimension: str = field(default="accuracy", metadata={"schema": {"pattern": r"^\w[\w -]*$"}})
    rubric: str | None = None
    language: Literal["en", "zh"] = "en"
    max_tokens: int = field(default=512, metadata={"schema": {"minimum": 1}})
    window: int = field(default=256, metadata={"schema": {"minimum": 1}})
    prompt: str | None = field(default=None, metadata={"file": True})

    def __post_init__(self) -> None:
        if self.rubric is None and self.dimension not in RUBRICS:
            raise UsageError(
                f"there is no rubric for the dimension '{self.dimension}'",
                f"say in 'rubric:' what each score from 0 to 5 means, or use one of: {', '.join(RUBRICS)}",
            )

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """The records with their scores, in order."""
        profile = tools.model(self.model)
        if profile.languages:  # before anything is asked
            for record in stream.records():
                if record.language not in (None, "und") and answer_of(record):
                    profile.require_language(str(record.language))
        judges = {tongue: self._judge(profile, tongue) for tongue in ("en", "zh")}
        yield from settle(stream, lambda record: self._flow(record, judges), tools, self.window)

    def _flow(self, record: Record, judges: Mapping[str, Judge]) -> Flow[Fate]:
        if not answer_of(record):
            return Fate(drops=(Drop(record=record, reason="nothing-to-score"),))
        judgement = yield from judges[prompt_tongue(record.language, self.language)].judge(record)
        verdict, replies = judgement.verdict, judgement.replies
        record = replace(record, calls=(*record.calls, *(reply.key for reply in replies)))
        notes = ("asked_again",) if len(replies) > 1 else ()
        if not isinstance(verdict, NoVerdict):
            return Fate(kept=(replace(record, scores={**record.scores, self.dimension: verdict}),), notes=notes)
        reason = _REASONS.get(replies[-1].outcome, "unparsable-score")
        detail: dict[str, Any] = {"why": verdict.why, "replies": [r.text for r in replies], "model": replies[-1].model}
        return Fate(drops=(Drop(record=record, reason=reason, detail=detail),), notes=notes)

    def _judge(self, profile: Profile, tongue: str) -> Judge:
        style = "chat" if profile.style == "chat" else "completion"
        chat = style == "chat"
        rubric = self.rubric or load_prompt(f"score.rubric.{self.dimension}.{tongue}", (), chat=False).render()
        params: dict[str, Any] = {"temperature": 0.0, "max_tokens": self.max_tokens}
        if not chat:
            params = {"temperature": 0.0, "max_tokens": min(self.max_tokens, COMPLETION_TOKENS), "stop": ["\n"]}
        return Judge(
            role=self.model,
            tongue=tongue,
            dimension=RUBRICS.get(self.dimension, (self.dimension, self.dimension))[tongue == "zh"],
            rubric=rubric.strip(),
            prompt=load_prompt(f"score.{style}.{tongue}", _PLACEHOLDERS, self.prompt, chat=chat),
            repair=load_prompt(f"score.repair.{style}.{tongue}", () if chat else ("asked", "reply"), chat=chat),
            params=params,
            completes=not chat,
        )
