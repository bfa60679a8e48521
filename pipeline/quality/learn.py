"""Training: fastText on one thread from a fixed seed, so that equal rows in give equal bytes out."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from pipeline.quality.classifier import BAD, GOOD
from pipeline.record import digest

SETTINGS = {"dim": 16, "epoch": 25, "lr": 0.5, "wordNgrams": 2, "bucket": 1 << 17, "minCount": 2}
"""fastText's, by its names. Chosen on damaged answers (docs/quality.md); epochs from 25 and rates from 0.2 do alike."""


def train(lines: Sequence[str], ids: Sequence[str], good: NDArray[np.bool_], path: Path) -> None:
    """Train on lines of tokens and write the model to `path`.

    The smaller class is repeated until both are as large, as fastText knows no weights; the threshold and the
    probabilities come from rows that are not, so they know the true shares. Lines are taken in the order of a hash.
    """
    import fasttext

    counts = {True: int(good.sum()), False: int((~good).sum())}
    most = max(counts.values())
    marked = []
    for kind, count in counts.items():
        mine = sorted(np.flatnonzero(good == kind).tolist(), key=lambda row: digest("quality-repeat", ids[row]))
        for copy in range(most):
            row = mine[copy % count]
            label = GOOD if kind else BAD
            marked.append((digest("quality-order", ids[row], copy // count), f"{label} {lines[row]}\n"))
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "train.txt"
        file.write_text("".join(line for _, line in sorted(marked)), encoding="utf-8")
        model = fasttext.train_supervised(str(file), thread=1, seed=1, verbose=0, **SETTINGS)
    model.save_model(str(path))
