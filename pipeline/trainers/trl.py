"""TRL: what SFTTrainer, DPOTrainer and KTOTrainer do with a row before it is tokenized.

Read from trl 1.16.0 (PyPI): `data_utils.py` (is_conversational, maybe_convert_to_chatml, extract_prompt) and
_prepare_dataset of `trainer/sft_trainer.py`, `trainer/dpo_trainer.py` and `trainer/kto_trainer.py`. The rules hold for
the snippet that `--glue` writes, which sets assistant_only_loss=True for conversations.
"""

from typing import Any

from pipeline.trainers.alpaca_rows import empty_text
from pipeline.trainers.finding import Finding, note, stops, wrong
from pipeline.trainers.loader import inside_an_object, late_column
from pipeline.trainers.sample import Sample, Turn, is_empty, ordinal, quoted
from pipeline.trainers.survey import Layout, Survey
from pipeline.trainers.trainer import TooLong, Trainer
from pipeline.trainers.turn_rules import alternation, empty_turns, equal_pair, is_json

_MENDED = "the snippet of --glue brings it into shape"

ROLES = ("system", "developer", "user", "assistant", "tool")


def conversations_column(survey: Survey) -> Finding | None:
    """Only {from, value} is converted from `conversations`; {role, content} must stand in `messages`."""
    layout = survey.layout
    if layout is None or layout.turns != "conversations" or (layout.role_key, layout.content_key) == ("from", "value"):
        return None
    return stops("shape-not-read", f"'conversations' is read with turns of {{from, value}} only; {_MENDED}")


def prompt_beside_turns(survey: Survey) -> Finding | None:
    """A column `prompt` makes a row one of prompt and completion, whatever else is in it: KeyError."""
    layout = survey.layout
    if layout is None or layout.turns is None or layout.kind != "answers" or "prompt" not in layout.columns:
        return None
    told = f"'prompt' beside '{layout.turns}' is taken for a prompt without its completion: KeyError"
    return stops("prompt-beside-turns", f"{told}; the snippet of --glue leaves it out")


def roles_not_translated(survey: Survey) -> Finding | None:
    """Keys are renamed to role and content, roles are not: templates write an unknown one out, or leave it out."""
    layout = survey.layout
    if layout is None or layout.turns is None or not translated(layout):
        return None
    detail = (
        f"roles '{layout.tags.user}' and '{layout.tags.assistant}' reach the chat template as they are, which has "
        "none of them; the snippet of --glue renames them, and rows are judged as it does"
    )
    return wrong("roles-not-translated", detail)


def translated(layout: Layout) -> bool:
    """Whether the snippet renames roles."""
    return layout.tags.user not in ROLES or layout.tags.assistant not in ROLES


def sharegpt_pairs(survey: Survey) -> Finding | None:
    """Preference rows are {prompt, chosen, rejected}: the conversation's own column is not looked at."""
    layout = survey.layout
    if layout is None or layout.kind != "preference" or layout.turns is None:
        return None
    return stops("shape-not-read", f"DPOTrainer reads {{prompt, chosen, rejected}}; {_MENDED}")


def sharegpt_verdicts(survey: Survey) -> Finding | None:
    """KTOTrainer reads {prompt, completion, label}."""
    layout = survey.layout
    if layout is None or layout.kind != "verdicts" or layout.base in ("prompt", "prompt-turns"):
        return None
    return stops("shape-not-read", f"KTOTrainer reads {{prompt, completion, label}}; {_MENDED}")


def missing_conversation(sample: Sample) -> Finding | None:
    """A row that is not conversational is looked for its `text`: KeyError."""
    value = sample.get(sample.layout.turns)
    if isinstance(value, list) and all(isinstance(turn, dict) for turn in value):
        return None
    return stops("missing-conversation", f"'{sample.layout.turns}' is no list of turns: tokenizing ends with KeyError")


