"""Near-duplicates (word 5-grams, Jaccard 0.7, verified, star) from raw strings: us, rensa and datasketch.

Run: REAL_DATA=folder python benchmarks/near_duplicates.py [--rows 52002 200000 1000000] [--check 100000]
Beyond the 52,002 real rows come edited copies whose originals are known (see _edited_set.py). Every pair that we
report, or so many chosen by a seed, is computed again from sets of strings; so are the copies whose true Jaccard is
0.75 or more, of which at least 0.98 must not be kept beside their original. Only then are times printed. Ours are
those of a process of its own that has done nothing else, and so is its peak memory, the texts included.

Predicted from the processor time of the parts, for two free cores: 52,002 rows 0.25 s, 200,000 rows 1.2 s, 1,000,000
rows 7 s and 2.2 GB, ten million rows of 12 to 30 words 40 s and 9 GB. Before that work: 0.26 s, 3.85 s, and about 18 s
and 3.6 GB for a million.

Came, on two cores with nothing else to do: 52,002 rows 0.11 to 0.13 s (rensa 1.7 to 2.7 s, datasketch 12 s, text-dedup
13.6 s), 200,000 rows 0.9 s (rensa 7.7 to 8.6 s, text-dedup 48 s), 1,000,000 rows 8.5 s and 2.42 GB, 0.7 GB of which are
the strings; ten million short ones 32 s and 5.4 GB. Beside five to fifteen other processes 0.33, 1.4 and 16 s, and ten
million at the lowest priority 407 s. Recall was 0.9999, and none of the pairs that were computed again was below the
threshold. What was not linear before: every text was sketched (those that are like no other never are now), sets were
sorted, and bands were numbered through strided columns.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _edited_set import SIZE, jaccard, with_copies
from _near_peers import SKIPPED, by_datasketch, by_rensa, by_text_dedup
from _short_rows import short_rows
from _verdicts import Verdicts
from novelty import alpaca, show, timed

from pipeline.similar.cluster import Rule, near_duplicates
from pipeline.similar.minhash import bands_for
from pipeline.similar.shingles import shingle_parts

THRESHOLD, NUM_PERM = 0.7, 128
PATIENT_ROWS = 60_000
"""Above this datasketch would take minutes, and of the peers only rensa has a ratio to keep to."""


def ours(texts: Sequence[str]) -> dict[int, int]:
    found = near_duplicates(
        shingle_parts(texts, SIZE),
        bands_for(THRESHOLD, NUM_PERM),
        np.arange(len(texts)),
        Rule(THRESHOLD),
    )
    return {int(row): int(found.partner[row]) for row in np.flatnonzero(found.partner >= 0)}


def peak_bytes() -> int:
    """The most memory this process has held; `ru_maxrss` of Linux would count the process that started it as well."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def measure(path: Path) -> None:
    """What a fresh process prints: seconds (median of 3), processor time, peak bytes, dropped rows with partners."""
    with path.open(encoding="utf-8") as lines:
        texts = [json.loads(line) for line in lines]
    ours(texts[:100])  # load the compiled code
    seconds, processor = [], []
    for _ in range(3):
        begin, began = time.perf_counter(), time.process_time()
        found = ours(texts)
        seconds.append(time.perf_counter() - begin)
        processor.append(time.process_time() - began)
        # Of the first run: what the others add is what the allocator has not given back.
        if len(seconds) == 1:
            peak = peak_bytes()
    facts = {
        "seconds": statistics.median(seconds),
        "processor": statistics.median(processor),
        "peak": peak,
    }
    print(json.dumps({**facts, "pairs": list(found.items())}))


