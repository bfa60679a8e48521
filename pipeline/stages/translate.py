"""Bring records into another language."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from pipeline.answer_request import MAX_TOKENS, TEMPERATURE, answer_request
from pipeline.errors import UsageError
from pipeline.licenses import derived
from pipeline.llm.flow import Flow
from pipeline.llm.request import Profile
from pipeline.prompt import load_prompt
from pipeline.record import Drop, Record, derived_id
from pipeline.signals import UNKNOWN, identify
from pipeline.stage import Outcome, Stream, Tools
from pipeline.stages.answer import is_question, with_answer
from pipeline.stages.answered import Answered, answered
from pipeline.stages.fates import Fate, settle
from pipeline.stages.languages import prompt_tongue, require_tag
from pipeline.stages.parts import Place, packed, parts_of, with_texts
from pipeline.stages.translation import wrong_language
from pipeline.stages.translator import Translator, Untranslated

PACK_LETTERS = 6000
"""Parts of one record up to this weight go into one call, so that a task is translated beside its input and answer."""


@dataclass(frozen=True, kw_only=True)
class Translate:
    """Makes of every record one in the language `to`; the source record drops as `superseded`.

    Code, formulas, links, tags and placeholders are taken out before and put back after. A translation is checked for
    them, for its numbers, language and length, and for being an answer instead of a translation; what fails is asked
    for once more and then dropped as `translation-span-lost`, `translation-number-changed`,
    `translation-wrong-language`, `translation-length`, `translation-injected`, `translation-part-lost`,
    `translation-empty`, `translation-cut-off`, `translation-content-filter` or `translation-refused-by-server`; with
    `mode: regenerate` also for the reasons of the answer stage.

    Attributes:
        to: the target language as a BCP 47 tag; records that are in it already are kept as they are.
        mode: `translate` every text, or `regenerate`: translate all but the final answer and have the question
            answered anew in the target language. Records with tools or with chosen and rejected answers are translated.
        keep: the new record only (`child`), or the source record as well (`both`).
        model: role of the model that translates.
        answer_model: role of the model that answers in `regenerate`; the translator when not set.
        answer_temperature: of regenerated answers; equal settings share calls with the answer stage.
        answer_max_tokens: of regenerated answers.
        max_tokens: of one translation call.
        window: how many requests may be under way; enters the fingerprint.
        prompt: a chat prompt file of your own; placeholders {{language}} and {{parts}}.
    """

    scope: ClassVar = "dataset"
    batchable: ClassVar[bool] = True

    to: str
    mode: Literal["translate", "regenerate"] = "translate"
    keep: Literal["child", "both"] = "child"
    model: str = "default"
    answer_model: str | None = field(default=None, metadata={"role": True})
    answer_temperature: float = field(default=TEMPERATURE, metadata={"schema": {"minimum": 0, "maximum": 2}})
    answer_max_tokens: int = field(default=MAX_TOKENS, metadata={"schema": {"minimum": 1}})
    max_tokens: int = field(default=4096, metadata={"schema": {"minimum": 1}})
    window: int = field(default=256, metadata={"schema": {"minimum": 1}})
    prompt: str | None = field(default=None, metadata={"file": True})

    def __post_init__(self) -> None:
        require_tag(self.to)

    def run(self, stream: Stream, tools: Tools) -> Iterator[Outcome]:
        """The translated records, in the order of their sources."""
        profile = tools.model(self.model)
        profile.require_language(self.to)
        if profile.style != "chat":
            raise UsageError(
                f"the model '{profile.model}' (role {profile.role}) continues texts, but translating needs one "
                "that follows instructions",
                "set LLM_BASE_URL, LLM_MODEL and LLM_API_KEY to a chat model, or take the translate entry out",
            )
        answering = tools.model(self.answer_model or self.model)
        if self.mode == "regenerate":
            answering.require_language(self.to)
        translator = self._translator()
        yield from settle(stream, lambda record: self._flow(record, translator, answering, tools), tools, self.window)

    def _translator(self) -> Translator:
        tongue = prompt_tongue(self.to)
        return Translator(
            role=self.model,
            language=self.to,
            tongue=tongue,
            prompt=load_prompt(f"translate.chat.{tongue}", ("language", "parts"), self.prompt),
            repair=load_prompt(f"translate.repair.chat.{tongue}", ("problems", "ids")),
            params={"temperature": 0.0, "max_tokens": self.max_tokens},
        )

    def _flow(self, record: Record, translator: Translator, answering: Profile, tools: Tools) -> Flow[Fate]:
        if record.language == self.to or (record.language or "").startswith(f"{self.to}-"):
            return Fate(kept=(record,), notes=("already_in_language",))
        source = record.language or _measured(record)
        if record.language is None and source == self.to:
            return Fate(kept=(record,), notes=("already_in_language",))
        anew = self.mode == "regenerate" and is_question(record, overwrite=True) and bool(record.question.strip())
        parts = parts_of(record, without_answer=anew)
        if anew and not parts:  # the question is all code: an answer that is there can still be translated
            anew, parts = False, parts_of(record)
        if not parts:
            return Fate(kept=(record,), notes=("nothing_to_translate",))
        child = replace(
            record, id=derived_id(tools.entry, [record.id], 0), parents=(record.id,), language=self.to, scores={}
        )
        child = replace(child, method=self.mode, prompt=translator.prompt.ref)
        texts: dict[Place, str] = {}
        notes: tuple[str, ...] = ("not_regenerated",) if self.mode == "regenerate" and not anew else ()
        for pack in packed(parts, PACK_LETTERS):
            result = yield from translator.translate(pack, source)
            child = replace(child, calls=(*child.calls, *result.calls))
            notes += ("asked_again",) if len(result.calls) > 1 else ()
            if isinstance(result, Untranslated):
                drop = Drop(record=child, reason=result.reason, detail=result.detail)
                return self._fate(record, child, drop, notes)
            texts |= result.texts
            model = result.model or child.model
            license = derived([child.license], model, tools.model(self.model).terms)
            child = replace(child, model=model, license=license)
        child, lost = with_texts(child, texts), None
        if anew:
            child, lost = yield from self._answer(child, answering, tools)
        return self._fate(record, child, lost, notes)

    def _answer(self, child: Record, profile: Profile, tools: Tools) -> Flow[tuple[Record, Drop | None]]:
        """The child with an answer of its own, or why there is none."""
        request = answer_request(
            child, profile, seed=tools.seed, temperature=self.answer_temperature, max_tokens=self.answer_max_tokens
        )
        result = yield from answered(request, self.to)
        if not isinstance(result, Answered):
            child = replace(child, calls=(*child.calls, *result.calls))
            return child, Drop(record=child, reason=result.reason, detail=result.detail)
        child = with_answer(child, result, profile)
        if evidence := wrong_language(child.output, self.to):
            detail = evidence | {"text": child.output, "model": result.model}
            return child, Drop(record=child, reason="translation-wrong-language", detail=detail)
        return child, None

    def _fate(self, record: Record, child: Record, drop: Drop | None, notes: tuple[str, ...]) -> Fate:
        """The books of one record: `keep: both` drops a failed child, else its source drops for that reason."""
        if self.keep == "both":
            kept, drops = ((record, child), ()) if drop is None else ((record,), (drop,))
            return Fate(kept=kept, drops=drops, derived=1, notes=notes)
        if drop is not None:
            return Fate(drops=(replace(drop, record=replace(record, calls=child.calls)),), notes=notes)
        superseded = Drop(record=record, reason="superseded", detail={"by": child.id})
        return Fate(kept=(child,), drops=(superseded,), derived=1, notes=notes)


def _measured(record: Record) -> str | None:
    """The language of the record's texts together, when it can be told."""
    language = identify(["\n".join([m.content for m in record.messages] + [record.input or ""])])["language"][0]
    return None if language == UNKNOWN else str(language)
