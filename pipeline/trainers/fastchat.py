"""FastChat: what the Vicuna trainer's `preprocess` does with a row.

Read from fschat 0.2.36 (PyPI): `train/train.py` (preprocess, make_supervised_data_module) and `conversation.py`
(template vicuna_v1.1, which train.py always takes).
"""

from pipeline.formats.compression import SUFFIXES
from pipeline.trainers.finding import Finding, note, stops, wrong
from pipeline.trainers.sample import Sample, is_empty, ordinal, quoted
from pipeline.trainers.survey import Layout, Survey
from pipeline.trainers.trainer import TooLong, Trainer

_ROLES = ("human", "gpt")
_SEPARATORS = ("</s>", " ASSISTANT: ")


def not_an_array(survey: Survey) -> Finding | None:
    """The file is read with json.load: one array, not compressed."""
    if survey.container == "array" and survey.path.suffix not in SUFFIXES:
        return None
    return stops(
        "not-an-array", "is read with json.load as one JSON array; JSON Lines, parquet and gzip end with an error"
    )


def other_turns(survey: Survey) -> Finding | None:
    """KeyError for any column but `conversations` and any keys but `from` and `value`."""
    layout = survey.layout
    if layout is None or (layout.turns, layout.role_key, layout.content_key) == ("conversations", "from", "value"):
        return None
    return stops("shape-not-read", "only 'conversations' with turns of {from, value} are read: KeyError")


def answers_ignored(survey: Survey) -> Finding | None:
    """Answers and verdicts beside the conversation are not looked at."""
    if survey.layout is None or survey.layout.kind == "answers":
        return None
    return wrong(
        "verdicts-ignored", "preferences and verdicts are not read: disliked answers are trained on like any other"
    )


def missing_conversation(sample: Sample) -> Finding | None:
    """KeyError or TypeError."""
    value = sample.get("conversations")
    if isinstance(value, list) and all(isinstance(turn, dict) for turn in value):
        return None
    return stops("missing-conversation", "'conversations' is no list of turns: an error")


def no_turns(sample: Sample) -> Finding | None:
    """The first turn of an empty list: IndexError."""
    return None if sample.conversation else stops("no-turns", "there is no turn: IndexError")


def unknown_role(sample: Sample) -> Finding | None:
    """Only human and gpt; a system turn is a KeyError as well."""
    for i, turn in enumerate(sample.conversation):
        if turn.role not in _ROLES:
            return stops(
                "unknown-role", f"{ordinal(sample.conversation, i)} has the role {quoted(turn.role)}: KeyError"
            )
    return None


def role_order(sample: Sample) -> Finding | None:
    """After a first turn that is not human's, which is left out, the roles alternate: AssertionError."""
    turns = sample.conversation
    start = int(turns[0].role != "human")
    for i, turn in enumerate(turns[start:]):
        if turn.role != _ROLES[i % 2]:
            at = ordinal(turns, i + start)
            return stops("role-order", f"{at} is {quoted(turn.role)} where '{_ROLES[i % 2]}' is due: AssertionError")
    return None


def content_not_text(sample: Sample) -> Finding | None:
    """Texts are joined: TypeError for a number or an object. Null counts as an empty turn."""
    for i, turn in enumerate(sample.conversation):
        if turn.content and not isinstance(turn.content, str):
            return stops("content-not-text", f"{ordinal(sample.conversation, i)} is no text: TypeError")
    return None


def first_turn_dropped(sample: Sample) -> Finding | None:
    """A conversation that begins with gpt loses that turn."""
    if sample.conversation[0].role == "human":
        return None
    if len(sample.conversation) == 1:
        return wrong("labels-masked", "its only turn is gpt's, which is left out: nothing is trained on")
    return wrong("first-turn-dropped", "begins with 'gpt': that turn is left out")


def odd_turn_count(sample: Sample) -> Finding | None:
    """A last question is never counted, so the lengths do not match and every label of the row is masked."""
    turns = sample.conversation
    if turns[-1].role == "gpt":
        return None
    return wrong("labels-masked", "ends with a question: 'tokenization mismatch', every label of the row is masked")


def empty_turn(sample: Sample) -> Finding | None:
    """An empty turn gets no separator: an answer runs into the next turn; else every label of the row is masked."""
    turns = sample.conversation
    for i, turn in enumerate(turns):
        if not turn.content:
            merged = turn.role == "gpt" and i < len(turns) - 1
            what = "it runs into the next turn" if merged else "every label of the row is masked"
            return wrong(
                "empty-answer" if turn.role == "gpt" else "empty-question", f"{ordinal(turns, i)} is empty: {what}"
            )
        if is_empty(turn.content):
            return wrong(
                "empty-answer" if turn.role == "gpt" else "empty-question", f"{ordinal(turns, i)} is only space"
            )
    return None


def separator_in_text(sample: Sample) -> Finding | None:
    """Turns are found by their separators: one inside a text masks the row, since lengths do not match."""
    for i, turn in enumerate(sample.conversation):
        found = next((s for s in _SEPARATORS if isinstance(turn.content, str) and s in turn.content), None)
        if found is not None:
            at = ordinal(sample.conversation, i)
            return wrong("separator-in-text", f"{at} holds {found.strip()!r}: every label of the row is masked")
    return None


def system_ignored(sample: Sample) -> Finding | None:
    """train.py always writes Vicuna's own system prompt."""
    if sample.get("system") or sample.get("tools"):
        return note("column-ignored", "'system' and 'tools' are not read by train.py")
    return None


def notes(layout: Layout) -> list[str]:
    """What to know."""
    return ["roles must be named 'human' and 'gpt'"] if layout.tags.user != "human" else []


FASTCHAT = Trainer(
    name="fastchat",
    title="FastChat 0.2.36",
    source="fastchat/train/train.py, fastchat/conversation.py",
    file_rules=(not_an_array, other_turns, answers_ignored),
    row_rules={
        "sharegpt": (
            *(missing_conversation, no_turns, unknown_role, role_order, content_not_text, first_turn_dropped),
            *(odd_turn_count, empty_turn, separator_in_text, system_ignored),
        ),
    },
    too_long=TooLong(
        default=512,
        setting="model_max_length",
        effect="wrong",
        does="cut at its end",
        masked="wrong",
        masked_does="read, and none of it is trained on: its answer lies beyond the cut",
    ),
    notes=notes,
)
