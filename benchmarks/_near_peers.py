"""The peers of the near-duplicates benchmark, each as its documentation says it is fastest."""

import subprocess
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from _edited_set import shingle_set

from pipeline.similar.minhash import bands_for

SKIPPED = {
    "data-juicer": "its package pulls in over a hundred others (93 s at 52k rows where it was measured)",
    "datatrove": "four stages over files, in processes of its own (72 s at 52k rows where it was measured)",
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


def by_text_dedup(texts: Sequence[str], folder: Path) -> tuple[float, int]:
    """Seconds of text-dedup's own process, reading and writing included, and rows it drops without verifying.

    It pins older versions of what we use, so it lives in a venv in `folder`, which is made when it is not there.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "text-dedup==0.4.0"], check=True)
    with tempfile.TemporaryDirectory() as place:
        pl.DataFrame({"text": texts}).write_parquet(f"{place}/texts.parquet")
        command = [python, "-m", "text_dedup.minhash", "--path", "parquet", "--split", "train", "--column", "text"]
        command += ["--data_files", f"{place}/texts.parquet", "--output", f"{place}/out", "--cache_dir", f"{place}/c"]
        command += ["--threshold", "0.7", "--num_perm", "128", "--ngram", "5", "--num_proc", "2"]
        begin = time.perf_counter()
        subprocess.run([*command, "--batch_size", "10000"], check=True, capture_output=True)
        seconds = time.perf_counter() - begin
        kept = sum(pl.read_ipc_stream(path).height for path in Path(place, "out").glob("*.arrow"))
    return seconds, len(texts) - kept
