"""Runs LLaMA-Factory's own data code over a file; started with the Python of .venv-trainers, prints JSON.

Everything that decides about a row is the package's code as shipped: `data/parser.py` reads the dataset_info.json,
`data/converter.py` converts, `data/template.py` with `data/formatter.py` renders, `data/processor/` drops or encodes.
Left out are `data/__init__.py` and three imports that need PyTorch and decide nothing about text: names of weight files
(peft), the hub switches of `extras/misc.py`, and the plugin for images, which returns text as it is
(`BasePlugin.process_messages`). Characters stand for tokens.

    python llama_factory_rows.py < [[dataset_info.json's folder, name, stage, cutoff], ...]
"""

import importlib.metadata
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


def stand_in(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module
    return module


class TextPlugin:
    def process_messages(self, messages: Any, *rest: Any) -> Any:
        return messages

    def process_token_ids(self, input_ids: Any, labels: Any, *rest: Any) -> Any:
        return input_ids, labels


class Characters:
    """A tokenizer: a character is a token, a special token one more."""

    eos_token, eos_token_id, bos_token_id = "\x03", 3, None

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [ord(character) for character in text]

    def convert_tokens_to_ids(self, token: str) -> int:
        return 1


spec = importlib.util.find_spec("llamafactory")
assert spec is not None
assert spec.submodule_search_locations is not None
data = stand_in("llamafactory.data")
data.__path__ = [str(Path(spec.submodule_search_locations[0]) / "data")]
stand_in("peft", utils=None)
stand_in("peft.utils", SAFETENSORS_WEIGHTS_NAME="a.safetensors", WEIGHTS_NAME="a.bin")
stand_in("llamafactory.extras.misc", use_modelscope=lambda: False, use_openmind=lambda: False)
stand_in("llamafactory.data.mm_plugin", get_mm_plugin=lambda *a, **k: TextPlugin())

import logging  # noqa: E402

import datasets  # noqa: E402
from llamafactory.data.converter import get_dataset_converter  # noqa: E402
from llamafactory.data.parser import get_dataset_list  # noqa: E402
from llamafactory.data.processor import (  # noqa: E402
    FeedbackDatasetProcessor,
    PairwiseDatasetProcessor,
    SupervisedDatasetProcessor,
)
from llamafactory.data.template import TEMPLATES  # noqa: E402

logging.disable(logging.CRITICAL)
datasets.disable_progress_bars()

PROCESSORS = {"answers": SupervisedDatasetProcessor, "preference": PairwiseDatasetProcessor}


def judged(folder: Path, name: str, stage: str, cutoff: int) -> list[Any]:
    attributes = get_dataset_list([name], str(folder))[0]
    options = SimpleNamespace(
        cutoff_len=cutoff, mask_history=False, train_on_prompt=False, media_dir=str(folder), packing=False
    )
    convert = get_dataset_converter(attributes.formatting, attributes, options)
    processor = PROCESSORS.get(stage, FeedbackDatasetProcessor)(TEMPLATES["qwen"], Characters(), None, options)
    with tempfile.TemporaryDirectory() as cache:
        path = str(folder / attributes.dataset_name)
        rows = datasets.load_dataset("json", data_files=path, split="train", cache_dir=cache)
        return [outcome(row, convert, processor) for row in rows]


def outcome(row: dict[str, Any], convert: Any, processor: Any) -> list[Any]:
    """`stops` with the error, `skipped`, or `trained` with the texts that have labels, and the length."""
    try:
        converted = convert(row)
        made = processor.preprocess_dataset({key: [value] for key, value in converted.items()})
    except Exception as error:
        return ["stops", type(error).__name__]
    ids = made.get("input_ids") or made.get("chosen_input_ids")
    if not ids:
        return ["skipped"]
    labels = made.get("labels") or made["chosen_labels"]
    text = "".join(chr(i) if i >= 0 else "\0" for i in labels[0])
    return ["trained", [part for part in text.split("\0") if part], len(ids[0])]


if __name__ == "__main__":
    made = [judged(Path(folder), name, stage, cutoff) for folder, name, stage, cutoff in json.load(sys.stdin)]
    print(json.dumps({"version": importlib.metadata.version("llamafactory"), "outcomes": made}))
