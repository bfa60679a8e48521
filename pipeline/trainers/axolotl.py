"""Axolotl: what its prompt strategies and filters do with a row.

Read from axolotl 0.19.0 (PyPI): `prompt_strategies/chat_template.py`, `prompt_strategies/alpaca_w_system.py`,
`prompt_strategies/dpo/chat_template.py` and `dpo/chatml.py`, `prompt_tokenizers.py`, `utils/data/utils.py`
(handle_long_seq_in_dataset) and `utils/trainer.py` (drop_no_trainable_tokens). The rules hold for the YAML that
`--glue` writes.
"""

import json
from typing import Any

from pipeline.trainers.alpaca_rows import alpaca_empty_question, answer_column, empty_text, question_columns
from pipeline.trainers.finding import Finding, skipped, stops, wrong
from pipeline.trainers.loader import inside_an_object, late_column
from pipeline.trainers.sample import Sample, is_empty, ordinal, quoted
from pipeline.trainers.survey import Layout, Survey
from pipeline.trainers.trainer import TooLong, Trainer
from pipeline.trainers.turn_rules import alternation, empty_turns, equal_pair, is_json


def pairs_not_described(survey: Survey) -> Finding | None:
    """Preference rows of texts are {prompt, chosen, rejected}."""
    if survey.layout is None or survey.layout.kind != "preference" or survey.layout.base != "alpaca":
        return None
    return stops("shape-not-read", "DPO reads {prompt, chosen, rejected} or a conversation with two answers")


def verdicts_not_described(survey: Survey) -> Finding | None:
    """KTO datasets are rows of {prompt or question, completion, label}; conversations with a verdict are not read."""
    if survey.layout is None or survey.layout.kind != "verdicts" or survey.layout.base == "prompt":
        return None
    return stops("shape-not-read", "KTO reads {prompt, completion, label} as texts; convert the conversations first")


def missing_conversation(sample: Sample) -> Finding | None:
    """ "Messages is null", or an unknown format: ValueError."""
    value = sample.get(sample.layout.turns)
    if isinstance(value, list) and all(isinstance(turn, dict) for turn in value):
        return None
    return stops("missing-conversation", f"'{sample.layout.turns}' is no list of turns: ValueError")


def no_turns(sample: Sample) -> Finding | None:
    """The first turn of an empty list: IndexError."""
    return None if sample.conversation else stops("no-turns", "there is no turn: IndexError")


def content_not_text(sample: Sample) -> Finding | None:
    """Null is taken out of the row, and most chat templates end with an error where a text is missing."""
    for i, turn in enumerate(sample.conversation):
        if not (isinstance(turn.content, str | list) or turn.raw.get("tool_calls")):
            return stops("content-not-text", f"{ordinal(sample.conversation, i)} is no text: most chat templates fail")
    return None


def malformed_tool_call(sample: Sample) -> Finding | None:
    """Arguments that are text are parsed: JSONDecodeError."""
    for i, turn in enumerate(sample.conversation):
        for call in turn.raw.get("tool_calls") or []:
            function = call.get("function") if isinstance(call, dict) else None
            arguments = function.get("arguments") if isinstance(function, dict) else None
            if isinstance(arguments, str) and not is_json(arguments):
                at = ordinal(sample.conversation, i)
                return stops(
                    "malformed-tool-call", f"{at} calls a tool with arguments that are no JSON: JSONDecodeError"
                )
    return None


def malformed_tools(sample: Sample) -> Finding | None:
    """`tools` is a list, or JSON text of one: ValueError or JSONDecodeError."""
    tools: Any = sample.get("tools")
    if tools in (None, ""):
        return stops("malformed-tools", "'tools' is an empty text: JSONDecodeError") if tools == "" else None
    if isinstance(tools, str):
        if not is_json(tools):
            return stops("malformed-tools", "'tools' is no JSON: JSONDecodeError")
        tools = json.loads(tools)
    return None if isinstance(tools, list) else stops("malformed-tools", "'tools' is no list of tools: ValueError")


def unknown_role(sample: Sample) -> Finding | None:
    """A role that the YAML does not map reaches the chat template as it is, and is never trained on."""
    tags = sample.layout.tags
    known = (tags.user, tags.assistant, tags.observation, tags.function, tags.system)
    for i, turn in enumerate(sample.conversation):
        if turn.role not in (*known, "human", "user", "assistant", "gpt", "system", "tool"):
            at = ordinal(sample.conversation, i)
            return wrong(
                "unknown-role", f"{at} has the role {quoted(turn.role)}: it reaches the chat template as it is"
            )
    return None


def nothing_to_train(sample: Sample) -> Finding | None:
    """Without an answer that has text every label is -100, and the row is dropped."""
    if sample.layout.kind == "preference":
        return None
    answers = [turn for turn in sample.conversation if turn.role in _answering(sample)]
    if not answers:
        return skipped("no-answer", "has no assistant turn: it is dropped, since every label is -100")
    if not any(turn.content or turn.raw.get("tool_calls") for turn in answers):
        return skipped("empty-answer", "its only answers are empty: it is dropped, since every label is -100")
    return None


