"""Many texts cut into few calls, the same way whenever the same texts come."""

import hashlib
from collections.abc import Iterable, Iterator

CHARACTERS = 100_000
"""In one call at most, unless one text has more. OpenAI takes 300,000 tokens a call, and a character may be two."""


def batches(texts: Iterable[str], most: int, characters: int = CHARACTERS) -> Iterator[list[str]]:
    """The texts in order, in batches of at most `most`.

    Where a batch ends is decided by what the texts say, not by how many came before: behind a text whose hash falls
    into a certain class, of which every `most / 2`-th is one (content-defined chunking, as rsync and backup programs do
    it). So a row more or less changes the calls near it, and those far from it are found in the ledger. A batch has
    43 % of `most` texts on average.

    Args:
        texts: as they come.
        most: texts in a batch.
        characters: in a batch.
    """
    batch: list[str] = []
    size, classes = 0, max(1, most // 2)
    for text in texts:
        if batch and (len(batch) == most or size + len(text) > characters):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
        if _class(text, classes) == 0:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _class(text: str, classes: int) -> int:
    hashed = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(hashed, "big") % classes
