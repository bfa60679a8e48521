"""Axolotl's description of a file: the `datasets` part of its YAML.

Read from axolotl 0.19.0: `utils/schemas/datasets.py`, `docs/dataset-formats/`, and the strategies named in axolotl.py.
"""

from typing import Any

import yaml

from pipeline.trainers.alpaca_rows import answer_column
from pipeline.trainers.survey import Layout

_HEAD = """\
# The dataset part of an Axolotl configuration; written by seedmill check for Axolotl 0.19.0.
# Paths are relative to this file: start axolotl here, or change them.
"""


def axolotl_yaml(layout: Layout, place: str) -> str | None:
    """The YAML for a file of this shape; None for a shape that is not read."""
    strategy = _strategy(layout)
    if strategy is None or place.endswith(".tsv"):
        return None
    ds_type = next((kind for kind in ("parquet", "csv") if place.endswith(f".{kind}")), "json")
    config: dict[str, Any] = {"datasets": [{"path": place, "ds_type": ds_type, **strategy}]}
    if layout.kind != "answers":
        config = {"rl": "dpo" if layout.kind == "preference" else "kto", **config}
    return _HEAD + yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _strategy(layout: Layout) -> dict[str, Any] | None:
    if layout.turns is not None:
        return None if layout.kind == "verdicts" else _chat(layout)
    if layout.base == "text":
        return {"type": "completion", "field": "text"}
    if layout.base == "prompt":
        return _prompt(layout)
    if layout.base == "alpaca" and layout.kind == "answers" and answer_column(layout) == "output":
        return {"type": "alpaca_w_system.load_instruct" if "system" in layout.columns else "alpaca"}
    return None


def _prompt(layout: Layout) -> dict[str, Any]:
    if layout.kind == "preference":
        return {"type": "chatml.prompt_pairs"}
    if layout.kind == "verdicts":
        return {"type": "chatml.ultra"}
    fields = {"system_prompt": "", "field_instruction": "prompt", "field_output": "completion"}
    return {"type": {**fields, "format": "{instruction}", "no_input_format": "{instruction}"}}


def _chat(layout: Layout) -> dict[str, Any]:
    tags = layout.tags
    described: dict[str, Any] = {
        "type": "chat_template.default" if layout.kind == "preference" else "chat_template",
        "field_messages": layout.turns,
        "message_property_mappings": {"role": layout.role_key, "content": layout.content_key},
        "roles": {
            "user": list(dict.fromkeys((tags.user, "user"))),
            "assistant": list(dict.fromkeys((tags.assistant, "assistant", tags.function))),
            "system": list(dict.fromkeys((tags.system, "system"))),
            "tool": list(dict.fromkeys((tags.observation, "tool"))),
        },
    }
    if layout.kind == "preference":
        return described | {"field_chosen": "chosen", "field_rejected": "rejected"}
    described |= {"roles_to_train": ["assistant"], "train_on_eos": "turn"}
    training = next((key for key in ("train", "weight") if key in layout.turn_keys), None)
    return described | ({} if training is None else {"message_field_training": training})
