"""Have a judge score every answer."""

import heapq
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal

from pipeline.errors import UsageError
from pipeline.llm.flow import Flow
from pipeline.llm.request import Profile
from pipeline.llm.structured import require_json
from pipeline.prompt import load_prompt
from pipeline.record import Drop, Record, digest
from pipeline.stage import Outcome, Stream, Tools
from pipeline.stages.fates import Fate, settle
from pipeline.stages.judge import Judge, Judgement
from pipeline.stages.languages import prompt_tongue
from pipeline.stages.quoted import answer_of
from pipeline.stages.verdict import HIGHEST, LOWEST, NoVerdict

RUBRICS: dict[str, tuple[str, str]] = {"accuracy": ("accuracy", "准确性"), "helpfulness": ("helpfulness", "有用程度")}
"""Dimensions that have a rubric of ours, with their English and Chinese names; AlpaGasus filtered with the first."""

COMPLETION_TOKENS = 8
"""A completion is a number and the line break that stops it."""

VOTES_TEMPERATURE = 0.7
"""At which a judge is asked for several votes: at 0 they would all be one."""

_PLACEHOLDERS = ("dimension", "rubric", "conversation", "answer")
_REASONS = {"content_filter": "judge-content-filter", "refused": "judge-refused-by-server"}


@dataclass(frozen=True, kw_only=True)
class Score:
    """AlpaGasus' filter: a judge gives the final answer of every record 0 to 5 for one dimension, at temperature 0.

    A reply whose first line is no number of the scale (with `reply: json`, one that is no JSON of the form asked for)
    is asked for once more; if that is none either the record drops as `unparsable-score` with both raw replies. Other
    reasons: `nothing-to-score` (no final answer), `judge-content-filter`, `judge-refused-by-server`.

    With several votes each is a judgement of its own, and the score is their mean or median. How far they agree is kept
    as a score `<dimension>_agreement`: 1 when all are the same, 0 when they lie the whole scale apart; so
    `prune: {score: accuracy_agreement, threshold: 0.7}` drops what is disputed by more than 1.5. The record drops
    unless more than half of the votes can be read.

    Attributes:
        model: role of the judge.
        sample: how many records are judged, chosen by a hash of their ids, so that a larger sample holds the smaller
            one; the others pass without a score, counted as `not_sampled`. All are when not set.
        dimension: `accuracy`, `helpfulness`, or a word of your own together with a `rubric`; the score's name.
        rubric: what each score means, in place of ours.
        language: language of the prompts for records whose own is not known.
        reply: `text` has the judge write the number on the first line, `json` an object with its reason and its score;
            servers that can are told to enforce that.
        votes: judgements of each answer; a server that takes `n` makes them in one call.
        verdict: what the score is of several votes.
        temperature: 0 for one vote and 0.7 for several when not set.
        max_tokens: of a judge's reply, its reasoning included.
        window: how many requests may be under way; enters the fingerprint.
        prompt: a prompt file of your own, chat turns for a chat model and plain text for a completion model;
            placeholders {{dimension}}, {{rubric}}, {{conversation}} and {{answer}}. With `reply: json` the form is
            stated behind it.
    """

    scope: ClassVar = "dataset"
    batchable: ClassVar[bool] = True

    model: str = "default"
    sample: int | None = field(default=None, metadata={"schema": {"minimum": 1}})
    dimension: str = field(default="accuracy", metadata={"schema": {"pattern": r"^\w[\w -]*$"}})
    rubric: str | None = None
    language: Literal["en", "zh"] = "en"
    reply: Literal["text", "json"] = "text"
    votes: int = field(default=1, metadata={"schema": {"minimum": 1, "maximum": 64}})
    verdict: Literal["mean", "median"] = "mean"
    temperature: float | None = field(default=None, metadata={"schema": {"minimum": 0, "maximum": 2}})
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
        if self.reply == "json":
            require_json(profile, "reply: json")
        chosen = self._chosen(stream, tools)
        if profile.languages:  # before anything is asked
            for record in stream.records():
                if chosen is not None and record.id not in chosen:
                    continue
                if record.language not in (None, "und") and answer_of(record):
                    profile.require_language(str(record.language))
        judges = {tongue: self._judge(profile, tongue) for tongue in ("en", "zh")}

        def flow(record: Record) -> Flow[Fate]:
            return self._flow(record, judges) if chosen is None or record.id in chosen else _passed(record)

        yield from settle(stream, flow, tools, self.window)

    def _chosen(self, stream: Stream, tools: Tools) -> frozenset[str] | None:
        """Ids of the sample, or None when it is all records."""
        if self.sample is None or self.sample >= stream.rows:
            return None
        ids = (id for block in stream.blocks() for id in block["id"])
        key = partial(digest, "sample", tools.seed, tools.entry)
        return frozenset(heapq.nsmallest(self.sample, ids, key=key))

    def prompts(self, profile: Profile) -> dict[str, str]:
        """`name@hash` of the prompt that a judge gets, by language of the prompt."""
        return {tongue: self._judge(profile, tongue).prompt.ref for tongue in ("en", "zh")}

    def _flow(self, record: Record, judges: Mapping[str, Judge]) -> Flow[Fate]:
        if not answer_of(record):
            return Fate(drops=(Drop(record=record, reason="nothing-to-score"),))
        judgement = yield from judges[prompt_tongue(record.language, self.language)].judge(record)
        keys = dict.fromkeys(reply.key for reply in judgement.replies)
        record = replace(record, calls=(*record.calls, *keys))
        notes = ("asked_again",) if len(judgement.replies) > len(judgement.votes) else ()
        if 2 * len(judgement.scores) > self.votes:
            return Fate(kept=(replace(record, scores={**record.scores, **self._scores(judgement)}),), notes=notes)
        failed = judgement.failed or judgement.replies[-1]
        detail: dict[str, Any] = {
            "why": next(vote.why for vote in judgement.votes if isinstance(vote, NoVerdict)),
            "replies": [reply.text for reply in judgement.replies],
            "model": failed.model,
        }
        if self.votes > 1:
            detail["votes"] = judgement.scores
        reason = _REASONS.get(failed.outcome, "unparsable-score")
        return Fate(drops=(Drop(record=record, reason=reason, detail=detail),), notes=notes)

    def _scores(self, judgement: Judgement) -> dict[str, float]:
        scores = judgement.scores
        if self.votes == 1:
            return {self.dimension: scores[0]}
        score = statistics.fmean(scores) if self.verdict == "mean" else statistics.median(scores)
        agreement = 1 - (max(scores) - min(scores)) / (HIGHEST - LOWEST)
        return {self.dimension: round(score, 4), f"{self.dimension}_agreement": round(agreement, 4)}

    def _judge(self, profile: Profile, tongue: str) -> Judge:
        json = self.reply == "json"
        chat = profile.style == "chat" or json
        style = "json.chat" if json else "chat" if chat else "completion"
        rubric = self.rubric or load_prompt(f"score.rubric.{self.dimension}.{tongue}", (), chat=False).render()
        usual = 0.0 if self.votes == 1 else VOTES_TEMPERATURE
        params: dict[str, Any] = {
            "temperature": usual if self.temperature is None else self.temperature,
            "max_tokens": self.max_tokens if chat else min(self.max_tokens, COMPLETION_TOKENS),
        }
        if not chat:
            params["stop"] = ["\n"]
        repair = "chat" if chat else "completion"
        return Judge(
            profile=profile,
            tongue=tongue,
            dimension=RUBRICS.get(self.dimension, (self.dimension, self.dimension))[tongue == "zh"],
            rubric=rubric.strip(),
            prompt=load_prompt(f"score.{style}.{tongue}", _PLACEHOLDERS, self.prompt, chat=chat),
            repair=load_prompt(f"score.repair.{repair}.{tongue}", () if chat else ("asked", "reply"), chat=chat),
            params=params,
            completes=not chat,
            votes=self.votes,
            json=json,
        )


def _passed(record: Record) -> Flow[Fate]:
    """No judgement at all."""
    return Fate(kept=(record,), notes=("not_sampled",))
    yield
