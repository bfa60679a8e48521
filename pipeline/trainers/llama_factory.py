"""LLaMA-Factory: what its loader, converters, templates and processors do with a row.

Read from llamafactory 0.9.5 (PyPI): `data/loader.py`, `data/converter.py`, `data/template.py`, `data/formatter.py`,
`data/processor/supervised.py`, `pairwise.py` and `feedback.py`, `extras/constants.py`. The rules hold for the
description of the file that `--glue` writes. `formatting: openai` is not used for any file: that converter changes
system prompts.
"""

from pipeline.trainers.alpaca_rows import alpaca_empty_question, answer_column, empty_text, question_columns
from pipeline.trainers.finding import Finding, note, skipped, stops, wrong
from pipeline.trainers.llama_factory_tools import malformed_tool_call, malformed_tools, tool_calls_lost
from pipeline.trainers.loader import inside_an_object, late_column, mixed_types
from pipeline.trainers.sample import Sample, Turn, is_empty, ordinal, quoted
from pipeline.trainers.survey import Layout, Survey
from pipeline.trainers.trainer import TooLong, Trainer
from pipeline.trainers.turn_rules import equal_pair

_FILES = (".arrow", ".csv", ".json", ".jsonl", ".parquet", ".txt")


def file_name(survey: Survey) -> Finding | None:
    """The file's ending decides how it is loaded (FILEEXT2TYPE); any other is an error."""
    suffix = survey.path.suffix
    if suffix in _FILES:
        return None
    return stops("file-name", f"ends in '{suffix}'; it loads only {', '.join(_FILES)}")


def missing_conversation(sample: Sample) -> Finding | None:
    """len() of null, or a key of a text: TypeError."""
    column = sample.layout.turns
    value = sample.get(column)
    if isinstance(value, list) and all(isinstance(turn, dict) for turn in value):
        return None
    return stops("missing-conversation", f"'{column}' is no list of turns: the converter ends with TypeError")


def no_turns(sample: Sample) -> Finding | None:
    """No prompt and no response: the processor drops it ("Dropped invalid example")."""
    if sample.body or (sample.layout.kind == "preference" and sample.system):
        return None
    return skipped("no-turns", "there is no turn beside a system prompt")


def unknown_role(sample: Sample) -> Finding | None:
    """A role that is not one of the five tags ("Invalid role tag")."""
    tags = sample.layout.tags
    known = (tags.user, tags.assistant, tags.observation, tags.function, tags.system)
    for i, turn in enumerate(sample.body):
        if turn.role not in known:
            return skipped("unknown-role", f"{ordinal(sample.body, i)} has the role {quoted(turn.role)}")
        if _misplaced(turn, i, sample):
            return None  # The converter looks no further.
    return None


def role_order(sample: Sample) -> Finding | None:
    """User or observation alternates with assistant or function call, and a system turn comes first only."""
    for i, turn in enumerate(sample.body):
        if _misplaced(turn, i, sample):
            wanted = "assistant" if i % 2 else "user"
            at = ordinal(sample.body, i)
            return skipped("role-order", f"{at} after the system prompt is {quoted(turn.role)} where {wanted}'s is due")
    return None


def _misplaced(turn: Turn, index: int, sample: Sample) -> bool:
    tags = sample.layout.tags
    return turn.role not in ((tags.assistant, tags.function) if index % 2 else (tags.user, tags.observation))


def odd_turn_count(sample: Sample) -> Finding | None:
    """ "Invalid message count": an even number of turns, or an odd one when the answers stand apart."""
    count = len(sample.body)
    if sample.layout.kind == "preference":
        if count % 2 == 0:
            return skipped("even-turn-count", f"{count} turns before the two answers; their number must be odd")
        return None
    return (
        skipped("odd-turn-count", f"{count} {'turn' if count == 1 else 'turns'}; their number must be even")
        if count % 2
        else None
    )


def no_pair(sample: Sample) -> Finding | None:
    """Two answers that are turns, or there is one response only and the processor drops the row."""
    if sample.layout.kind != "preference":
        return None
    wanted = dict if sample.layout.turns else str
    for column in ("chosen", "rejected"):
        if not isinstance(sample.get(column), wanted):
            return skipped("no-pair", f"'{column}' is {'no turn' if wanted is dict else 'no text'}")
    return None


def choice_role(sample: Sample) -> Finding | None:
    """The two answers' roles are looked up; a wrong one is logged as broken and trained on all the same."""
    if sample.layout.kind != "preference" or sample.layout.turns is None:
        return None
    tags = sample.layout.tags
    for column in ("chosen", "rejected"):
        role = sample.row[column].get(sample.layout.role_key)
        if role in (tags.assistant, tags.function):
            continue
        if role in (tags.user, tags.observation, tags.system):
            return wrong("choice-role", f"'{column}' has the role {quoted(role)}; it is trained on as an answer")
        return stops("choice-role", f"'{column}' has the role {quoted(role)}: the converter ends with KeyError")
    return None


def no_label(sample: Sample) -> Finding | None:
    """A verdict that is not true or false leaves one response, and the processor drops the row."""
    if sample.layout.kind != "verdicts" or isinstance(sample.get(label_column(sample.layout)), bool):
        return None
    return skipped("no-label", f"'{label_column(sample.layout)}' is not true or false")


