"""Unsafe content: found by a moderations endpoint, or by a judge over BeaverTails' categories."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, cast

from pipeline.errors import UsageError
from pipeline.llm.each import Said, said_of
from pipeline.llm.flow import Flow, Unavailable
from pipeline.llm.request import Profile, Reply, Request
from pipeline.llm.structured import Unparsed, ask_json, require_json
from pipeline.prompt import Prompt, load_prompt
from pipeline.record import Drop, Record
from pipeline.stage import Outcome, Stream, Tools
from pipeline.stages.fates import Fate, gathered, settle
from pipeline.stages.harms import FORM, NAMES, rubric
from pipeline.stages.languages import prompt_tongue
from pipeline.stages.moderation import Finding, Policy, evidence, slug
from pipeline.stages.pieces import pieces
from pipeline.stages.quoted import quoted
from pipeline.stages.sides import Side, answer_in, shown, text_of

_FAILED = {"refused": "moderation-refused", "content_filter": "moderation-content-filter"}
_JUDGE_FAILED = {"refused": "judge-refused-by-server", "content_filter": "judge-content-filter"}
_PLACEHOLDERS = ("categories", "conversation", "answer")


@dataclass(frozen=True, kw_only=True)
class Moderate:
    """Finds unsafe records, and drops or tags them; nothing passes as safe that has not been judged.

    `by: judge` asks a chat model which of BeaverTails' 14 kinds of harm (Ji et al., 2023) apply: animal-abuse,
    child-abuse, controversial-topics, discrimination, drugs-weapons, financial-crime, hate-speech, misinformation,
    unethical-behavior, privacy-violation, self-harm, sexual-content, terrorism, violence. `by: endpoint` asks a server
    of OpenAI's `/v1/moderations`, which has categories of its own, such as `harassment/threatening`.

    Every judged record gets a score `safety`: 1 less the highest score of a category that is not allowed (a judge's
    is 1 or 0), so that `prune: {score: safety, threshold: 0.9}` is stricter afterwards at no cost. A drop's reason is
    `unsafe-` and its surest category; all that count are in the detail. Other reasons: `nothing-to-moderate` (that side
    is empty), `unparsable-moderation` (no verdict, asked twice), `judge-refused-by-server`, `judge-content-filter`,
    `moderation-refused`, `moderation-content-filter`.

    Attributes:
        model: role of the judge, or of the endpoint's model (`omni-moderation-latest` at OpenAI).
        by: `judge` or `endpoint`.
        side: what is judged: the `question` (all that the user and the system say, with the input), the `answer` (the
            final one, or the preferred one of a pair; a judge sees what was asked), or the whole `conversation`.
            A rejected answer is not looked at.
        action: `drop`, or `tag` to keep every record and give unsafe ones a tag `unsafe` that lists the categories.
        allow: categories that never count.
        threshold: of the endpoint's scores, from which a category counts; the server's own verdict when not set.
        thresholds: the same for single categories, as in {violence: 0.8, sexual/minors: 0.1}.
        piece: characters of a text that the endpoint is given at once; a longer one is cut where a sentence ends, and
            the worst piece counts. OpenAI advised at most 2,000.
        texts_per_call: how many texts one call to the endpoint holds at most, when its server takes fewer than we know.
        language: language of the judge's prompts for records whose own is not known.
        max_tokens: of a judge's reply, its reasoning included.
        window: how many calls may be under way; enters the fingerprint.
        prompt: a prompt file of your own for the judge, in chat turns; placeholders {{categories}}, {{conversation}}
            and {{answer}}. The form of the reply is stated behind it.
    """

    scope: ClassVar = "dataset"
    batchable: ClassVar[bool] = True

    model: str = "default"
    by: Literal["judge", "endpoint"] = "judge"
    side: Side = "conversation"
    action: Literal["drop", "tag"] = "drop"
    allow: tuple[str, ...] = ()
    threshold: float | None = field(default=None, metadata={"schema": {"exclusiveMinimum": 0, "maximum": 1}})
    thresholds: Mapping[str, float] = field(default_factory=dict)
    piece: int = field(default=2000, metadata={"schema": {"minimum": 100}})
    texts_per_call: int | None = field(default=None, metadata={"schema": {"minimum": 1}})
    language: Literal["en", "zh"] = "en"
    max_tokens: int = field(default=512, metadata={"schema": {"minimum": 1}})
    window: int = field(default=256, metadata={"schema": {"minimum": 1}})
    prompt: str | None = field(default=None, metadata={"file": True})

    def __post_init__(self) -> None:
        if self.by == "endpoint" and self.prompt is not None:
            raise UsageError("moderate: an endpoint is sent no prompt", "leave 'prompt' out, or set 'by: judge'")
        if self.by == "endpoint":
            if wrong := [name for name, bound in self.thresholds.items() if not 0 < bound <= 1]:
                raise UsageError(f"moderate: the threshold of '{wrong[0]}' is not above 0 and at most 1")
            return
        if self.threshold is not None or self.thresholds:
            raise UsageError("moderate: a judge gives no scores to compare with", "set 'by: endpoint', or use 'allow'")
        if unknown := [name for name in self.allow if name not in NAMES]:
            raise UsageError(f"moderate: there is no category '{unknown[0]}'", f"they are: {', '.join(NAMES)}")

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """The records that pass with their score, in order."""
        profile = tools.model(self.model)
        if self.by == "endpoint":
            yield from gathered(self._moderated(stream, tools, profile), tools, stream.rows)
            return
        require_json(profile, "by: judge")
        prompts = {tongue: self._prompt(tongue) for tongue in ("en", "zh")}
        yield from settle(stream, lambda record: self._judged(record, profile, prompts), tools, self.window)

    def _policy(self) -> Policy:
        return Policy(allow=frozenset(self.allow), thresholds=self.thresholds, threshold=self.threshold)

    def _moderated(self, stream: Stream, tools: Tools, profile: Profile) -> Iterator[tuple[str, Fate | Unavailable]]:
        def groups() -> Iterator[tuple[Record, tuple[str, ...]]]:
            for record in stream.records():
                yield record, tuple(pieces(text_of(record, self.side), self.piece))

        def request(texts: tuple[str, ...]) -> Request:
            return Request(role=self.model, moderate=texts)

        most = min(profile.texts, self.texts_per_call or profile.texts)
        with closing(cast(Any, said_of(tools.llm, groups(), request, most, self.window))) as results:
            for record, said in results:
                yield record.id, said if isinstance(said, Unavailable) else self._of_endpoint(record, said)

    def _of_endpoint(self, record: Record, said: tuple[Said, ...]) -> Fate:
        if not said:
            return Fate(drops=(Drop(record=record, reason="nothing-to-moderate"),))
        record = _with_calls(record, [one.reply for one in said])
        failed = next((one.reply for one in said if one.moderation is None), None)
        found = [one.moderation for one in said if one.moderation is not None]
        finding = self._policy().of_pieces(found) if found else Finding(counted={}, allowed=(), safety=1.0)
        if failed is not None and not finding.counted:
            detail = {"why": failed.text, "model": failed.model}
            return Fate(drops=(Drop(record=record, reason=_FAILED[failed.outcome], detail=detail),))
        return self._fate(record, finding, model=said[0].reply.model)

    def _judged(self, record: Record, profile: Profile, prompts: Mapping[str, Prompt]) -> Flow[Fate]:
        if not text_of(record, self.side):
            return Fate(drops=(Drop(record=record, reason="nothing-to-moderate"),))
        tongue = prompt_tongue(record.language, self.language)
        messages = prompts[tongue].messages(
            categories=rubric(tongue).strip(),
            conversation=shown(record, self.side, tongue),
            answer=quoted(answer_in(record)),
        )
        params = {"temperature": 0.0, "max_tokens": self.max_tokens}
        verdict = yield from ask_json(Request(role=profile.role, messages=messages, params=params), FORM, tongue)
        record = _with_calls(record, verdict.replies)
        last = verdict.replies[-1]
        notes = ("asked_again",) if len(verdict.replies) > 1 else ()
        if isinstance(verdict, Unparsed):
            reason = _JUDGE_FAILED.get(last.outcome, "unparsable-moderation")
            told = {"why": verdict.why, "replies": [reply.text for reply in verdict.replies], "model": last.model}
            return Fate(drops=(Drop(record=record, reason=reason, detail=told),), notes=notes)
        finding = self._policy().of_names(verdict.value["categories"])
        fate = self._fate(record, finding, why=verdict.value["reason"], model=last.model)
        return replace(fate, notes=(*fate.notes, *notes))

    def _fate(self, record: Record, finding: Finding, **further: Any) -> Fate:
        record = replace(record, scores={**record.scores, "safety": finding.safety})
        worst = next(iter(finding.counted), None)
        if worst is None:
            return Fate(kept=(record,), notes=("kept_as_allowed",) if finding.allowed else ())
        if self.action == "drop":
            detail = evidence(finding, **further)
            return Fate(drops=(Drop(record=record, reason=f"unsafe-{slug(worst)}", detail=detail),))
        tagged = replace(record, tags={**record.tags, "unsafe": ", ".join(sorted(finding.counted))})
        return Fate(kept=(tagged,), notes=(f"unsafe_{slug(worst).replace('-', '_')}",))

    def _prompt(self, tongue: str) -> Prompt:
        return load_prompt(f"moderate.{self.side}.chat.{tongue}", _PLACEHOLDERS, self.prompt)


def _with_calls(record: Record, replies: "list[Reply] | tuple[Reply, ...]") -> Record:
    return replace(record, calls=(*record.calls, *dict.fromkeys(reply.key for reply in replies)))
