"""Rows a second that a quality model judges, beside fastText's own library on the same lines.

Trains on answers of REAL_DATA's alpaca_data.json, half of them cut short, then judges all rows: the stage as a whole
(question, answer and language taken from the records, lines made, probabilities put), the model alone, and the library.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fasttext
import polars as pl

from pipeline.quality.distill import Aim, distill
from pipeline.quality.folder import MODEL, read_model
from pipeline.quality.judged import Judged
from pipeline.quality.line import lines_of
from pipeline.record import Message, Record, digest, to_frame
from pipeline.similar.threads import processors
from pipeline.stage import Tools
from pipeline.stages.quality import Quality, _probabilities

BLOCK = 2_000
SAMPLE = 2_000


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Medians of three: elapsed, and of all processors together."""
    times = []
    for _ in range(3):
        began, used = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - began, time.process_time() - used))
    return statistics.median(t for t, _ in times), statistics.median(t for _, t in times)


def main() -> None:
    folder = os.environ.get("REAL_DATA")
    if folder is None:
        print("skipped: set REAL_DATA to the folder of alpaca_data.json")
        return
    rows = json.loads((Path(folder) / "alpaca_data.json").read_text(encoding="utf-8"))
    rows = [(f"{r['instruction']}\n{r['input']}".strip(), r["output"]) for r in rows if len(r["output"]) > 20]
    ids = [digest("bench", number) for number in range(len(rows))]
    table = pl.DataFrame(
        {
            "id": ids[:SAMPLE],
            "question": [q for q, _ in rows[:SAMPLE]],
            "answer": [a if i % 2 else a[: len(a) // 2] for i, (_, a) in enumerate(rows[:SAMPLE])],
            "language": ["en"] * SAMPLE,
            "score": [5.0 if i % 2 else 1.0 for i in range(SAMPLE)],
        }
    )
    records = [
        Record(id=i, language="en", messages=(Message(role="user", content=q), Message(role="assistant", content=a)))
        for i, (q, a) in zip(ids, rows, strict=True)
    ]
    frame = to_frame(records)
    blocks = [frame.slice(at, BLOCK) for at in range(0, frame.height, BLOCK)]
    paired = pl.DataFrame({"question": [q for q, _ in rows], "answer": [a for _, a in rows]})
    lines = [line + "\n" for line in lines_of(paired["question"], paired["answer"]).texts()]
    fasttext.FastText.eprint = lambda *words: None
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch) / "model"
        train = time.perf_counter()
        distill(Judged(table, {"run": "bench", "judge": None}), Aim("accuracy", 4.5, 0.9), where)
        train = time.perf_counter() - train
        model, library = read_model(where), fasttext.load_model(str(where / MODEL))
        tools = Tools(entry="quality", seed=1, llm=None, map=None)  # type: ignore[arg-type]
        stage = Quality(classifier=str(where), threshold="model")
        unknown = [block.with_columns(language=pl.lit(None, dtype=pl.String)) for block in blocks]
        stage.run(unknown[0], tools)
        found = {
            "the stage": seconds(lambda: [stage.run(block, tools) for block in blocks]),
            "the stage, languages unknown": seconds(lambda: [stage.run(block, tools) for block in unknown]),
            "lines and model": seconds(lambda: _probabilities(model, paired)),
            "fastText's library, lines given": seconds(lambda: [library.f.predict(x, 2, 0.0, "strict") for x in lines]),
        }
    print(f"{len(rows):,} rows, {processors()} processors, Python {sys.version.split()[0]}; trained in {train:.1f} s")
    for name, (took, used) in found.items():
        print(f"{name:34}{took:8.2f} s {len(rows) / took:9,.0f} rows/s {used:8.2f} s of processors")


if __name__ == "__main__":
    main()
