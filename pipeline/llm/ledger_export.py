"""A ledger's calls as JSON lines, oldest first, one by one from disk to disk."""

import contextlib
import gzip
import heapq
import json
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from pipeline.errors import SeedmillError
from pipeline.llm.ledger_tools import Choice, as_object, reading, shard_paths, version_of
from pipeline.llm.schema import CALL_FIELDS


def export(folder: Path, choice: Choice, output: Path | None) -> int:
    """Write the chosen calls, oldest first, one JSON object a line; a file appears when it is whole.

    Args:
        folder: the ledger's.
        choice: which calls.
        output: compressed when its name ends in .gz; equal calls then make equal bytes too. None is standard output.

    Returns:
        The number of calls.

    Raises:
        SeedmillError: the file cannot be written, or the ledger not be read.
    """
    if output is None:
        return _write(folder, choice, sys.stdout.buffer)
    temporary = output.with_name(f".{output.name}.new")
    try:
        with temporary.open("wb") as plain, _packed(plain, output) as file:
            count = _write(folder, choice, file)
        temporary.replace(output)
    except OSError as error:
        raise SeedmillError(f"{output} cannot be written: {error}", "is the folder there, and not full?") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return count


def _write(folder: Path, choice: Choice, file: IO[bytes]) -> int:
    count = 0
    for call in _oldest_first(folder, choice):
        file.write(_line(as_object(call)))
        count += 1
    return count


@contextmanager
def _packed(plain: IO[bytes], output: Path) -> Iterator[Any]:
    if output.suffix != ".gz":
        yield plain
        return
    with gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0) as file:
        yield file


def _line(value: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(value, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # half a character in somebody's data
        return (json.dumps(value) + "\n").encode()


def _oldest_first(folder: Path, choice: Choice) -> Iterator[dict[str, Any]]:
    where, values = choice.where()
    # Only times and keys are walked in order: the texts of a large ledger would not fit where SQLite sorts.
    order = f"SELECT time, key FROM calls WHERE {where} ORDER BY time, key"
    text = f"SELECT {', '.join(CALL_FIELDS)} FROM calls WHERE key = ?"
    with ExitStack() as stack:

        def calls_of(database: sqlite3.Connection) -> Iterator[tuple[float, str, sqlite3.Connection]]:
            return ((time, key, database) for time, key in database.execute(order, values))

        databases = [stack.enter_context(reading(path)) for path in shard_paths(folder)]
        shards = [calls_of(database) for database in databases if version_of(database)]
        for _, key, database in heapq.merge(*shards, key=itemgetter(0, 1)):
            row = database.execute(text, (key,)).fetchone()
            if row is not None:  # pruned at this moment
                yield dict(zip(CALL_FIELDS, row, strict=True))
