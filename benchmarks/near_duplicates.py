"""Near-duplicates (word 5-grams, Jaccard 0.7, verified, star) from raw strings: us and datasketch.

Run: REAL_DATA=folder python benchmarks/near_duplicates.py [--rows 52002]
Beyond the 52,002 real rows come edited copies whose partners are known. What both find is compared before times are.
"""

import argparse
import random
import resource
import sys
from collections.abc import Sequence

import datasketch
import numpy as np
import polars as pl
from novelty import alpaca, show, timed

from pipeline.similar.cluster import near_duplicates
from pipeline.similar.minhash import band_keys, bands_for
from pipeline.similar.shingles import shingles
from pipeline.similar.tokens import characters

THRESHOLD, NUM_PERM, SIZE = 0.7, 128, 5


def with_copies(texts: Sequence[str], rows: int, seed: int = 1) -> tuple[list[str], dict[int, int]]:
    """So many rows: the texts, then copies with 1 to 30 % of the words replaced, swapped or cut off the end.

    Returns:
        The rows, and for each copy's row that of its original.
    """
    rng = random.Random(seed)
    made, origin = list(texts[:rows]), {}
    while len(made) < rows:
        source = rng.randrange(len(texts))
        words = texts[source].split()
        if len(words) < 20:
            continue
        count = max(1, round(len(words) * rng.uniform(0.01, 0.3)))
        places = rng.sample(range(len(words) - 1), count)
        edit = rng.choice(("replace", "swap", "cut"))
        if edit == "cut":
            del words[-count:]
        for place in places if edit != "cut" else ():
            if edit == "swap":
                words[place], words[place + 1] = words[place + 1], words[place]
            else:
                words[place] = f"x{rng.randrange(10**6)}"
        origin[len(made)] = source
        made.append(" ".join(words))
    return made, origin


def ours(texts: Sequence[str]) -> dict[int, int]:
    cut = shingles(pl.Series(texts, dtype=pl.String), SIZE)
    keys = band_keys(cut, bands_for(THRESHOLD, NUM_PERM))
    partner = near_duplicates(cut, keys, np.arange(len(texts)), THRESHOLD).partner
    return {int(row): int(partner[row]) for row in np.flatnonzero(partner >= 0)}


def shingle_set(text: str) -> set[str]:
    tokens = characters(text)
    return {" ".join(tokens[i : i + SIZE]) for i in range(max(len(tokens) - SIZE + 1, 1 if tokens else 0))}


def jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b)


def by_datasketch(texts: Sequence[str]) -> dict[int, int]:
    """The same rule with datasketch's own hashing, sketches and index, and Python's sets for verification."""
    bands = bands_for(THRESHOLD, NUM_PERM)
    lsh = datasketch.MinHashLSH(num_perm=NUM_PERM, params=(bands.bands, bands.rows))
    sets = [shingle_set(text) for text in texts]
    sketches = datasketch.MinHash.bulk([[s.encode() for s in one] for one in sets], num_perm=NUM_PERM)
    dropped: dict[int, int] = {}
    for row, sketch in enumerate(sketches):
        if not sets[row]:
            continue
        scores = {other: jaccard(sets[row], sets[other]) for other in lsh.query(sketch)}
        best = max(scores, key=lambda other: (scores[other], -other), default=-1)
        if best >= 0 and scores[best] >= THRESHOLD:
            dropped[row] = best
        else:
            lsh.insert(row, sketch, check_duplication=False)
    return dropped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=52_002)
    parser.add_argument("--no-peers", action="store_true", help="only us, for sizes that would take the peers hours")
    options = parser.parse_args()
    texts, origin = with_copies(alpaca("instruction", "input", "output"), options.rows)
    ours(texts[:100])  # load the compiled code

    found, seconds = timed(lambda: ours(texts))
    if any(jaccard(shingle_set(texts[a]), shingle_set(texts[b])) < THRESHOLD for a, b in found.items()):
        sys.exit("a pair below the threshold was reported: no times are worth printing")
    lines = [("seedmill", seconds, f"{len(found)} dropped, every pair verified")]
    if origin:
        close = [c for c, o in origin.items() if jaccard(shingle_set(texts[c]), shingle_set(texts[o])) >= 0.75]
        recall = sum(c in found for c in close) / len(close)
        lines[0] = (*lines[0][:2], lines[0][2] + f", {recall:.4f} of {len(close)} copies with Jaccard >= 0.75")
    if not options.no_peers:
        theirs, seconds_datasketch = timed(lambda: by_datasketch(texts))
        both = len(found.keys() & theirs.keys())
        if both < 0.98 * max(len(found), len(theirs)):
            sys.exit(f"we drop {len(found)}, datasketch {len(theirs)}, both only {both}: no times are worth printing")
        remark = f"{len(theirs)} dropped, {both} in common; we take 1/{seconds_datasketch / seconds:.0f} of its time"
        lines.append(("datasketch, verified by sets", seconds_datasketch, remark))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024) / 1024
    title = f"near-duplicates among {len(texts)} rows (peak memory of this process {memory:.1f} GB)"
    show(title, lines, ("datasketch", "numba", "numpy", "polars"))


if __name__ == "__main__":
    main()
