"""`seedmill pack`: a benchmark as hashes."""

import argparse
import json

from pipeline.contamination.benchmark import read_benchmark
from pipeline.contamination.items import Columns
from pipeline.contamination.pack import is_pack, write_pack
from pipeline.errors import UsageError
from pipeline.formats.files import expand


def pack(arguments: argparse.Namespace) -> int:
    """`seedmill pack FILE... -o OUT`."""
    paths = expand(arguments.files)
    for path in paths:
        if is_pack(path):
            raise UsageError(f"{path}: is a pack already", "name the benchmark's own files")
    if arguments.output.suffix != ".parquet":
        hint = f"for example {arguments.output.name.split('.')[0]}.pack.parquet"
        raise UsageError(f"{arguments.output}: a pack is a parquet file, so its name ends in .parquet", hint)
    columns = Columns(tuple(arguments.question), tuple(arguments.answer))
    benchmark = read_benchmark(paths, columns, arguments.name, arguments.version)
    header = write_pack(benchmark, arguments.output)
    if arguments.json:
        print(json.dumps(header, ensure_ascii=False, indent=1))
        return 0
    size = arguments.output.stat().st_size
    print(
        f"wrote {arguments.output} ({size:,} bytes): {header['name']}, {header['items']:,} items, "
        f"{header['questions']:,} questions, {header['answers']:,} answers, {header['hashes']:,} hashes"
    )
    if benchmark.unreadable:
        print(f"note: {benchmark.unreadable:,} rows could not be read and are not in it")
    return 0