def no_turns(sample: Sample) -> Finding | None:
    """The first turn of an empty list is looked at: IndexError."""
    if sample.conversation:
        return None
    return stops("no-turns", "there is no turn: is_conversational ends with IndexError")


def role_missing(sample: Sample) -> Finding | None:
    """Without a role in its first turn a row does not count as conversational."""
    if sample.conversation[0].role is not None:
        return None
    return stops("role-missing", "its first turn has no role: it does not count as a conversation, and has no 'text'")


def unknown_role(sample: Sample) -> Finding | None:
    """A template that does not know a role renders it as it stands, or leaves the turn out."""
    tags = sample.layout.tags
    return _unknown(sample.conversation, (tags.user, tags.assistant, tags.function, tags.observation, tags.system))


def _unknown(turns: list[Turn], more: tuple[str, ...] = ()) -> Finding | None:
    for i, turn in enumerate(turns):
        if turn.role not in (*ROLES, *more):
            told = "chat templates have no such role"
            return wrong("unknown-role", f"{ordinal(turns, i)} has the role {quoted(turn.role)}: {told}")
    return None


def content_not_text(sample: Sample) -> Finding | None:
    """Most chat templates end with an error for null, unless the turn calls tools."""
    for i, turn in enumerate(sample.conversation):
        if not (isinstance(turn.content, str | list) or turn.raw.get("tool_calls")):
            return stops("content-not-text", f"{ordinal(sample.conversation, i)} is no text: most chat templates fail")
    return None


def malformed_tools(sample: Sample) -> Finding | None:
    """`tools` as text is parsed: JSONDecodeError."""
    tools = sample.get("tools")
    if isinstance(tools, str) and not is_json(tools):
        return stops("malformed-tools", "'tools' is no JSON: tokenizing ends with JSONDecodeError")
    return None


def no_answer(sample: Sample) -> Finding | None:
    """With assistant_only_loss a row without assistant tokens is an error; without it, its question is trained on."""
    if any(turn.role in _answering(sample) for turn in sample.conversation):
        return None
    return stops(
        "no-answer",
        "has no assistant turn: RuntimeError with assistant_only_loss=True, else the question is trained on",
    )


def _answering(sample: Sample) -> tuple[str, ...]:
    return ("assistant", sample.layout.tags.assistant, sample.layout.tags.function)


def last_turn(sample: Sample) -> Finding | None:
    """What follows the last answer is read and never trained on."""
    turns = sample.conversation
    if turns[-1].role in _answering(sample):
        return None
    return note("last-turn-not-answer", f"ends with {quoted(turns[-1].role)}: that turn is read and not trained on")


def role_order(sample: Sample) -> Finding | None:
    """Some chat templates (Llama 2, Mistral, Gemma) end with an error where roles do not alternate."""
    return alternation(sample.body, (sample.layout.tags.user, "user"), (sample.layout.tags.assistant, "assistant"))


def empty_turn(sample: Sample) -> Finding | None:
    """An empty answer trains the model to stop at once; an empty question trains it to answer nothing."""
    return _empties(sample, sample.conversation)


def _empties(sample: Sample, turns: list[Turn]) -> Finding | None:
    return empty_turns(turns, (sample.layout.tags.user, "user"), _answering(sample))


def not_text(sample: Sample) -> Finding | None:
    """The end-of-sequence token is added to the text: AttributeError for null."""
    for column in _answer_columns(sample.layout):
        if not isinstance(sample.get(column), str):
            return stops("content-not-text", f"'{column}' is no text: adding the end token ends with AttributeError")
    return None


def prompt_not_text(sample: Sample) -> Finding | None:
    """The prompt is tokenized alone: an error for anything but text."""
    if isinstance(sample.get("prompt"), str):
        return None
    return stops("content-not-text", "'prompt' is no text, as it is in other rows: tokenizing ends with an error")


