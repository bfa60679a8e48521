"""Unsloth: what standardize_data_formats and train_on_responses_only do with a row.

Read from unsloth_zoo 2026.10.9 (PyPI): `dataset_utils.py` (standardize_data_formats, which unsloth calls
standardize_sharegpt as well; train_on_responses_only) and `training_utils.py` (fix_zero_training_loss). Preference rows
go to TRL's trainers, with TRL's rules.
"""

from pipeline.trainers.alpaca_rows import alpaca_empty_question, answer_column, empty_text
from pipeline.trainers.finding import Finding, note, skipped, stops, wrong
from pipeline.trainers.loader import inside_an_object, late_column
from pipeline.trainers.sample import Sample, Turn, is_empty, ordinal, quoted
from pipeline.trainers.survey import Layout, Survey
from pipeline.trainers.trainer import TooLong, Trainer
from pipeline.trainers.trl import TEXT_PAIRS, TURN_PAIRS, sharegpt_pairs, sharegpt_verdicts
from pipeline.trainers.turn_rules import alternation, empty_turns

USER = ("user", "human", "input")
ASSISTANT = ("gpt", "assistant", "output")
_ALIASES = ("system", *USER, *ASSISTANT)

MARKERS = (
    ("<|im_start|>user\n", "<|im_start|>assistant\n"),
    ("<|start_header_id|>user<|end_header_id|>\n\n", "<|start_header_id|>assistant<|end_header_id|>\n\n"),
    ("<start_of_turn>user\n", "<start_of_turn>model\n"),
    ("<|user|>\n", "<|assistant|>\n"),
    ("[INST]", "[/INST]"),
    ("### Instruction:\n", "### Response:\n"),
)
"""What stands before a question and before an answer: ChatML, Llama 3, Gemma, Phi and Zephyr, Mistral, Alpaca."""


def turn_keys(survey: Survey) -> Finding | None:
    """Turns have two keys in all: any further one is an AssertionError, or "Cannot standardize non text datasets"."""
    layout = survey.layout
    if layout is None or layout.turns != "conversations" or len(layout.turn_keys) <= 2:
        return None
    more = ", ".join(f"'{key}'" for key in sorted(layout.turn_keys - {layout.role_key, layout.content_key}))
    return stops(
        "extra-turn-keys", f"turns hold {more} beside a role and a text: standardize_data_formats ends with an error"
    )


def missing_conversation(sample: Sample) -> Finding | None:
    """A loop over null, or a key of a text: TypeError."""
    value = sample.get(sample.layout.turns)
    if isinstance(value, list) and all(isinstance(turn, dict) for turn in value):
        return None
    return stops(
        "missing-conversation", f"'{sample.layout.turns}' is no list of turns: standardizing ends with TypeError"
    )


def content_not_text(sample: Sample) -> Finding | None:
    """Texts only."""
    for i, turn in enumerate(sample.conversation):
        if not isinstance(turn.content, str) and not turn.raw.get("tool_calls"):
            return stops("content-not-text", f"{ordinal(sample.conversation, i)} is no text: it cannot be standardized")
    return None


def unknown_role(sample: Sample) -> Finding | None:
    """Roles are looked up among aliases, case and space ignored: TypeError in the first ten rows, KeyError later."""
    if sample.layout.turns != "conversations":
        return None
    for i, turn in enumerate(sample.conversation):
        if _role(turn) not in _ALIASES:
            at = ordinal(sample.conversation, i)
            return stops("unknown-role", f"{at} has the role {quoted(turn.role)}: not among the aliases, an error")
    return None


def _role(turn: Turn) -> str:
    return turn.role.strip().lower() if isinstance(turn.role, str) else ""


def no_answer(sample: Sample) -> Finding | None:
    """Without an answer every label is -100, and the row is removed."""
    if any(_role(turn) in ASSISTANT for turn in sample.conversation):
        return None
    return skipped("no-answer", "has no assistant turn: every label is -100 and the row is removed")


def empty_turn(sample: Sample) -> Finding | None:
    """An empty answer leaves the end token as its only label; an empty question is answered all the same."""
    return empty_turns(_renamed(sample.conversation), USER, ASSISTANT)


def _renamed(turns: list[Turn]) -> list[Turn]:
    return [turn._replace(role=_role(turn)) for turn in turns]


def marker_in_text(sample: Sample) -> Finding | None:
    """A text that holds a template's own marker moves the line between questions and answers."""
    for i, turn in enumerate(sample.conversation):
        for marker in (marker for pair in MARKERS[:4] for marker in pair):
            if isinstance(turn.content, str) and marker.strip() in turn.content:
                at = ordinal(sample.conversation, i)
                return wrong(
                    "marker-in-text", f"{at} holds {marker.strip()!r}: labels are set wrongly with that template"
                )
    return None


def role_order(sample: Sample) -> Finding | None:
    """Some chat templates end with an error where roles do not alternate."""
    return alternation(_renamed(sample.body), USER, ASSISTANT)


def response_part(sample: Sample) -> Finding | None:
    """A finished text without the string before an answer has no label at all, and is removed."""
    text = sample.get("text")
    if not isinstance(text, str) or any(asked in text and answer in text for asked, answer in MARKERS):
        return None
    told = "none of the known instruction and response strings stands in it: train_on_responses_only removes it"
    return skipped("response-part-missing", told)


def no_output(sample: Sample) -> Finding | None:
    """A prompt function joins texts: "None" for null, and nothing but the end token for an empty answer."""
    value = sample.get(answer_column(sample.layout))
    if not is_empty(value):
        return None
    what = "null: the word None is trained on" if value is None else "empty: the model is trained to stop at once"
    return wrong("empty-answer", f"'{answer_column(sample.layout)}' is {what}")


def not_used(sample: Sample) -> Finding | None:
    """Unsloth's Alpaca prompt has an instruction, an input and a response."""
    for column in ("system", "history"):
        if sample.get(column):
            return note("column-ignored", f"'{column}' is not in the Alpaca prompt")
    return None


def notes(layout: Layout) -> list[str]:
    """What to know of the snippet."""
    told = []
    if layout.turns and layout.kind == "answers":
        told.append("give train_on_responses_only no strings of its own: they must be those of the chat template")
    if layout.turns == "messages":
        told.append("standardize_data_formats reads 'conversations' only; 'messages' with OpenAI's roles needs none")
    return told


_TURN_RULES = (
    *(missing_conversation, unknown_role, content_not_text, no_answer, empty_turn, marker_in_text, role_order),
)

UNSLOTH = Trainer(
    name="unsloth",
    title="Unsloth 2026.10.9",
    source="unsloth_zoo/dataset_utils.py, unsloth_zoo/training_utils.py",
    file_rules=(inside_an_object, late_column, turn_keys, sharegpt_pairs, sharegpt_verdicts),
    row_rules={
        "sharegpt": _TURN_RULES,
        "messages": _TURN_RULES,
        "alpaca": (alpaca_empty_question, no_output, not_used),
        "text": (response_part, empty_text),
        "prompt-turns": TURN_PAIRS,
        "prompt": TEXT_PAIRS,
        "implicit": TURN_PAIRS,
    },
    too_long=TooLong(
        default=2048,
        setting="max_seq_length",
        effect="wrong",
        does="cut at its end",
        masked="skipped",
        masked_does="removed, since every label of what is left is -100",
    ),
    notes=notes,
)