def label_column(layout: Layout) -> str:
    """The column of verdicts."""
    return "kto_tag" if "kto_tag" in layout.columns else "label"


def content_not_text(sample: Sample) -> Finding | None:
    """Formatters take text only: RuntimeError "Expected a string"."""
    for i, turn in enumerate([*sample.body, *sample.choices]):
        if not isinstance(turn.content, str):
            what = "null" if turn.content is None else "no text"
            return stops(
                "content-not-text", f"{ordinal(sample.body, i)} is {what}: the formatter ends with RuntimeError"
            )
    prompt = sample.system.content if sample.system else None if sample.layout.turns is None else sample.get("system")
    if prompt and not isinstance(prompt, str):
        return stops("content-not-text", "the system prompt is no text: the template ends with TypeError")
    return None


def empty_question(sample: Sample) -> Finding | None:
    """Nothing is asked: the answer is trained on as a reply to nothing."""
    return _empty(sample, odd=False)


def empty_answer(sample: Sample) -> Finding | None:
    """Nothing is answered: the model is trained to stop at once."""
    for turn in sample.choices[:1]:
        if is_empty(turn.content):
            return wrong("empty-answer", "'chosen' is empty: the model learns to prefer silence")
    return _empty(sample, odd=True)


def _empty(sample: Sample, *, odd: bool) -> Finding | None:
    found = [i for i, turn in enumerate(sample.body) if i % 2 == odd and is_empty(turn.content)]
    if not found:
        return None
    more = f" ({len(found)} such)" if len(found) > 1 else ""
    at = ordinal(sample.body, found[0])
    if odd:
        return wrong("empty-answer", f"{at} is an empty answer{more}: the model is trained to stop at once")
    return wrong("empty-question", f"{at} is an empty question{more}: a reply to nothing is trained on")


def not_read(sample: Sample) -> Finding | None:
    """What turns may hold beside a role and a text is not read."""
    for key in ("thinking", "reasoning_content", "weight", "train"):
        if any(turn.raw.get(key) is not None for turn in sample.conversation):
            return note("turn-key-ignored", f"'{key}' of a turn is not read")
    return None


def malformed_history(sample: Sample) -> Finding | None:
    """`history` is a list of pairs of texts: else ValueError, or RuntimeError of the formatter."""
    history = sample.get("history")
    if not isinstance(history, list):
        return None
    for pair in history:
        if not isinstance(pair, list) or len(pair) != 2:
            return stops(
                "malformed-history", "'history' holds something else than pairs: the converter ends with an error"
            )
        if not all(isinstance(text, str) for text in pair):
            return stops(
                "malformed-history", "'history' holds something else than texts: the formatter ends with an error"
            )
    return None


def no_answer(sample: Sample) -> Finding | None:
    """No text to answer with: without a response the processor drops the row."""
    if sample.layout.kind == "preference" or isinstance(sample.get(answer_column(sample.layout)), str):
        return None
    column = answer_column(sample.layout)
    if sample.layout.kind == "verdicts":
        return stops("no-answer", f"'{column}' is no text: the formatter ends with RuntimeError")
    return skipped("no-answer", f"'{column}' is no text")


def question_not_text(sample: Sample) -> Finding | None:
    """Instruction and input are joined: TypeError for anything but text."""
    for column in (*question_columns(sample.layout), "system"):
        value = sample.get(column)
        if value and not isinstance(value, str):
            return stops("content-not-text", f"'{column}' is no text: the converter ends with TypeError")
    return None


def alpaca_empty_answer(sample: Sample) -> Finding | None:
    """Nothing is answered: the model is trained to stop at once, and a liked row counts as disliked."""
    column = "chosen" if sample.layout.kind == "preference" else answer_column(sample.layout)
    if not is_empty(sample.get(column)):
        return None
    return wrong("empty-answer", f"'{column}' is empty: the model is trained to stop at once")


def notes(layout: Layout) -> list[str]:
    """What to know of the description."""
    told = []
    if layout.base == "messages":
        told.append(
            "described as sharegpt with tags: 'formatting: openai' would add 'detailed thinking off' to system prompts"
        )
    if layout.tools and layout.base == "messages":
        told.append("tool calls in OpenAI's form are not read so; seedmill convert FILE --to sharegpt keeps them")
    return told


_TURN_RULES = (
    *(missing_conversation, unknown_role, role_order, no_turns, odd_turn_count, no_pair, choice_role, no_label),
    *(content_not_text, malformed_tool_call, malformed_tools, tool_calls_lost, empty_question, empty_answer),
    *(equal_pair, not_read),
)
_ALPACA_RULES = (
    *(malformed_history, question_not_text, no_pair, no_label, no_answer, malformed_tools, alpaca_empty_question),
    *(alpaca_empty_answer, equal_pair),
)

LLAMA_FACTORY = Trainer(
    name="llama-factory",
    title="LLaMA-Factory 0.9.5",
    source="data/converter.py, data/processor/, data/template.py, data/formatter.py",
    file_rules=(file_name, late_column, inside_an_object, mixed_types),
    row_rules={
        "sharegpt": _TURN_RULES,
        "alpaca": _ALPACA_RULES,
        "messages": _TURN_RULES,
        "prompt": _ALPACA_RULES,
        "text": (empty_text,),
    },
    too_long=TooLong(default=2048, setting="cutoff_len", effect="wrong", does="cut, its later turns first"),
    notes=notes,
)
