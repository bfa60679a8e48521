"""A benchmark as hashes: what a pack holds, and all that decisions are made of."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.contamination.grams import ANSWER_TOKENS, LEAST, grams_of, single_counts, tokens_of
from pipeline.contamination.items import Columns, Item, items_of
from pipeline.errors import DataError
from pipeline.formats.elements import Unreadable
from pipeline.similar.shingles import Shingles


@dataclass(frozen=True, slots=True)
class Source:
    """A file that a benchmark was read from; `unreadable` counts rows of it that could not be."""

    file: str
    sha256: str
    items: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Hashes of the texts of a benchmark's items.

    Attributes:
        version: what its maker calls this state of it; empty when nobody said.
        files, lines, ids: of each item the number of its source, its line there and its name, if it has one.
        items: of each text the number of its item.
        answers: of each text whether it is an answer.
        tokens: of each text how many it has.
        characters: of each text whether most of its tokens are single characters, as in Chinese.
        whole: of each question the hash of all its tokens, 0 of other texts.
        grams: of each text its hashes, in the order of `grams.places`, 0 where there is none.
    """

    name: str
    version: str
    sources: tuple[Source, ...]
    files: NDArray[np.int32]
    lines: NDArray[np.int64]
    ids: tuple[str | None, ...]
    items: NDArray[np.int64]
    answers: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    characters: NDArray[np.bool_]
    whole: NDArray[np.uint64]
    grams: Shingles

    @property
    def unreadable(self) -> int:
        """Rows of its files that could not be read."""
        return sum(source.unreadable for source in self.sources)


def read_benchmark(paths: Sequence[Path], columns: Columns, name: str = "", version: str = "") -> Benchmark:
    """The benchmark in one or several files.

    Args:
        paths: its files; each text of theirs is hashed and forgotten.
        columns: names of columns, where they are not the usual ones.
        name: the first file's without its endings when empty.

    Raises:
        DataError: a file cannot be read, or holds no text to look for.
    """
    sources: list[Source] = []
    items: list[Item] = []
    files: list[int] = []
    for number, path in enumerate(paths):
        found, unreadable = [], 0
        for item in items_of(path, columns):
            if isinstance(item, Unreadable):
                unreadable += 1
            else:
                found.append(item)
        if not any(item.questions or item.answers for item in found):
            raise DataError(f"{path}: holds no text to look for", "check the file and the names of its columns")
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        sources.append(Source(path.name, digest, len(found), unreadable))
        items += found
        files += [number] * len(found)
    return _hashed(name or stem(paths[0]), version, tuple(sources), files, items)


def stem(path: Path) -> str:
    """A file's name without its endings."""
    return path.name.split(".")[0] or path.name


def _hashed(name: str, version: str, sources: tuple[Source, ...], files: list[int], items: list[Item]) -> Benchmark:
    texts = [(number, text, answer) for number, item in enumerate(items) for text, answer in _sides(item)]
    column = pl.Series([text for _, text, _ in texts], dtype=pl.String)
    tokens = tokens_of(column)
    answers = np.array([answer for _, _, answer in texts], np.bool_)
    grams, whole = grams_of(tokens)
    # What is never looked for is not told either: the hash of "42" would be known to everybody at once.
    whole[answers | (tokens.counts < LEAST)] = 0
    grams.values[np.repeat(answers & (tokens.counts < ANSWER_TOKENS), grams.counts)] = 0
    return Benchmark(
        name=name,
        version=version,
        sources=sources,
        files=np.array(files, np.int32),
        lines=np.array([item.line for item in items], np.int64),
        ids=tuple(item.id for item in items),
        items=np.array([number for number, _, _ in texts], np.int64),
        answers=answers,
        tokens=tokens.counts,
        characters=2 * single_counts(column) > tokens.counts,
        whole=whole,
        grams=grams,
    )


def _sides(item: Item) -> list[tuple[str, bool]]:
    return [*((text, False) for text in item.questions), *((text, True) for text in item.answers)]
