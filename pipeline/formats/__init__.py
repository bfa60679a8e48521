"""Dataset formats, one file each, in one table."""

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.formats import (
    alpaca,
    baize,
    belle,
    belle_multiturn,
    camel,
    dolly,
    firefly,
    gorilla,
    gpt4_llm,
    guanaco,
    guanaco_dialogue,
    hh_rlhf,
    huatuo,
    koala,
    lmflow,
    lmflow_conversation,
    messages,
    moss,
    oasst,
    openai_dpo,
    openchat,
    pandalm,
    preference,
    preference_chat,
    preference_implicit,
    prompt_completion,
    prompt_completion_chat,
    records,
    seeds,
    self_instruct,
    sharegpt,
    ultrachat,
)
from pipeline.formats.shape import Format

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        *(records, seeds, openai_dpo, pandalm, gpt4_llm, gorilla, moss, firefly, koala, camel, oasst),
        *(sharegpt, openchat, lmflow_conversation, preference_chat, messages),
        *(preference, hh_rlhf, preference_implicit, prompt_completion_chat, self_instruct, prompt_completion),
        *(ultrachat, baize, belle, guanaco, belle_multiturn, huatuo, guanaco_dialogue, dolly, alpaca, lmflow),
    )
}
"""Every format by name; a row belongs to the first that recognises it and whose marks, if it has any, it carries."""


def recognised(row: Mapping[str, Any]) -> Format | None:
    """The format that a row speaks for, or None."""
    return settled(candidates(row), row)


def candidates(row: Mapping[str, Any]) -> tuple[Format, ...]:
    """The formats that a row's keys speak for, in order, up to the first for which they are enough."""
    found: list[Format] = []
    for format in FORMATS.values():
        if format.recognise(row):
            found.append(format)
            if format.marks is None:
                break
    return tuple(found)


def settled(candidates: Iterable[Format], row: Mapping[str, Any]) -> Format | None:
    """The one of the formats that a row's keys speak for whose marks it carries, or None."""
    for format in candidates:
        if format.marks is None or format.marks(row):
            return format
    return None
