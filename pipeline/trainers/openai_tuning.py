"""OpenAI's fine-tuning API: what its validation refuses. One bad line refuses the file.

Read from OpenAI's API description (FineTuneChatRequestInput, FineTunePreferenceRequestInput), its guides on supervised
fine-tuning and direct preference optimization, and the cookbook's data preparation for chat model fine-tuning, as they
stood in 2026. The validation itself runs at OpenAI and cannot be read.
"""

from typing import Any

from pipeline.trainers.finding import Finding, note, stops, wrong
from pipeline.trainers.sample import Sample, Turn, is_empty, ordinal, quoted
from pipeline.trainers.survey import Layout, Survey
from pipeline.trainers.trainer import TooLong, Trainer

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_KEYS = ("role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal", "audio")
LEAST_ROWS = 10


def not_json_lines(survey: Survey) -> Finding | None:
    """Uploads are JSON Lines in a .jsonl file."""
    if survey.container == "lines" and survey.path.suffix == ".jsonl":
        return None
    return stops("not-json-lines", "must be JSON Lines in a file that ends in .jsonl")


def too_few_rows(survey: Survey) -> Finding | None:
    """At least ten examples."""
    if survey.rows >= LEAST_ROWS:
        return None
    return stops("too-few-rows", f"holds {survey.rows} rows; at least {LEAST_ROWS} are asked for")


def other_turns(survey: Survey) -> Finding | None:
    """The column is `messages`, and its turns are {role, content}."""
    layout = survey.layout
    if layout is None or layout.base != "messages" or layout.turns == "messages":
        return None
    return stops("shape-not-read", f"the conversation must stand in 'messages', not in '{layout.turns}'")


def pairs_not_read(survey: Survey) -> Finding | None:
    """Preferences are {input, preferred_output, non_preferred_output}."""
    layout = survey.layout
    if layout is None or layout.kind == "answers" or layout.base == "openai-pairs":
        return None
    return stops(
        "shape-not-read", "preferences must be {input, preferred_output, non_preferred_output}; verdicts are not read"
    )


def missing_conversation(sample: Sample) -> Finding | None:
    """Every line has a list of messages."""
    value = sample.get("messages")
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return None
    return stops("missing-conversation", "'messages' is no list of messages")


def bad_message(sample: Sample) -> Finding | None:
    """Roles, keys, contents, weights and tool calls of each message."""
    return _bad(sample.conversation)


def _bad(turns: list[Turn]) -> Finding | None:
    for i, turn in enumerate(turns):
        at = ordinal(turns, i)
        found = (
            _unknown_role(turn, at)
            or _unknown_key(turn, at)
            or _content(turn, at)
            or _weight(turn, at)
            or _calls(turn, at)
        )
        if found is not None:
            return found
    return None


def _unknown_role(turn: Turn, at: str) -> Finding | None:
    if turn.role in _ROLES:
        return None
    return stops("unknown-role", f"{at} has the role {quoted(turn.role)}; known are {', '.join(_ROLES)}")


def _unknown_key(turn: Turn, at: str) -> Finding | None:
    unknown = [key for key in turn.raw if key not in _KEYS]
    return stops("unknown-key", f"{at} has the key {quoted(unknown[0])}") if unknown else None


def _content(turn: Turn, at: str) -> Finding | None:
    if isinstance(turn.content, str | list) or turn.raw.get("tool_calls") or turn.raw.get("function_call"):
        return None
    return stops("content-not-text", f"{at} has no text")


def _weight(turn: Turn, at: str) -> Finding | None:
    weight = turn.raw.get("weight")
    if weight is None or (turn.role == "assistant" and weight in (0, 1) and not isinstance(weight, bool)):
        return None
    return stops("bad-weight", f"{at} has a weight that is not 0 or 1 on an assistant's message")