def _answer_columns(layout: Layout) -> tuple[str, ...]:
    return ("chosen", "rejected") if layout.kind == "preference" else ("completion",)


def empty_completion(sample: Sample) -> Finding | None:
    """Nothing but the end token is trained on."""
    for column in _answer_columns(sample.layout):
        if is_empty(sample.get(column)):
            return wrong("empty-answer", f"'{column}' is empty: only the end token is trained on")
    return wrong("empty-question", "'prompt' is empty") if is_empty(sample.get("prompt")) else None


def prompt_turns(sample: Sample) -> Finding | None:
    """Prompt and answers are added to each other: all are lists of messages, or TypeError."""
    columns = (
        ("prompt", *_answer_columns(sample.layout)) if sample.layout.base == "prompt-turns" else ("chosen", "rejected")
    )
    for column in columns:
        value = sample.get(column)
        if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
            return stops(
                "choice-not-list", f"'{column}' is no list of messages: adding it to the prompt ends with TypeError"
            )
        if not value:
            return stops("no-turns", f"'{column}' is an empty list: is_conversational ends with IndexError")
    return None


def prompt_turn_roles(sample: Sample) -> Finding | None:
    """The roles of prompt and answers, as in a conversation."""
    return _unknown(_all_turns(sample))


def prompt_turn_texts(sample: Sample) -> Finding | None:
    """Empty answers and questions, as in a conversation."""
    return _empties(sample, _all_turns(sample))


def _all_turns(sample: Sample) -> list[Turn]:
    lists: list[Any] = [sample.get(c) for c in ("prompt", *_answer_columns(sample.layout))]
    return [turn for value in lists for turn in sample.turns_of(value) or []]


def no_label(sample: Sample) -> Finding | None:
    """KTOTrainer sorts rows by `label`: what is not true or false counts as something it is not."""
    label = sample.get("label")
    if sample.layout.kind != "verdicts" or isinstance(label, bool):
        return None
    return wrong(
        "no-label", f"'label' is {quoted(label)}, not true or false: it counts as {'good' if label else 'bad'}"
    )


def notes(layout: Layout) -> list[str]:
    """What to know of the snippet."""
    told = []
    if layout.kind == "answers" and layout.base in ("messages", "sharegpt"):
        told.append("questions are trained on too, unless assistant_only_loss=True (as in the snippet)")
    if layout.kind == "preference" and layout.base == "implicit":
        told.append(
            "the prompt is what both answers begin with; give 'prompt' a column of its own where that is not meant"
        )
    return told


_CONVERSATION = (
    *(
        missing_conversation,
        no_turns,
        role_missing,
        content_not_text,
        malformed_tools,
        no_answer,
        unknown_role,
        empty_turn,
    ),
    *(role_order, last_turn),
)
TEXT_PAIRS = (prompt_not_text, not_text, no_label, empty_completion, equal_pair)
TURN_PAIRS = (prompt_turns, no_label, malformed_tools, prompt_turn_roles, prompt_turn_texts, equal_pair)

TRL = Trainer(
    name="trl",
    title="TRL 1.16.0",
    source="data_utils.py, trainer/sft_trainer.py, trainer/dpo_trainer.py, trainer/kto_trainer.py",
    file_rules=(
        inside_an_object,
        late_column,
        conversations_column,
        prompt_beside_turns,
        roles_not_translated,
        sharegpt_pairs,
        sharegpt_verdicts,
    ),
    row_rules={
        "messages": _CONVERSATION,
        "prompt-turns": TURN_PAIRS,
        "prompt": TEXT_PAIRS,
        "implicit": TURN_PAIRS,
        "text": (empty_text,),
        "sharegpt": _CONVERSATION,
    },
    too_long=TooLong(
        default=1024,
        setting="max_length",
        effect="wrong",
        does="cut at its end",
        masked="skipped",
        masked_does="dropped, since its answer lies beyond the cut",
    ),
    notes=notes,
    mends=("alpaca",),
)
