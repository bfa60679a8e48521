"""Snippets of Python that load a file for TRL and Unsloth as these trainers want it."""

import json

from pipeline.trainers.alpaca_rows import answer_column, question_columns
from pipeline.trainers.survey import Layout

_LOAD = """\
from pathlib import Path

from datasets import load_dataset

FILE = Path(__file__).resolve().parent / {place}
{constants}

def dataset():
    rows = load_dataset({kind}, data_files=str(FILE), split="train")
{change}

"""

_MESSAGES = """
def as_messages(row):
    turns = [{{"role": ROLES[turn[{role}]], "content": turn[{content}]}} for turn in row[{turns}]]
    return {{{column}: turns}}
"""

_PAIR = """
def as_prompt_and_completion(row):
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

_TRAINERS = {
    "answers": ("SFTConfig", "SFTTrainer"),
    "preference": ("DPOConfig", "DPOTrainer"),
    "verdicts": ("KTOConfig", "KTOTrainer"),
}


def trl_snippet(layout: Layout, place: str) -> str | None:
    """For TRL; None for a shape that no few lines make readable."""
    loaded = _loading(layout, place, column="messages")
    if loaded is None:
        return None
    config, trainer = _TRAINERS[layout.kind]
    options = ", assistant_only_loss=True" if layout.turns is not None else ""
    why = "    # Without assistant_only_loss questions are trained on as well.\n" if options else ""
    return (
        '"""Loads the file for TRL 1.16.0; written by seedmill check."""\n\n'
        + loaded
        + f"def trainer(model):\n    from trl import {config}, {trainer}\n\n{why}"
        + f'    args = {config}(output_dir="output", max_length=2048{options})\n'
        + f"    return {trainer}(model=model, args=args, train_dataset=dataset())\n"
    )


def unsloth_snippet(layout: Layout, place: str) -> str | None:
    """For Unsloth; None for a shape that no few lines make readable, or that goes to TRL's trainers."""
    loaded = _loading(layout, place, column="conversations") if layout.kind == "answers" else None
    if loaded is None:
        return None
    turns = '"conversations"' if layout.turns is not None else None
    if layout.base == "text":
        rendered = "    rows = dataset()\n"
    else:
        shown = f"row[{turns}]" if turns else 'row["prompt"] + row["completion"]'
        rendered = (
            "    rows = dataset()\n"
            f'    rows = rows.map(lambda row: {{"text": tokenizer.apply_chat_template({shown}, tokenize=False)}})\n'
        )
    return (
        '"""Loads the file for Unsloth 2026.10.9; written by seedmill check."""\n\n'
        + loaded
        + "def trainer(model, tokenizer):\n"
        "    from trl import SFTConfig, SFTTrainer\n"
        "    from unsloth.chat_templates import train_on_responses_only\n\n"
        + rendered
        + '    args = SFTConfig(output_dir="output", dataset_text_field="text", max_length=2048)\n'
        "    made = SFTTrainer(model=model, processing_class=tokenizer, args=args, train_dataset=rows)\n"
        "    # Its two strings are left out: they are told from the chat template, and wrong ones mask every label.\n"
        "    return train_on_responses_only(made)\n"
    )


def _loading(layout: Layout, place: str, column: str) -> str | None:
    kind = '"parquet"' if place.endswith(".parquet") else '"json"'
    if layout.turns is not None:
        if layout.kind != "answers":
            return None
        change = _MESSAGES.format(
            role=json.dumps(layout.role_key),
            content=json.dumps(layout.content_key),
            turns=json.dumps(layout.turns),
            column=json.dumps(column),
        )
        plain = (layout.turns, layout.base) == (column, "messages")
        constants = "" if plain else f"ROLES = {_roles(layout)}\n{change}"
        kept = f'[name for name in rows.column_names if name not in ({column!r}, "tools")]'
        mapped = f"    return rows.map(as_messages, remove_columns={kept})"
        return _LOAD.format(
            place=_path(place), kind=kind, constants=constants, change="    return rows" if plain else mapped
        )
    if layout.base in ("text", "prompt", "prompt-turns", "implicit"):
        return _LOAD.format(place=_path(place), kind=kind, constants="", change="    return rows")
    if layout.base != "alpaca" or layout.kind != "answers":
        return None
    pair = _PAIR.format(question=repr(question_columns(layout)), answer=json.dumps(answer_column(layout)))
    mapped = "    return rows.map(as_prompt_and_completion, remove_columns=rows.column_names)"
    return _LOAD.format(place=_path(place), kind=kind, constants=pair, change=mapped)


def _path(place: str) -> str:
    return json.dumps(place, ensure_ascii=True)


def _roles(layout: Layout) -> str:
    tags = layout.tags
    roles = {
        tags.system: "system",
        tags.user: "user",
        tags.assistant: "assistant",
        tags.function: "assistant",
        tags.observation: "tool",
    }
    return json.dumps(roles, ensure_ascii=True)