def _calls(turn: Turn, at: str) -> Finding | None:
    if turn.role == "tool" and not isinstance(turn.raw.get("tool_call_id"), str):
        return stops("malformed-tool-call", f"{at} answers a tool call without its 'tool_call_id'")
    for call in turn.raw.get("tool_calls") or []:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("arguments"), str) or "id" not in call:
            return stops(
                "malformed-tool-call", f"{at} has a tool call without an id, a function or arguments as JSON text"
            )
    return None


def malformed_tools(sample: Sample) -> Finding | None:
    """`tools` is a list of {type, function}."""
    return _tools(sample.get("tools"))


def _tools(tools: Any) -> Finding | None:
    if tools is None:
        return None
    if isinstance(tools, list) and all(isinstance(tool, dict) and "function" in tool for tool in tools):
        return None
    return stops("malformed-tools", "'tools' is no list of {type, function}")


def no_answer(sample: Sample) -> Finding | None:
    """Something to learn: an assistant's message, and not all of them at weight 0."""
    answers = [turn for turn in sample.conversation if turn.role == "assistant"]
    if not answers:
        return stops("no-answer", "has no assistant message")
    if all(turn.raw.get("weight") == 0 for turn in answers):
        return stops("no-answer", "has weight 0 on all its assistant messages")
    return None


def last_turn(sample: Sample) -> Finding | None:
    """The last message is the assistant's."""
    role = sample.conversation[-1].role
    return (
        None
        if role == "assistant"
        else stops("last-turn-not-answer", f"ends with {quoted(role)}, not with 'assistant'")
    )


def empty_turn(sample: Sample) -> Finding | None:
    """An empty answer trains the model to stop at once."""
    for role, reason, what in (("assistant", "empty-answer", "answer"), ("user", "empty-question", "question")):
        for i, turn in enumerate(sample.conversation):
            calls = turn.raw.get("tool_calls") or turn.raw.get("function_call")
            if turn.role == role and turn.raw.get("weight") != 0 and is_empty(turn.content) and not calls:
                return wrong(reason, f"{ordinal(sample.conversation, i)} is an empty {what}")
    return None


def pair(sample: Sample) -> Finding | None:
    """An input of messages, and two outputs of one assistant's message each."""
    asked = sample.get("input")
    turns = sample.turns_of(asked.get("messages")) if isinstance(asked, dict) else None
    if not turns:
        return stops("missing-conversation", "'input' has no list of messages")
    if (found := _bad(turns) or _tools(sample.row["input"].get("tools"))) is not None:
        return found
    for column in ("preferred_output", "non_preferred_output"):
        answers = sample.turns_of(sample.get(column))
        if not answers or any(turn.role not in ("assistant", "tool") for turn in answers):
            return stops("no-pair", f"'{column}' is no list of an assistant's messages")
        if (found := _bad(answers)) is not None:
            return found
        if is_empty(answers[-1].content) and not answers[-1].raw.get("tool_calls"):
            return wrong("empty-answer", f"'{column}' is empty")
    return None


def equal_pair(sample: Sample) -> Finding | None:
    """Both outputs are the same: there is nothing to prefer."""
    if sample.get("preferred_output") == sample.get("non_preferred_output"):
        return note("equal-pair", "both outputs are the same: nothing is learnt")
    return None


def notes(layout: Layout) -> list[str]:
    """What to know."""
    told = ["one bad line refuses the whole file"]
    extra = sorted(layout.columns - {"messages", "tools", "parallel_tool_calls", "functions"})
    if layout.base == "messages" and extra:
        told.append(f"columns that the API does not describe: {', '.join(extra[:8])}")
    return told


OPENAI = Trainer(
    name="openai",
    title="OpenAI fine-tuning (guides of 2026)",
    source="FineTuneChatRequestInput, FineTunePreferenceRequestInput, the cookbook's data preparation",
    file_rules=(not_json_lines, too_few_rows, other_turns, pairs_not_read),
    row_rules={
        "messages": (missing_conversation, bad_message, malformed_tools, no_answer, last_turn, empty_turn),
        "openai-pairs": (pair, equal_pair),
    },
    too_long=TooLong(default=None, setting="the model's training context", effect="wrong", does="cut at its end"),
    notes=notes,
)
