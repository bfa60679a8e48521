"""How a record's question is put to a model: one way for all stages, so that no question is paid for twice."""

import re
from typing import Any

from pipeline.llm.request import Profile, Request
from pipeline.prompt import load_prompt
from pipeline.record import Message, Record, digest, joined

TEMPERATURE = 0.7
MAX_TOKENS = 1024
"""What stages use unless their settings `answer_temperature` and `answer_max_tokens` differ: the same everywhere,
since a call is reused only when all its parameters are equal."""

LEAD = {
    "en": "Questions and requests, each followed by a correct and helpful answer.",
    "zh": "以下是一些问题和请求，每个后面都有正确、有用的回答。",
}
"""First line of the completion prompt when there is no system message."""

STOPS = {"en": ("\nQuestion:",), "zh": ("\n问：",)}
"""Where a completion has gone on to a question of its own."""

_HAN = re.compile(r"[\u3400-\u9fff]")


def answer_request(
    record: Record,
    profile: Profile,
    *,
    seed: int,
    system: str | None = None,
    temperature: float = TEMPERATURE,
    max_tokens: int = MAX_TOKENS,
    sample: int = 0,
) -> Request:
    """The request that asks for the final answer of a record's conversation.

    It depends on the question alone, not on who asks: self-instruct, evol-instruct, regeneration after a translation
    and the answer stage build equal requests for equal questions. The first user message carries the record's input;
    an answer that is already there is left out.

    A model of completion style that is not `small` is taken for a base model and continues a list of questions and
    answers. Small ones, the embedded model among them, are asked in chat form: SmolLM2-135M-Instruct answers in full
    sentences there and in clipped, more often absurd ones as a completion.

    Args:
        profile: of the model in the role that shall answer.
        seed: the run's seed; the sampling seed is drawn from it and the question.
        system: put first when the conversation has no system message of its own.
        sample: tells repeated askings of the same question apart.
    """
    messages = _question(record, system)
    params: dict[str, Any] = {
        "temperature": temperature,
        "max_tokens": max_tokens,
        "seed": int(digest("answer", seed, [[m.role, m.content] for m in messages], sample), 16) % 2**31,
    }
    if profile.style == "chat" or profile.small:
        return Request(role=profile.role, messages=messages, params=params, sample=sample)
    language = "zh" if _HAN.search(record.question) else "en"
    lead = next((m.content for m in messages if m.role == "system"), LEAD[language])
    turns = "\n\n".join(m.content for m in messages if m.role != "system")
    prompt = load_prompt(f"answer.completion.{language}", ("system", "question"), chat=False)
    params["stop"] = list(STOPS[language])
    text = prompt.render(system=lead, question=turns)
    return Request(role=profile.role, prompt=text, params=params, sample=sample)


def _question(record: Record, system: str | None) -> tuple[Message, ...]:
    """The conversation up to its last question, the input joined to the first."""
    messages = list(record.messages)
    while messages and messages[-1].role == "assistant":
        messages.pop()
    first = next((i for i, m in enumerate(messages) if m.role == "user"), None)
    if first is not None and record.input:
        messages[first] = Message(role="user", content=joined(messages[first].content, record.input))
    if system and not any(m.role == "system" for m in messages):
        messages.insert(0, Message(role="system", content=system))
    return tuple(messages)
