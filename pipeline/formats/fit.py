"""What a format of plain texts has room for: why it refuses a record, and what it leaves behind."""

from dataclasses import dataclass
from typing import Literal

from pipeline.formats.turns import chat, content_losses, leading_system
from pipeline.record import Message, Record

Need = Literal["no", "may", "must"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Questions and answers in turn, and what else there is a place for.

    Attributes:
        system: a system text before them.
        several: more than one question.
        answer: an answer to the last question.
        input: an input apart from a single question.
        tools: tool definitions (never tool calls: they are no plain texts).
        choices: a better and a worse answer.
        label: a verdict on the answer.
    """

    system: bool = False
    several: bool = True
    answer: Need = "may"
    input: bool = False
    tools: bool = False
    choices: Need = "no"
    label: Need = "no"

    def refuses(self, record: Record) -> str | None:
        """Why the record does not fit, as a slug, or None."""
        if self.choices == "must" and (record.chosen, record.rejected) == (None, None):
            return "no-preference"
        return self._turns(record) or self._verdicts(record)

    def _turns(self, record: Record) -> str | None:
        turns = asked(record)
        if not turns:
            return "no-messages"
        if any(m.role == "tool" or m.tool_calls is not None for m in turns):
            return "tool-turns"
        if record.tools is not None and not self.tools:
            return "tool-turns"
        if leading_system(record) and not self.system:
            return "system-turn"
        if any(m.role != ("user", "assistant")[i % 2] for i, m in enumerate(turns)):
            return "role-order"
        if len(turns) > 2 and not self.several:
            return "several-turns"
        if len(turns) % 2 and self.answer == "must":
            return "no-answer"
        return "answer-beside-choices" if len(turns) % 2 == 0 and self.answer == "no" else None

    def _verdicts(self, record: Record) -> str | None:
        if record.label is not None and self.label == "no":
            return "preference-turns"
        if record.label is None and self.label == "must":
            return "no-preference"
        pair = (record.chosen, record.rejected)
        if pair == (None, None):
            return None
        return None if self.choices != "no" and all(map(_one_answer, pair)) else "preference-turns"

    def losses(self, record: Record) -> list[str]:
        """Details of messages beside role and text, and the input's column where it has none."""
        lost = content_losses(record, flat=True)
        apart = self.input and sum(m.role == "user" for m in record.messages) == 1
        return [slug for slug in lost if slug != "separate-input" or not apart]


def asked(record: Record) -> tuple[Message, ...]:
    """The conversation after its system text, as a chat shows it."""
    messages = chat(record)
    return messages[int(bool(messages) and messages[0].role == "system") :]


def system_text(record: Record) -> str | None:
    """The text before the conversation, or None."""
    return record.messages[0].content if leading_system(record) else None


def system_details(record: Record) -> list[str]:
    """Details of the system message, which stands in a column of its own as a text, as slugs."""
    details = ("thinking", "name", "weight") if leading_system(record) else ()
    return [field for field in details if getattr(record.messages[0], field) is not None]


def paired(turns: tuple[Message, ...]) -> list[tuple[str, str | None]]:
    """Questions with their answers; the last one's is None when it has none."""
    texts = [m.content for m in turns]
    return [(texts[i], texts[i + 1] if i + 1 < len(texts) else None) for i in range(0, len(texts), 2)]


def alternating(texts: list[str]) -> tuple[Message, ...]:
    """Texts as a question, its answer, the next question and so on."""
    return tuple(Message(role=("user", "assistant")[i % 2], content=text) for i, text in enumerate(texts))


def _one_answer(choice: tuple[Message, ...] | None) -> bool:
    return choice is not None and len(choice) == 1 and choice[0].role == "assistant" and choice[0].tool_calls is None
