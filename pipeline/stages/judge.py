"""One conversation with a judge: the question, its verdicts, and one more asking where there is none."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.llm.flow import Flow
from pipeline.llm.request import Profile, Reply, Request
from pipeline.llm.samples import several
from pipeline.llm.structured import Form, Parsed, asking, closed, settled
from pipeline.prompt import Prompt
from pipeline.record import Message, Record
from pipeline.stages.quoted import HEADINGS, answer_of, on_one_line, quoted, turns_before_answer
from pipeline.stages.verdict import HIGHEST, LOWEST, NoVerdict, read_verdict

FORM = Form(
    "grade",
    closed(reason={"type": "string"}, score={"type": "number", "minimum": LOWEST, "maximum": HIGHEST}),
)
"""A judge's reply in JSON: what decided it first, so that the number follows from it."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said in the end, vote by vote, and every reply it gave.

    Attributes:
        failed: the last reply of the first vote without a verdict, or None.
    """

    votes: tuple[float | NoVerdict, ...]
    replies: tuple[Reply, ...]
    failed: Reply | None = None

    @property
    def scores(self) -> list[float]:
        """The votes that are a score."""
        return [vote for vote in self.votes if not isinstance(vote, NoVerdict)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Who judges what, and how it is asked in one language.

    Attributes:
        profile: of the model that judges.
        tongue: language of the prompts, en or zh.
        prompt: chat turns, or plain text when `completes`.
        repair: the turn, or the text, of the second asking.
        params: of every request.
        completes: whether the model continues a text instead of following instructions.
        votes: how many judgements of its own it gives of each answer.
        json: whether it replies in JSON.
    """

    profile: Profile
    tongue: str
    dimension: str
    rubric: str
    prompt: Prompt
    repair: Prompt
    params: Mapping[str, Any]
    completes: bool
    votes: int = 1
    json: bool = False

    def judge(self, record: Record) -> Flow[Judgement]:
        """Ask for scores of the record's final answer; once more for each reply that holds none."""
        request = self._request(record)
        samples = yield from several(request, self.votes, self.profile)
        votes: list[float | NoVerdict] = []
        replies: list[Reply] = []
        failed: Reply | None = None
        for index, sample in enumerate(samples):
            vote, heard = yield from self._vote(replace(request, sample=index), sample)
            votes.append(vote)
            replies += heard
            if isinstance(vote, NoVerdict):
                failed = failed or heard[-1]
        return Judgement(tuple(votes), tuple(replies), failed)

    def _vote(self, request: Request, reply: Reply) -> Flow[tuple[float | NoVerdict, tuple[Reply, ...]]]:
        """The score in a reply to the request, or in the reply to a second one."""
        if self.json:
            found = yield from settled(request, reply, FORM, self.tongue)
            return float(found.value["score"]) if isinstance(found, Parsed) else NoVerdict(found.why), found.replies
        first = _read(reply)
        if not isinstance(first, NoVerdict) or reply.outcome not in ("ok", "length"):
            return first, (reply,)
        again = yield self._once_more(request, reply)
        return _read(again), (reply, again)

    def _request(self, record: Record) -> Request:
        asked = {"dimension": self.dimension, "rubric": self.rubric}
        role, params = self.profile.role, dict(self.params)
        if self.completes:
            conversation, answer = self._turns_on_one_line(record), on_one_line(answer_of(record))
            text = self.prompt.render(conversation=conversation, answer=answer, **asked)
            return Request(role=role, prompt=text, params=params)
        conversation, answer = turns_before_answer(record, self.tongue), quoted(answer_of(record))
        messages = self.prompt.messages(conversation=conversation, answer=answer, **asked)
        request = Request(role=role, messages=messages, params=params)
        return asking(request, FORM, self.tongue) if self.json else request

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
