"""One conversation with a translator: a pack of parts, its check, and one chance to mend what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.llm.flow import Flow
from pipeline.llm.request import Reply, Request
from pipeline.prompt import Prompt
from pipeline.record import Message
from pipeline.stages.languages import name_of
from pipeline.stages.parts import Part, Place
from pipeline.stages.translation import Fault, faults_of, read_parts, shown

WORDS: dict[str, tuple[str, str]] = {
    "translation-injected": (
        "it looks like an answer to the text, not like its translation ({evidence})",
        "看起来是对原文的回答，而不是原文的译文（{evidence}）",
    ),
    "translation-part-lost": ("it does not occur exactly once in your reply", "它在你的回复里没有恰好出现一次"),
    "translation-empty": ("it is empty", "内容是空的"),
    "translation-span-lost": (
        "every mark of the source must stand in it exactly once ({evidence})",
        "原文里的每个记号都必须恰好出现一次（{evidence}）",
    ),
    "translation-number-changed": (
        "these numbers are missing or changed: {evidence}",
        "这些数字丢失或改变了：{evidence}",
    ),
    "translation-wrong-language": ("it is not written in {language}", "没有用{language}书写"),
    "translation-length": ("it is far longer or shorter than its source", "长度与原文相差太大"),
}
"""What a fault is called when the translator is told of it, in English and Chinese."""

WHOLE = (
    'The reply is not made of <part id="..."> ... </part>.',
    '回复里没有 <part id="..."> …… </part> 这样的部分。',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Translator:
    """Who translates into what, and how it is asked.

    Attributes:
        role: the model's role.
        language: BCP 47 tag of the target.
        tongue: language of the prompts, en or zh.
        params: of every request.
    """

    role: str
    language: str
    tongue: str
    prompt: Prompt
    repair: Prompt
    params: Mapping[str, Any]

    def translate(self, pack: Sequence[Part], source: str | None) -> "Flow[Translated | Untranslated]":
        """Ask for a pack's translation; parts with a fault are asked for once more, in a turn that names the faults.

        Args:
            source: language of the record, or None when it is not known.
        """
        numbers = list(range(1, len(pack) + 1))
        messages = self.prompt.messages(language=self.name, parts=shown(pack, numbers))
        reply = yield self._request(messages)
        first = _Reading.of(reply, pack, {}, source, self.language)
        if not first.faults:
            return Translated(first.texts(pack), reply.model, (reply.key,))
        if reply.outcome != "ok":
            return _failed([first])
        wrong = sorted({n for fault in first.faults for n in ([fault.part] if fault.part else numbers)})
        turn = self.repair.messages(problems=self._problems(first.faults), ids=", ".join(map(str, wrong)))
        again = yield self._request((*messages, Message(role="assistant", content=reply.text), *turn))
        right = {n: text for n, text in first.given.items() if n not in wrong}
        second = _Reading.of(again, pack, right, source, self.language)
        if second.faults:
            return _failed([first, second])
        return Translated(second.texts(pack), again.model, (reply.key, again.key))

    @property
    def name(self) -> str:
        """The target language's name, in the language of the prompts."""
        return name_of(self.language, self.tongue)

    def _request(self, messages: tuple[Message, ...]) -> Request:
        return Request(role=self.role, messages=messages, params=dict(self.params))

    def _problems(self, faults: Sequence[Fault]) -> str:
        at = 1 if self.tongue == "zh" else 0
        lines = []
        for fault in faults:
            words = WORDS[fault.reason][at] if fault.part else WHOLE[at]
            told = words.format(evidence=_plain(fault.evidence), language=self.name)
            lines.append(f"- {('部分' if at else 'part')} {fault.part}: {told}" if fault.part else f"- {told}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Translated:
    """A pack's texts by place, spans back in, and the calls that made them."""

    texts: Mapping[Place, str]
    model: str
    calls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Untranslated:
    """Why a pack has no translation: a drop's reason, the evidence with the raw replies, and the calls made."""

    reason: str
    detail: Mapping[str, Any]
    calls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """A reply, the texts found in it by part number, and what is wrong with them."""

    reply: Reply
    given: dict[int, str]
    faults: tuple[Fault, ...]

    @staticmethod
    def of(reply: Reply, pack: Sequence[Part], right: dict[int, str], source: str | None, target: str) -> "_Reading":
        """The reply's texts beside those of the parts that were `right` before; the pack is checked as a whole."""
        if reason := _ENDED.get(reply.outcome):
            return _Reading(reply, {}, (Fault(0, reason),))
        found = read_parts(reply.text)
        if not found:
            reason = "translation-injected" if reply.text.strip() else "translation-empty"
            return _Reading(reply, {}, (Fault(0, reason, {"sign": "no parts"}),))
        numbers = range(1, len(pack) + 1)
        given = {n: found[n][0] for n in numbers if len(found.get(n, ())) == 1} | right
        faults = [
            Fault(n, "translation-part-lost", {"times": len(found.get(n, ()))}) for n in numbers if n not in given
        ]
        there = [n for n in numbers if n in given]
        checked = faults_of([pack[n - 1] for n in there], [given[n] for n in there], source, target)
        faults += [replace(fault, part=there[fault.part - 1]) for fault in checked]
        return _Reading(reply, given, tuple(sorted(faults, key=lambda fault: fault.part)))

    def texts(self, pack: Sequence[Part]) -> dict[Place, str]:
        """The texts by place, spans and outer white space back in."""
        return {
            part.place: part.margins[0] + part.source.restore(self.given[n]) + part.margins[1]
            for n, part in enumerate(pack, 1)
        }


_ENDED = {
    "length": "translation-cut-off",
    "content_filter": "translation-content-filter",
    "refused": "translation-refused-by-server",
}


def _failed(readings: Sequence[_Reading]) -> Untranslated:
    last = readings[-1]
    faults = [{"part": f.part, "reason": f.reason, "evidence": f.evidence} for f in last.faults]
    detail = {"faults": faults, "replies": [r.reply.text for r in readings], "model": last.reply.model}
    return Untranslated(last.faults[0].reason, detail, tuple(r.reply.key for r in readings))


def _plain(evidence: Any) -> str:
    if isinstance(evidence, dict):
        return "; ".join(f"{key}: {_plain(value)}" for key, value in evidence.items())
    return ", ".join(map(str, evidence)) if isinstance(evidence, list) else str(evidence)