def measured(texts: Sequence[str]) -> tuple[dict[int, int], dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts"
        path.write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
        done = subprocess.run([sys.executable, __file__, "--measure", str(path)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    facts = json.loads(done.stdout)
    return dict(map(tuple, facts.pop("pairs"))), facts


def verified(texts: Sequence[str], origin: Sequence[int], found: dict[int, int], check: int) -> str:
    """Precision and recall from sets of strings; ends the program when they are not what is promised."""
    rng = random.Random(7)
    pairs = list(found.items())
    pairs = pairs if len(pairs) <= check else rng.sample(pairs, check)
    if any(jaccard(texts[a], texts[b]) < THRESHOLD for a, b in pairs):
        sys.exit("a pair below the threshold was reported: no times are worth printing")
    remark = f"{len(found)} dropped, {len(pairs)} of them verified again"
    copies = [row for row, source in enumerate(origin) if source >= 0]
    if not copies:
        return remark
    copies = copies if len(copies) <= check else rng.sample(copies, check)
    close = [row for row in copies if jaccard(texts[row], texts[origin[row]]) >= 0.75]
    recall = sum(row in found or origin[row] in found for row in close) / len(close)
    if recall < 0.98:
        sys.exit(f"recall {recall:.4f} is below 0.98: no times are worth printing")
    return f"{remark}; recall {recall:.4f} of {len(close)} copies with Jaccard >= 0.75"


def compare(
    texts: Sequence[str],
    origin: Sequence[int],
    check: int,
    verdicts: Verdicts,
    *,
    peers: bool,
    text_dedup: Path | None,
) -> None:
    found, facts = measured(texts)
    seconds = facts["seconds"]
    used = f"{facts['processor']:.2f} s of processor time, peak {facts['peak'] / 1e9:.2f} GB"
    remark = f"{used}; {verified(texts, origin, found, check)}"
    lines = [("seedmill", seconds, remark)]
    if len(texts) >= 1_000_000:
        figure, met = f"{seconds:.1f} s, {facts['peak'] / 1e9:.2f} GB", seconds <= 12 and facts["peak"] <= 2.5e9
        verdicts.tell(f"near-duplicates, {len(texts):,}", figure, "<= 12 s, <= 2.5 GB", met)
    if peers:
        begin = time.process_time()
        flagged, took = timed(lambda: by_rensa(texts))
        processor = (time.process_time() - begin) / 3
        missed = len(found.keys() - flagged)
        remark = f"{processor:.2f} s of processor time; {len(flagged)} flagged, nothing verified, {missed} of ours not"
        lines.append(("rensa", took, f"{remark}; we take 1/{took / seconds:.1f} of its time"))
        times = took / seconds
        verdicts.tell(f"near-duplicates, {len(texts):,}", f"1/{times:.1f} of rensa, verified", "<= 1/8", times >= 8)
    if peers and len(texts) <= PATIENT_ROWS:
        theirs, took = timed(lambda: by_datasketch(texts))
        both = len(found.keys() & theirs.keys())
        if both < 0.98 * max(len(found), len(theirs)):
            sys.exit(f"we drop {len(found)}, datasketch {len(theirs)}, both only {both}: no times are worth printing")
        remark = f"{len(theirs)} dropped, {both} in common; we take 1/{took / seconds:.0f} of its time"
        lines.append(("datasketch, verified by sets", took, remark))
    if peers and text_dedup is not None:
        took, dropped = by_text_dedup(texts, text_dedup)
        remark = f"{dropped} dropped, nothing verified; one run; we take 1/{took / seconds:.0f} of its time"
        lines.append(("text-dedup 0.4.0", took, remark))
        if len(texts) <= PATIENT_ROWS:
            times = took / seconds
            verdicts.tell(f"near-duplicates, {len(texts):,}", f"1/{times:.0f} of text-dedup", "<= 1/100", times >= 100)
    show(f"near-duplicates among {len(texts)} rows", lines, ("rensa", "datasketch", "numba", "numpy", "polars"))


def many_short(rows: int) -> None:
    """Millions of rows in one process, whose texts are made block by block and forgotten."""
    parts, spent, made = [], 0.0, 0
    for block in short_rows(alpaca("instruction", "input", "output"), rows):
        begin = time.perf_counter()
        parts += shingle_parts(block, SIZE)
        spent += time.perf_counter() - begin
        made += len(block)
    begin = time.perf_counter()
    found = near_duplicates(parts, bands_for(THRESHOLD, NUM_PERM), np.arange(made), Rule(THRESHOLD))
    spent += time.perf_counter() - begin
    peak = peak_bytes()
    dropped = int((found.partner >= 0).sum())
    values = sum(len(part.values) for part in parts)
    remark = f"{values} shingles, {dropped} dropped, peak {peak / 1e9:.2f} GB, making the rows not counted; one run"
    show(f"near-duplicates among {made} short rows", [("seedmill", spent, remark)], ("numba", "numpy", "polars"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[52_002, 200_000, 1_000_000])
    parser.add_argument("--check", type=int, default=100_000, help="how many pairs are computed again at most")
    parser.add_argument("--no-peers", action="store_true", help="only us")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--text-dedup", type=Path, metavar="DIR", help="text-dedup too, from a venv made there")
    parser.add_argument("--short", type=int, metavar="ROWS", help="only us, one run over so many rows of 12-30 words")
    options = parser.parse_args()
    if options.measure is not None:
        measure(options.measure)
        return
    if options.short is not None:
        many_short(options.short)
        return
    real = alpaca("instruction", "input", "output")
    verdicts = Verdicts(__file__, ("rensa", "datasketch", "numba", "numpy", "polars"))
    for rows in options.rows:
        texts, origin = with_copies(real, rows)
        with_peers = not options.no_peers and rows <= 200_000
        compare(texts, origin, options.check, verdicts, peers=with_peers, text_dedup=options.text_dedup)
    if options.text_dedup is None:
        print("not run: text-dedup: it pins older versions of what we use; --text-dedup DIR makes a venv for it")
    for name, reason in SKIPPED.items():
        print(f"not run: {name}: {reason}")


if __name__ == "__main__":
    main()
