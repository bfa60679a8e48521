"""Snippets of Python that load a file for TRL and Unsloth in the shape that these trainers want."""

import json
from pathlib import PurePosixPath

from pipeline.trainers.alpaca_rows import answer_column, question_columns
from pipeline.trainers.llama_factory import label_column
from pipeline.trainers.survey import Layout
from pipeline.trainers.trl import translated

_LOAD = """\
from pathlib import Path

from datasets import load_dataset

FILE = Path(__file__).resolve().parent / {place}
{shaping}

def dataset():
    rows = load_dataset({kind}, data_files=str(FILE), split="train")
    return {result}


"""

_TURNS = """\
ROLES = {roles}


def as_message(turn):
    return {{"role": ROLES.get(turn[{role}], turn[{role}]), "content": turn[{content}]}}


def in_shape(row):
    turns = [as_message(turn) for turn in row[{turns}]]
    tools = {{"tools": row["tools"]}} if "tools" in row else {{}}
    return {{**tools, {shaped}}}

"""

_SHAPED = {
    "answers": "{column}: turns",
    "preference": '"prompt": turns, "chosen": [as_message(row["chosen"])], "rejected": [as_message(row["rejected"])]',
    "verdicts": '"prompt": turns[:-1], "completion": turns[-1:], "label": row[{label}]',
}

_PAIR = """\


def in_shape(row):
    question = "\\n".join(row[name] for name in {question} if row.get(name))
    system = [{{"role": "system", "content": row["system"]}}] if row.get("system") else []
    past = []
    for asked, told in row.get("history") or []:
        past += [_turn("user", asked), _turn("assistant", told)]
    answer = _turn("assistant", row[{answer}])
    return {{"prompt": [*system, *past, _turn("user", question)], "completion": [answer]}}


def _turn(role, content):
    return {{"role": role, "content": content}}

"""

_MAPPED = "rows.map(in_shape, remove_columns=rows.column_names)"

_TRAINERS = {
    "answers": ("SFTConfig", "SFTTrainer"),
    "preference": ("DPOConfig", "DPOTrainer"),
    "verdicts": ("KTOConfig", "KTOTrainer"),
}

_TRL = """\
def trainer(model):
    from trl import {config}, {trainer}

{why}    args = {config}(output_dir="output", max_length=2048{options})
    return {trainer}(model=model, args=args, train_dataset=dataset())
"""

_UNSLOTH = """\
def trainer(model, tokenizer):
    from trl import SFTConfig, SFTTrainer
    from unsloth.chat_templates import train_on_responses_only

    rows = dataset()
{rendered}    args = SFTConfig(output_dir="output", dataset_text_field="text", max_length=2048)
    made = SFTTrainer(model=model, processing_class=tokenizer, args=args, train_dataset=rows)
    # Its two strings are left out: they are told from the chat template, and wrong ones mask every label.
    return train_on_responses_only(made)
"""


def trl_snippet(layout: Layout, place: str) -> str | None:
    """For TRL; None for a shape that no few lines make readable."""
    loading = _loading(layout, place, column="messages")
    if loading is None:
        return None
    config, trainer = _TRAINERS[layout.kind]
    talk = layout.turns is not None and layout.kind == "answers"
    options = ", assistant_only_loss=True" if talk else ""
    why = "    # Without assistant_only_loss questions are trained on as well.\n" if talk else ""
    said = '"""Loads the file for TRL 1.16.0; written by seedmill check."""\n\n'
    return said + loading + _TRL.format(config=config, trainer=trainer, why=why, options=options)


def unsloth_snippet(layout: Layout, place: str) -> str | None:
    """For Unsloth; None for a shape that no few lines make readable, or that goes to TRL's trainers."""
    loading = _loading(layout, place, column="conversations") if layout.kind == "answers" else None
    if loading is None or layout.base == "prompt":
        return None
    rendered = ""
    if layout.base != "text":
        shown = 'row["conversations"]' if layout.turns is not None else 'row["prompt"] + row["completion"]'
        rendered = (
            "    def told(row):\n"
            f'        return {{"text": tokenizer.apply_chat_template({shown}, tokenize=False)}}\n\n'
            "    rows = rows.map(told, remove_columns=rows.column_names)\n"
        )
    said = '"""Loads the file for Unsloth 2026.10.9; written by seedmill check."""\n\n'
    return said + loading + _UNSLOTH.format(rendered=rendered)


def _loading(layout: Layout, place: str, column: str) -> str | None:
    shaping, result = "", "rows"
    if layout.turns is not None:
        plain = (layout.turns, layout.base, layout.kind) == (column, "messages", "answers")
        if not plain or translated(layout) or "prompt" in layout.columns:
            shaping, result = _turns(layout, column), _MAPPED
    elif layout.base == "alpaca" and layout.kind == "answers":
        shaping = _PAIR.format(question=repr(question_columns(layout)), answer=json.dumps(answer_column(layout)))
        result = _MAPPED
    elif layout.base not in ("text", "prompt", "prompt-turns", "implicit"):
        return None
    kinds = {".parquet": '"parquet"', ".csv": '"csv"', ".tsv": '"csv", sep="\\t"'}
    kind = kinds.get(PurePosixPath(place.removesuffix(".gz").removesuffix(".zst")).suffix, '"json"')
    return _LOAD.format(place=json.dumps(place), kind=kind, shaping=shaping, result=result)


def _turns(layout: Layout, column: str) -> str:
    tags = layout.tags
    roles = {
        tags.system: "system",
        tags.user: "user",
        tags.assistant: "assistant",
        tags.function: "assistant",
        tags.observation: "tool",
    }
    return _TURNS.format(
        roles=json.dumps(roles),
        role=json.dumps(layout.role_key),
        content=json.dumps(layout.content_key),
        turns=json.dumps(layout.turns),
        shaped=_SHAPED[layout.kind].format(column=json.dumps(column), label=json.dumps(label_column(layout))),
    )
