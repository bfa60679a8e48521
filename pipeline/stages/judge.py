"""One conversation with a judge: the question, its verdict, and one more asking when there is none."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.llm.flow import Flow
from pipeline.llm.request import Reply, Request
from pipeline.prompt import Prompt
from pipeline.record import Message, Record
from pipeline.stages.quoted import HEADINGS, answer_of, on_one_line, quoted, turns_before_answer
from pipeline.stages.verdict import NoVerdict, read_verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said in the end, and every reply it gave."""

    verdict: float | NoVerdict
    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Who judges what, and how it is asked in one language.

    Attributes:
        role: the model's role.
        tongue: language of the prompts, en or zh.
        prompt: chat turns, or plain text when `completes`.
        repair: the turn, or the text, of the second asking.
        params: of every request.
        completes: whether the model continues a text instead of following instructions.
    """

    role: str
    tongue: str
    dimension: str
    rubric: str
    prompt: Prompt
    repair: Prompt
    params: Mapping[str, Any]
    completes: bool

    def judge(self, record: Record) -> Flow[Judgement]:
        """Ask for a score of the record's final answer; once more when the first reply holds none."""
        request = self._request(record)
        reply = yield request
        first = _read(reply)
        if not isinstance(first, NoVerdict) or reply.outcome not in ("ok", "length"):
            return Judgement(first, (reply,))
        again = yield self._once_more(request, reply)
        return Judgement(_read(again), (reply, again))

    def _request(self, record: Record) -> Request:
        asked = {"dimension": self.dimension, "rubric": self.rubric}
        if self.completes:
            conversation, answer = self._turns_on_one_line(record), on_one_line(answer_of(record))
            text = self.prompt.render(conversation=conversation, answer=answer, **asked)
            return Request(role=self.role, prompt=text, params=dict(self.params))
        conversation, answer = turns_before_answer(record, self.tongue), quoted(answer_of(record))
        messages = self.prompt.messages(conversation=conversation, answer=answer, **asked)
        return Request(role=self.role, messages=messages, params=dict(self.params))

    def _once_more(self, request: Request, reply: Reply) -> Request:
        """The judge is shown its reply and told the form; a completion goes on below it."""
        if request.prompt is not None:
            text = self.repair.render(asked=request.prompt, reply=on_one_line(reply.text))
            return replace(request, prompt=text)
        said = Message(role="assistant", content=reply.text)
        return replace(request, messages=(*request.messages, said, *self.repair.messages()))

    def _turns_on_one_line(self, record: Record) -> str:
        """The question alone, or every turn behind its speaker's name when there are several."""
        turns = record.messages[:-1]
        if len(turns) == 1:
            return on_one_line(record.question)
        names = HEADINGS[self.tongue]
        return on_one_line("\n".join(f"{names.get(m.role, m.role)}: {m.content or m.tool_calls or ''}" for m in turns))


def _read(reply: Reply) -> float | NoVerdict:
    if reply.outcome not in ("ok", "length"):
        return NoVerdict(reply.outcome)
    return read_verdict(reply.text, cut_off=reply.outcome == "length")
