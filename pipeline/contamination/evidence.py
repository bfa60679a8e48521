"""What was found in a block, for people: the best evidence of each record, and counts for each benchmark."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.contamination.index import Index
from pipeline.contamination.match import Found
from pipeline.contamination.spans import found_span
from pipeline.contamination.texts import Texts

_MATCHED_CHARS = 300
_OTHERS = 5


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one block: items of benchmarks that were found, and how many records have something of a benchmark.

    Attributes:
        items: the distinct pairs of benchmark and item, an array of (pairs, 2).
        records: for each benchmark the records with something of it anywhere, on the question side, on the answer side:
            an array of (benchmarks, 3).
    """

    items: NDArray[np.int64]
    records: NDArray[np.int64]


def counts_of(found: Found, texts: Texts, index: Index) -> Counts:
    """The counts of a block."""
    bench, rows = index.bench[found.known], texts.rows[found.texts]
    answers = texts.answers[found.texts]
    items = np.unique(np.stack([bench, index.item[found.known]], axis=1), axis=0)
    records = np.zeros((len(index.benchmarks), 3), np.int64)
    for column, chosen in enumerate((np.ones(len(rows), np.bool_), ~answers, answers)):
        pairs = np.unique(np.stack([bench, rows], axis=1)[chosen], axis=0)
        records[:, column] = np.bincount(pairs[:, 0], minlength=len(index.benchmarks))
    return Counts(items, records)


def shares(found: Found, index: Index) -> NDArray[np.float64]:
    """Which share of each benchmark text's tokens was found; 1 for those found as a whole."""
    total = np.maximum(index.totals[found.known], 1)
    return np.minimum(found.count / total, 1.0)


def details(found: Found, texts: Texts, index: Index) -> dict[int, dict[str, Any]]:
    """For each record in which something was found the evidence: the largest share, and what else there is."""
    share = shares(found, index)
    rows = texts.rows[found.texts]
    order = np.lexsort((found.texts, index.item[found.known], index.bench[found.known], -found.run, -share, rows))
    told: dict[int, dict[str, Any]] = {}
    for at in order.tolist():
        row = int(rows[at])
        if row not in told:
            told[row] = _evidence(found, at, float(share[at]), texts, index)
            continue
        also = told[row].setdefault("also", [])
        other = _item(int(found.known[at]), index) | {"share": round(float(share[at]), 3)}
        if len(also) < _OTHERS and all(_same(other, one) for one in (*also, told[row])):
            also.append(other)
    for detail in told.values():
        if not detail.get("also", True):
            del detail["also"]
    return told


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two pieces of evidence name different items."""
    keys = ("benchmark", "file", "line")
    return any(one.get(key) != other.get(key) for key in keys)


def _item(known: int, index: Index) -> dict[str, Any]:
    """Which item it is: its benchmark, its line, and its file and its id where there are such."""
    benchmark, item = index.benchmarks[index.bench[known]], int(index.item[known])
    told: dict[str, Any] = {"benchmark": benchmark.name, "line": int(benchmark.lines[item])}
    if len(benchmark.sources) > 1:
        told["file"] = benchmark.sources[benchmark.files[item]].file
    if benchmark.ids[item] is not None:
        told["item"] = benchmark.ids[item]
    return told


def _evidence(found: Found, at: int, share: float, texts: Texts, index: Index) -> dict[str, Any]:
    number, known = int(found.texts[at]), int(found.known[at])
    text, place = texts.text[number], texts.place[number]
    begin, end = found_span(text, int(found.begin[at]), int(found.end[at]))
    matched = text[begin:end]
    if place.endswith(" + input"):
        # Places in the record as it is, where the match does not run from one into the other.
        first = len(_alone(texts, number, place.removesuffix(" + input")))
        if end <= first:
            place = place.removesuffix(" + input")
        elif begin > first:
            place, begin, end = "input", begin - first - 1, end - first - 1
    return {
        **_item(known, index),
        "part": "answer" if index.answers[known] else "question",
        "share": round(share, 3),
        "in_a_row": int(found.run[at]),
        "side": "answer" if texts.answers[number] else "question",
        "place": place,
        "start": begin,
        "end": end,
        "matched": matched if len(matched) <= _MATCHED_CHARS else f"{matched[:_MATCHED_CHARS]}...",
    }


def _alone(texts: Texts, number: int, place: str) -> str:
    """The message without the input that was joined to it: it stands behind the joined text, unless it is empty."""
    after = number + 1
    if after < len(texts) and texts.place[after] == place and texts.rows[after] == texts.rows[number]:
        return str(texts.text[after])
    return ""
