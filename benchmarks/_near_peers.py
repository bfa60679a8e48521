"""The peers of the near-duplicates benchmark, each as its documentation says it is fastest."""

from collections.abc import Sequence

from _edited_set import shingle_set

from pipeline.similar.minhash import bands_for

SKIPPED = {
    "data-juicer": "its package pulls in over a hundred others (93 s at 52k rows where it was measured)",
    "datatrove": "four stages over files, in processes of its own (72 s at 52k rows where it was measured)",
    "text-dedup": "pins Spark and older versions of what we use (64 s at 52k and 176 s at 200k where it was measured)",
}


def by_rensa(texts: Sequence[str]) -> set[int]:
    """Rows that rensa's LSH flags as a repeat of an earlier row or of a later one; nothing is verified."""
    from rensa import RMinHash, RMinHashLSH

    matrix = RMinHash.digest_matrix_from_token_sets([list(shingle_set(text)) for text in texts], 128, 42)
    flags = RMinHashLSH(threshold=0.7, num_perm=128, num_bands=32).query_duplicate_flags_matrix_one_shot(matrix)
    return {row for row, flag in enumerate(flags) if flag}


def by_datasketch(texts: Sequence[str]) -> dict[int, int]:
    """Our rule with datasketch's own hashing, sketches and index, and Python's sets for verification."""
    import datasketch

    bands = bands_for(0.7, 128)
    lsh = datasketch.MinHashLSH(num_perm=128, params=(bands.bands, bands.rows))
    sets = [shingle_set(text) for text in texts]
    sketches = datasketch.MinHash.bulk([[s.encode() for s in one] for one in sets], num_perm=128)
    dropped: dict[int, int] = {}
    for row, sketch in enumerate(sketches):
        if not sets[row]:
            continue
        scores = {other: len(sets[row] & sets[other]) / len(sets[row] | sets[other]) for other in lsh.query(sketch)}
        best = max(scores, key=lambda other: (scores[other], -other), default=-1)
        if best >= 0 and scores[best] >= 0.7:
            dropped[row] = best
        else:
            lsh.insert(row, sketch, check_duplication=False)
    return dropped
