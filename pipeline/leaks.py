"""Secrets that must not leave the machine: what looks like a key in the files of a release, named but never shown."""

import gzip
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DataError

_SHAPES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "a Hugging Face token": (("hf_",), r"hf_(?:oauth_)?[A-Za-z0-9]{30,}"),
    "an API key": (("sk-",), r"sk-[A-Za-z0-9_\-]{20,}"),
    "an AWS key id": (("AKIA", "ASIA"), r"A[KS]IA[0-9A-Z]{16}(?![0-9A-Za-z])"),
    "a GitHub token": (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,}",
    ),
    "a GitLab token": (("glpat-",), r"glpat-[A-Za-z0-9_\-]{20,}"),
    "a Google key": (("AIza",), r"AIza[0-9A-Za-z_\-]{35}"),
    "a Slack token": (("xox",), r"xox[abprs]-\d{8,}-[A-Za-z0-9\-]{10,}"),
    "a private key": (("PRIVATE KEY",), r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:\s|\\[nr])*[A-Za-z0-9+/=]{40,}"),
}
"""Kind -> texts of which one is in it, and its form, as the providers document it."""

_BEFORE = rb"(?:(?<![A-Za-z0-9_])|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{4}))"
"""A key begins after anything but an ASCII word character (Chinese text has no spaces), or after a JSON escape."""

_FORMS = {kind: re.compile(_BEFORE + b"(?:" + form.encode() + b")") for kind, (_, form) in _SHAPES.items()}
_MARKS = tuple(mark for marks, _ in _SHAPES.values() for mark in marks)

_MADE_UP = re.compile(rb"(?i)x{5}|0{8}|your|example|placeholder|1234567|abcdefgh")
_RANDOM_RUN = re.compile(rb"[A-Za-z0-9+/=]{16}")
"""Every real key has such a stretch; a hyphenated title ("sk-learn-for-beginners-part-1") has none."""

_HELD = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$")
_SHORTEST_HELD = 16
_SHOWN = 5
_BATCH_ROWS = 2_000
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Leak:
    """Something that looks like a secret.

    Attributes:
        place: `row` (parquet) or `line` (any other file) and its number, from 1.
        kind: what it looks like; the secret itself is not kept.
    """

    file: str
    place: str
    kind: str


def held_secrets(token: str | None = None) -> dict[str, str]:
    """The secrets this process was given: what it is -> its text; `token` is the Hub token in use."""
    found = {
        f"the value of {name}": value.strip()
        for name, value in os.environ.items()
        if _HELD.search(name) and len(value.strip()) >= _SHORTEST_HELD
    }
    return found if token is None else {**found, "the Hub token in use": token}


def refuse_leaks(files: Mapping[str, Path], held: Mapping[str, str]) -> None:
    """Refuse to release files with something in them that looks like a secret.

    Args:
        files: path in the release -> file.
        held: what it is -> a secret that may not appear verbatim, see `held_secrets`.

    Raises:
        DataError: names kind, file and row of the first hits, and says how to get rid of them.
    """
    leaks = list(islice(chain.from_iterable(leaks_in(name, path, held) for name, path in files.items()), _SHOWN + 1))
    if leaks:
        shown = "; ".join(f"{leak.file} {leak.place}: {leak.kind}" for leak in leaks[:_SHOWN])
        more = " and more" if len(leaks) > _SHOWN else ""
        raise DataError(
            f"nothing was uploaded, since the export holds what looks like secrets: {shown}{more}",
            "drop those rows (filter rule 'contact' with key: true, or a rule under 'custom:') and export again; "
            "revoke the key if it is real; or publish with --allow-secrets when you have looked and they are none",
        )


def leaks_in(name: str, path: Path, held: Mapping[str, str] | None = None) -> Iterator[Leak]:
    """What looks like a secret in one file, in order; gzipped files are looked into.

    Raises:
        DataError: a file named .parquet is none.
    """
    held = held or {}
    unit, rows = ("row", _parquet_rows(path, held)) if path.suffix == ".parquet" else ("line", _lines(path, held))
    for number, text in rows:
        for kind in _kinds(text, held):
            yield Leak(name, f"{unit} {number}", kind)


def _lines(path: Path, held: Mapping[str, str]) -> Iterator[tuple[int, bytes]]:
    marks = [mark.encode() for mark in (*_MARKS, *held.values())]
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        start = 1
        while lines := file.readlines(_BLOCK_BYTES):
            block = b"".join(lines)
            if here := [mark for mark in marks if mark in block]:
                yield from ((number, line) for number, line in enumerate(lines, start) if any(m in line for m in here))
            start += len(lines)


def _parquet_rows(path: Path, held: Mapping[str, str]) -> Iterator[tuple[int, bytes]]:
    """The suspect rows as JSON. Rows become JSON only in batches in which some string has a mark."""
    marks, start = [*_MARKS, *held.values()], 1
    try:
        for batch in pq.ParquetFile(path).iter_batches(_BATCH_ROWS):
            frame = pl.DataFrame(pa.Table.from_batches([batch]))
            if any(leaf.str.contains_any(marks).any() for column in frame for leaf in _strings(column)):
                for number, text in enumerate(_as_json(frame), start):
                    if any(mark in text for mark in marks):
                        yield number, text.encode()
            start += frame.height
    except pa.ArrowException as error:
        raise DataError(
            f"{path} cannot be read as parquet: {error}", "delete the export folder, export again"
        ) from None


def _strings(column: pl.Series) -> Iterator[pl.Series]:
    """Every string in a column, however deep."""
    if isinstance(column.dtype, pl.Struct):
        for name in column.struct.fields:
            yield from _strings(column.struct.field(name))
    elif isinstance(column.dtype, pl.List):
        yield from _strings(column.explode())
    elif column.dtype in (pl.String, pl.Categorical):
        yield column.cast(pl.String)


def _as_json(frame: pl.DataFrame) -> Sequence[str]:
    rows: list[str] = frame.select(pl.struct(pl.all()).struct.json_encode()).to_series().to_list()
    return rows


def _kinds(text: bytes, held: Mapping[str, str]) -> Iterator[str]:
    yield from (kind for kind, secret in held.items() if secret.encode() in text)
    for kind, form in _FORMS.items():
        found = (match.group() for match in form.finditer(text))
        if any(_RANDOM_RUN.search(secret) and not _MADE_UP.search(secret) for secret in found):
            yield kind
