"""Reading and writing alpaca_data.json as a JSON array, JSON Lines and parquet: us, polars and msgspec.

Run: REAL_DATA=folder python benchmarks/reading.py [--runs 3]
The peers decode the rows and encode them again into the same container; they keep no record of what is wrong. We do
what `seedmill convert` and the read stage do: rows become records with what they came from, what cannot be read is
quarantined, and in the read stage every record gets its id, a hash of its content, and repeats are numbered. The rows
that come out are compared before times are printed.

Predicted before the compiled reader was written: 2.2 s -> 0.15 s for the read stage on the array, about 45 ms of that
reading as msgspec needs, 60 ms hashing, the rest columns; so 2 x msgspec for converting, more for reading with ids.
Found: converting takes 0.8 to 1.1 x of what the faster peer takes on a quiet machine, 1.4 to 1.7 x on a busy one. The
read stage takes 0.15 to 0.2 s, a third of it hashing. Into the store it took 1.7 to 3.1 x polars, one thing after the
other; since a thread compresses what has been read while more is read, ids are hashed in a compiled pass (which lets
that thread go on) and texts are stored without dictionaries, 1.3 to 1.9 x (array), 1.4 to 2.4 x (lines, parquet),
by how much of two processors there is. What is left is zstd on one core where polars has two. Larger row groups, a
lower level of zstd and columns made in the writing thread brought nothing beyond the noise.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow.parquet as pq
from _verdicts import Verdicts

from pipeline.convert import convert
from pipeline.record import SCHEMA
from pipeline.stage import Stream, Tools
from pipeline.stages.read import Read
from pipeline.store import ShardWriter

TOOLS = Tools(entry="read", seed=0, llm=None, map=None)  # type: ignore[arg-type]
WANTED = 2.0


class Row(msgspec.Struct):
    instruction: str
    input: str
    output: str


def by_polars(source: Path, target: Path) -> None:
    if source.suffix == ".json":
        pl.read_json(source).write_json(target)
    elif source.suffix == ".jsonl":
        pl.read_ndjson(source).write_ndjson(target)
    else:
        pl.read_parquet(source).write_parquet(target, compression="zstd")


def by_msgspec(source: Path, target: Path) -> None:
    encoder = msgspec.json.Encoder()
    if source.suffix == ".json":
        target.write_bytes(encoder.encode(msgspec.json.Decoder(list[Row]).decode(source.read_bytes())))
    else:
        target.write_bytes(encoder.encode_lines(msgspec.json.Decoder(Row).decode_lines(source.read_bytes())))


def by_convert(source: Path, target: Path) -> None:
    convert(source, "alpaca", target)


def read_by_polars(source: Path) -> int:
    read = {".json": pl.read_json, ".jsonl": pl.read_ndjson, ".parquet": pl.read_parquet}[source.suffix]
    return read(source).height


def read_by_msgspec(source: Path) -> int:
    if source.suffix == ".json":
        return len(msgspec.json.Decoder(list[Row]).decode(source.read_bytes()))
    return len(msgspec.json.Decoder(Row).decode_lines(source.read_bytes()))


def read_by_us(source: Path) -> int:
    return sum(outcome.kept.height for outcome in Read(data=(str(source),)).run(Stream(()), TOOLS))


def store_by_polars(source: Path, target: Path) -> None:
    read = {".json": pl.read_json, ".jsonl": pl.read_ndjson, ".parquet": pl.read_parquet}[source.suffix]
    read(source).write_parquet(target / "rows.parquet", compression="zstd", compression_level=3)


def store_by_us(source: Path, target: Path) -> None:
    writer = ShardWriter(target, "kept", SCHEMA)
    for outcome in Read(data=(str(source),)).run(Stream(()), TOOLS):
        writer.add(outcome.kept)
    writer.close()


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


def in_turn(runners: dict[str, Callable[[], Any]], runs: int) -> dict[str, float]:
    """Medians of the seconds of each, taken in turn so that a busy moment meets all; the first is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for number in range(runs + 1):
        for name, run in runners.items():
            begin = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def show(title: str, seconds: dict[str, float]) -> float:
    """Print a table; returns how many times the fastest peer's time we take."""
    best = min(taken for name, taken in seconds.items() if name != "seedmill")
    print(f"\n{title}")
    for name, taken in seconds.items():
        print(f"| {name:<10} | {taken * 1000:8.1f} ms | {taken / best:5.2f} times the faster peer")
    return seconds["seedmill"] / best


def measure(source: Path, folder: Path, runs: int, verdicts: Verdicts) -> None:
    name = source.suffix[1:]
    peers = {"polars": by_polars} | ({"msgspec": by_msgspec} if name != "parquet" else {})
    targets = {who: folder / f"{who}{source.suffix}" for who in (*peers, "seedmill")}
    whole = {who: (lambda do=do, who=who: do(source, targets[who])) for who, do in peers.items()}
    whole["seedmill"] = lambda: by_convert(source, targets["seedmill"])
    for run in whole.values():
        run()
    wanted = rows_of(source)
    for who, target in targets.items():
        if rows_of(target) != wanted:
            sys.exit(f"{who} wrote other rows of the {name} file: no times are worth printing")
    if read_by_us(source) != len(wanted):
        sys.exit("the read stage keeps another number of rows: no times are worth printing")
    times = show(f"{name}: read, converted, written as {name} again ({len(wanted):,} rows)", in_turn(whole, runs))
    verdicts.tell(
        f"{name} read and written", f"{times:.2f} x the faster of polars and msgspec", "<= 2", times <= WANTED
    )
    only = {"polars": lambda: read_by_polars(source)}
    only |= {"msgspec": lambda: read_by_msgspec(source)} if name != "parquet" else {}
    only["seedmill"] = lambda: read_by_us(source)
    show(f"{name}: read only; ours are records with ids and provenance, repeats numbered", in_turn(only, runs))
    store = folder / "store"
    store.mkdir(exist_ok=True)
    kept = {"polars": lambda: store_by_polars(source, store), "seedmill": lambda: store_by_us(source, store)}
    times = show(f"{name}: read and stored as zstd parquet; ours with ids and provenance", in_turn(kept, runs))
    verdicts.tell(f"{name} read into the store, with ids", f"{times:.2f} x polars to parquet", "<= 2", times <= WANTED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    folder = os.environ.get("REAL_DATA")
    if not folder:
        sys.exit("REAL_DATA is not set: it names the folder that holds alpaca_data.json")
    source = Path(folder) / "alpaca_data.json"
    verdicts = Verdicts(__file__, ("polars", "msgspec", "pyarrow", "numba"))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; medians of {options.runs}, in turn")
    with tempfile.TemporaryDirectory(prefix="reading-") as place:
        work = Path(place)
        rows = json.loads(source.read_text(encoding="utf-8"))
        lines, table = work / "alpaca.jsonl", work / "alpaca.parquet"
        lines.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        pl.DataFrame(rows).write_parquet(table)
        for path in (source, lines, table):
            measure(path, work, options.runs, verdicts)


if __name__ == "__main__":
    main()
