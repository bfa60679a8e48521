"""Bodies of chat and text completions: samples cut to what the caller allows, usage, logprobs."""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.llm.fake import tokens
from pipeline.llm.fake.faults import Fault
from pipeline.llm.fake.grammar import grammar
from pipeline.llm.fake.instance import shaped
from pipeline.llm.fake.question import Question
from pipeline.llm.fake.replies import say
from pipeline.llm.fake.rule import Rule
from pipeline.llm.fake.script import Script

CREATED = 1_700_000_000
"""The time that every reply states: a reply is a function of the request, and a clock is not."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply; `cached` are part of `prompt`, `reasoning` of `completion`."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0

    def body(self) -> dict[str, Any]:
        """As OpenAI writes it."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }


@dataclass(frozen=True, slots=True)
class Sample:
    """One choice of a reply."""

    text: str
    thinking: str = ""
    finish_reason: str = "stop"
    refusal: str | None = None

    @property
    def size(self) -> int:
        """Its tokens, thinking included."""
        return tokens.count(self.text) + tokens.count(self.thinking) + tokens.count(self.refusal or "")


def complete(script: Script, question: Question, rule: Rule, fault: Fault | None) -> tuple[dict[str, Any], Usage]:
    """The body of a 200 and its usage; a function of the question, the script and the fault.

    Args:
        rule: the script's rule for the question; several prompts in one request each find their own.

    Raises:
        Objection: a `response_format` that the fake cannot serve.
    """
    if question.path == "chat":
        samples = _samples(rule, question, fault)
        choices = [_chat_choice(sample, i, question) for i, sample in enumerate(samples)]
        usage = _usage(script, question.prompt_tokens, samples)
    else:
        choices, samples, prompt_tokens = [], [], 0
        for single in _singles(question):
            prompt_tokens += single.prompt_tokens
            for sample in _samples(rule if single is question else script.rule(single), single, fault):
                choices.append(_text_choice(sample, len(choices), single))
                samples.append(sample)
        usage = _usage(script, prompt_tokens, samples)
    if fault is not None and fault.kind == "empty_choices":
        choices = []
    chat = question.path == "chat"
    body = {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{question.key}",
        "object": "chat.completion" if chat else "text_completion",
        "created": CREATED,
        "model": question.model,
        "system_fingerprint": "fp_fake",
        "choices": choices,
        "usage": usage.body(),
    }
    return body, usage


def _singles(question: Question) -> list[Question]:
    """One question per prompt, each as if it had been asked alone."""
    prompt = question.body["prompt"]
    if isinstance(prompt, str):
        return [question]
    return [Question(question.path, {**question.body, "prompt": line}, question.seed) for line in prompt]


def _usage(script: Script, prompt_tokens: int, samples: Sequence[Sample]) -> Usage:
    return Usage(
        prompt=prompt_tokens,
        completion=sum(sample.size for sample in samples),
        cached=int(prompt_tokens * script.cached_share),
        reasoning=sum(tokens.count(sample.thinking) for sample in samples),
    )


def _samples(rule: Rule, question: Question, fault: Fault | None) -> list[Sample]:
    wanted = question.body.get("response_format")
    samples = []
    for i in range(question.n):
        said = say(rule, question, i)
        text = said.text if wanted is None else shaped(said.text, wanted, question.dice("instance", i))
        sample = _allowed(Sample(text, said.thinking), question)
        samples.append(sample if fault is None else _spoilt(sample, fault, question))
    return samples


def _allowed(sample: Sample, question: Question) -> Sample:
    """Cut at the first stop string, then at the caller's limit; thinking counts first."""
    text, limit = sample.text, question.limit
    if ends := [at for stop in question.stops if (at := text.find(stop)) >= 0]:
        text = text[: min(ends)]
    if limit is None or tokens.count(sample.thinking) + tokens.count(text) <= limit:
        return replace(sample, text=text)
    thinking = tokens.cut(sample.thinking, limit)
    return Sample(tokens.cut(text, limit - tokens.count(thinking)), thinking, "length")


def _spoilt(sample: Sample, fault: Fault, question: Question) -> Sample:
    """The sample as the outcome faults leave it."""
    if fault.kind == "refusal":
        text = grammar("en").sentence("refusal", question.dice("refusal"))
        return Sample(text) if fault.params.get("as") == "text" or question.path != "chat" else Sample("", refusal=text)
    if fault.kind not in ("length", "content_filter"):
        return sample
    keep = fault.number("keep", 0.5 if fault.kind == "length" else 0.0)
    kept = tokens.cut(sample.text, int(tokens.count(sample.text) * keep))
    return replace(sample, text=kept, finish_reason=fault.kind)


def _chat_choice(sample: Sample, index: int, question: Question) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if sample.refusal else sample.text,
        "refusal": sample.refusal,
    }
    if sample.thinking:
        message["reasoning_content"] = sample.thinking
    logprobs = None
    if question.body.get("logprobs"):
        top = int(question.body.get("top_logprobs") or 0)
        logprobs = {"content": [_chat_logprob(*item) for item in _scored(sample.text, question, top)], "refusal": None}
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": sample.finish_reason}


def _chat_logprob(token: str, value: float, others: Mapping[str, float]) -> dict[str, Any]:
    def entry(token: str, value: float) -> dict[str, Any]:
        return {"token": token, "logprob": value, "bytes": list(token.encode("utf-8", "replace"))}

    return entry(token, value) | {"top_logprobs": [entry(*other) for other in others.items()]}


def _text_choice(sample: Sample, index: int, question: Question) -> dict[str, Any]:
    prompt = question.text if question.body.get("echo") else ""
    logprobs = None
    wanted = question.body.get("logprobs")
    if wanted is not None and wanted is not False:
        logprobs = _text_logprobs(prompt, sample.text, question, int(wanted))
    return {"index": index, "text": prompt + sample.text, "logprobs": logprobs, "finish_reason": sample.finish_reason}


def _text_logprobs(prompt: str, text: str, question: Question, top: int) -> dict[str, Any]:
    scored = _scored(prompt, question, top) + _scored(text, question, top)
    offsets, end = [], 0
    for token, _, _ in scored:
        offsets.append(end)
        end += len(token)
    values: list[float | None] = [value for _, value, _ in scored]
    tops: list[Mapping[str, float] | None] = [others for _, _, others in scored]
    if prompt:
        values[0] = tops[0] = None  # nothing comes before the first token of an echoed prompt
    return {"tokens": [t for t, _, _ in scored], "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}


def _scored(text: str, question: Question, top: int) -> list[tuple[str, float, dict[str, float]]]:
    """Token, its log probability and the `top` likeliest at its place, itself among them; probabilities sum below 1."""
    scored = []
    seed = zlib.crc32(question.key.encode())
    for i, token in enumerate(tokens.split(text)):
        chance = 0.5 + (zlib.crc32(f"{i} {token}".encode("utf-8", "replace"), seed) % 4096) / 8400
        others = {token: round(math.log(chance), 6)} if top else {}
        for k in range(1, top):
            others[f"{token[::-1]}{k}"] = round(math.log((1 - chance) / 2**k), 6)
        scored.append((token, round(math.log(chance), 6), others))
    return scored
