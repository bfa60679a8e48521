"""Compressed files, told by their first bytes when read and by their name when written: gzip and zstd."""

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

SUFFIXES = (".gz", ".zst")

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def open_bytes(path: Path) -> io.BufferedReader | gzip.GzipFile:
    """The file's bytes, unpacked. Reading a damaged one raises EOFError, OSError or zlib.error, sooner or later."""
    with path.open("rb") as handle:
        magic = handle.read(4)
    if magic == _ZSTD:
        stream = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
        return io.BufferedReader(cast(io.RawIOBase, stream))
    return gzip.GzipFile(path, "rb") if magic.startswith(_GZIP) else path.open("rb")


@contextmanager
def text_file(path: Path, name: str) -> Iterator[io.TextIOWrapper]:
    """A UTF-8 file to write to, packed when `name` says so; the same text gives the same bytes."""
    with path.open("wb") as raw:
        if name.endswith(".gz"):
            packed = cast(IO[bytes], gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0))
        elif name.endswith(".zst"):
            stream = pa.CompressedOutputStream(pa.PythonFile(raw, "w"), "zstd")
            packed = io.BufferedWriter(cast(io.RawIOBase, stream))
        else:
            packed = raw
        with packed, io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file:
            yield file
