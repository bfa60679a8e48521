"""The sides of a record that a moderation looks at: what is asked, what is answered, or all of it."""

from dataclasses import replace
from typing import Literal

from pipeline.record import Message, Record
from pipeline.stages.quoted import answer_of, turns_before_answer

Side = Literal["question", "answer", "conversation"]


def text_of(record: Record, side: Side) -> str:
    """The text of that side, what each turn says behind the other; empty when there is nothing."""
    if side == "answer":
        return answer_in(record)
    turns = _asked(record) if side == "question" else record.messages
    parts = []
    first = True
    for turn in turns:
        text = turn.content
        if turn.role == "user" and first:
            first, text = False, record.question
        parts += [text.strip(), (turn.tool_calls or "").strip()]
    if side == "conversation" and not answer_of(record):
        parts.append(answer_in(record))
    return "\n\n".join(part for part in parts if part)


def answer_in(record: Record) -> str:
    """The final answer, or the preferred one of a pair where the conversation ends with the question."""
    return answer_of(record) or answer_of(replace(record, messages=record.chosen or ()))


def shown(record: Record, side: Side, tongue: str) -> str:
    """What a judge is shown as the conversation: what comes before the answer, the user's side alone, or all turns."""
    end = Message(role="assistant", content="")
    if side == "question":
        return turns_before_answer(replace(record, tools=None, messages=(*_asked(record), end)), tongue)
    turns = record.messages
    if side == "conversation":
        preferred = "" if answer_of(record) else answer_in(record)
        chosen = (Message(role="assistant", content=preferred),) if preferred else ()
        return turns_before_answer(replace(record, messages=(*turns, *chosen, end)), tongue)
    return turns_before_answer(record if answer_of(record) else replace(record, messages=(*turns, end)), tongue)


def _asked(record: Record) -> tuple[Message, ...]:
    return tuple(message for message in record.messages if message.role in ("system", "user"))
