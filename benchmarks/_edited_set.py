"""The set that near-duplicate benchmarks are run on: real rows, then edited copies whose originals are recorded."""

import random
from collections.abc import Sequence

from pipeline.similar.tokens import characters

SIZE = 5
KINDS = ("replace", "retouch", "swap", "cut")


def with_copies(texts: Sequence[str], rows: int, seed: int = 1) -> tuple[list[str], list[int]]:
    """So many rows: the texts, then copies, a quarter each:

    `replace` 5 to 30 % of the words by others, anywhere; `retouch` 1 to 5 % of them; `swap` one to three pairs of
    neighbours; `cut` 5 to 30 % of the words off the end.

    Returns:
        The rows, and for each one the row of its original (-1 for an original).
    """
    rng = random.Random(seed)
    words = [text.split() for text in texts]
    long = [row for row, one in enumerate(words) if len(one) >= 20]
    made, origin = list(texts[:rows]), [-1] * min(rows, len(texts))
    while len(made) < rows:
        source = rng.choice(long)
        made.append(" ".join(_edited(words[source], rng)))
        origin.append(source)
    return made, origin


def _edited(words: Sequence[str], rng: random.Random) -> list[str]:
    kind = KINDS[rng.randrange(4)]
    edited = list(words)
    if kind == "cut":
        del edited[-max(1, round(len(words) * rng.uniform(0.05, 0.3))) :]
    elif kind == "swap":
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(words) - 1)
            edited[at], edited[at + 1] = edited[at + 1], edited[at]
    else:
        share = rng.uniform(0.05, 0.3) if kind == "replace" else rng.uniform(0.01, 0.05)
        for at in rng.sample(range(len(words)), max(1, round(len(words) * share))):
            edited[at] = f"x{rng.randrange(10**6)}"
    return edited


def shingle_set(text: str) -> set[str]:
    """The runs of 5 tokens, as text: what the similarity is defined on, without any hash."""
    tokens = characters(text)
    return {" ".join(tokens[i : i + SIZE]) for i in range(max(len(tokens) - SIZE + 1, 1 if tokens else 0))}


def jaccard(a: str, b: str) -> float:
    one, other = shingle_set(a), shingle_set(b)
    return len(one & other) / len(one | other) if one or other else 0.0
