"""A local encoder of the extra `semantic`: model2vec, vectors of tokens averaged, thousands of texts a second."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError

T = TypeVar("T")

FILES = ("model.safetensors", "tokenizer.json", "config.json")
"""What a model's folder holds."""

MADE_BY = "put model.safetensors, tokenizer.json and config.json of a model2vec model there, or name one as 'hub:'"
"""What to do about a folder that is none."""

_TEXTS = 1024


class Encoder:
    """A model2vec model, in this process.

    Args:
        folder: of a model, with `model.safetensors`, `tokenizer.json` and `config.json`; or None.
        hub: a model's name on the Hub, where no folder is given.

    Raises:
        UsageError: the extra is not installed, or there is no such model.
    """

    def __init__(self, folder: str | None, hub: str | None) -> None:
        try:
            from model2vec import StaticModel
        except ImportError as error:
            raise UsageError(
                "a local encoder needs the extra 'semantic', which is not installed",
                ".venv/bin/pip install -c constraints.txt -e '.[semantic]'",
            ) from error
        name = folder or hub
        try:
            self._model: Any = StaticModel.from_pretrained(str(name), force_download=False)
        except Exception as error:  # whatever the library and its parsers raise
            told = " ".join(str(error).split())[:200]
            raise UsageError(
                f"{name}: cannot be loaded as a model2vec model: {told or type(error).__name__}",
                "name its folder as 'encoder:', or a model of the Hub as 'hub:' (HF_ENDPOINT names a mirror)",
            ) from error

    def vectors(self, texts: Iterable[tuple[T, str]]) -> Iterator[tuple[T, NDArray[np.float32]]]:
        """The vector of each text, whole and in order; zeros for a text of which the model knows no token."""
        waiting = iter(texts)
        while block := list(islice(waiting, _TEXTS)):
            for (owner, _), vector in zip(block, self._encoded([text for _, text in block]), strict=True):
                yield owner, vector

    def _encoded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        made = self._model.encode(texts, max_length=None, normalize=False, use_multiprocessing=False)
        return np.asarray(made, np.float32)