def _answering(sample: Sample) -> tuple[str, ...]:
    tags = sample.layout.tags
    return (tags.assistant, tags.function, "assistant", "gpt")


def empty_turn(sample: Sample) -> Finding | None:
    """An empty answer among others is left out of the labels; an empty question is answered all the same."""
    found = empty_turns(sample.conversation, (sample.layout.tags.user, "user", "human"), _answering(sample))
    if found is not None and found.reason == "empty-answer":
        return found._replace(
            detail=found.detail.replace("the model is trained to stop at once", "it is not trained on")
        )
    return found


def last_turn(sample: Sample) -> Finding | None:
    """ "Last turn is not trainable": the end token after it may be trained on."""
    if sample.layout.kind == "preference" or sample.conversation[-1].role in _answering(sample):
        return None
    role = quoted(sample.conversation[-1].role)
    return wrong("last-turn-not-answer", f"ends with {role}: that turn is not trained on, its end token may be")


def role_order(sample: Sample) -> Finding | None:
    """Some chat templates end with an error where roles do not alternate."""
    tags = sample.layout.tags
    return alternation(sample.body, (tags.user, "user", "human"), (tags.assistant, "assistant", "gpt"))


def choices(sample: Sample) -> Finding | None:
    """The two answers are turns (or lists, of which the last turn counts) with mapped roles, or texts."""
    if sample.layout.kind != "preference":
        return None
    tags = sample.layout.tags
    for column in ("chosen", "rejected"):
        value = sample.get(column)
        turn = value[-1] if isinstance(value, list) and value else value
        if isinstance(turn, dict):
            if turn.get(sample.layout.role_key) not in (tags.assistant, tags.function):
                return stops(
                    "choice-role", f"'{column}' has the role {quoted(turn.get(sample.layout.role_key))}: KeyError"
                )
            turn = turn.get(sample.layout.content_key)
        if not isinstance(turn, str):
            return stops("no-pair", f"'{column}' is no answer: an error")
        if is_empty(turn):
            return wrong("empty-answer", f"'{column}' is empty")
    return None


def pair_texts(sample: Sample) -> Finding | None:
    """Prompt and answers are put into a text: null becomes the word None."""
    if sample.layout.kind != "preference":
        return None
    for column in ("prompt", "chosen", "rejected"):
        if not isinstance(sample.get(column), str):
            return wrong("content-not-text", f"'{column}' is no text: it is written out as Python shows it")
        if is_empty(sample.get(column)):
            return wrong("empty-question" if column == "prompt" else "empty-answer", f"'{column}' is empty")
    return None


def no_output(sample: Sample) -> Finding | None:
    """An empty answer has no token, so every label is -100 and the row is dropped."""
    if sample.layout.kind == "preference":
        return None
    value = sample.get(answer_column(sample.layout))
    if not value:
        told = f"'{answer_column(sample.layout)}' is empty: the row is dropped, since every label is -100"
        return skipped("empty-answer", told)
    if not isinstance(value, str):
        return stops(
            "content-not-text", f"'{answer_column(sample.layout)}' is no text: the tokenizer ends with an error"
        )
    if is_empty(value):
        return wrong("empty-answer", f"'{answer_column(sample.layout)}' is only space")
    return None


def instruction_null(sample: Sample) -> Finding | None:
    """The instruction is put into a text: null becomes the word None."""
    column = question_columns(sample.layout)[0]
    if isinstance(sample.get(column), str):
        return None
    return wrong("content-not-text", f"'{column}' is no text: it is written out as Python shows it")


def history_ignored(sample: Sample) -> Finding | None:
    """The Alpaca strategies read no `history`."""
    if sample.get("history"):
        return wrong("history-lost", "'history' is not read: the question stands alone; convert the file to sharegpt")
    return None


def notes(layout: Layout) -> list[str]:
    """What to know of the YAML."""
    told = []
    if layout.turns is not None and layout.kind == "answers":
        told.append("with no 'chat_template:' of your own the tokenizer's is taken; train_on_eos is 'turn'")
    if layout.base == "messages" and {"weight", "train"} & layout.turn_keys:
        told.append("weights of turns are read only where message_field_training names their key, as in the YAML")
    return told


_TURN_RULES = (
    *(
        missing_conversation,
        no_turns,
        content_not_text,
        malformed_tool_call,
        malformed_tools,
        nothing_to_train,
        choices,
    ),
    *(unknown_role, empty_turn, last_turn, role_order, equal_pair),
)


_ALPACA_RULES = (pair_texts, instruction_null, no_output, history_ignored, alpaca_empty_question)

AXOLOTL = Trainer(
    name="axolotl",
    title="Axolotl 0.19.0",
    source="prompt_strategies/, prompt_tokenizers.py, utils/data/utils.py, utils/trainer.py",
    file_rules=(inside_an_object, late_column, pairs_not_described, verdicts_not_described),
    row_rules={
        "messages": _TURN_RULES,
        "sharegpt": _TURN_RULES,
        "alpaca": _ALPACA_RULES,
        "prompt": _ALPACA_RULES,
        "text": (empty_text,),
    },
    too_long=TooLong(
        default=512, setting="sequence_len", effect="skipped", does="dropped (excess_length_strategy: drop)"
    ),
    notes=notes,
)
