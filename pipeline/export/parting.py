"""Which split a record goes to: whole groups, by a hash, so that nothing seen in training is evaluated on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.export.clusters import Walk, groups
from pipeline.record import digest

_FEW = 0.5
"""A split that is further than this from its share, relatively, is told of."""


@dataclass(frozen=True, kw_only=True)
class Parting:
    """A split for every row, in order.

    Attributes:
        names: the splits that have rows, `train` first.
        places: each row's split, as a place in `names`.
        notes: what people should be told.
    """

    names: tuple[str, ...] = ("train",)
    places: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    notes: tuple[str, ...] = ()

    def split(self, row: int) -> str:
        """The split of a row."""
        return self.names[self.places[row]] if len(self.places) else self.names[0]


def parted(walk: Walk, shares: Mapping[str, float]) -> Parting:
    """Every row's split: its group's first record hashed onto 0..1, of which each split has a stretch.

    Rows that are added at the end never move another one, unless they tie two groups together; a larger share keeps
    what the smaller one had.
    """
    roots = groups(walk)
    wanted = ("train", *shares)
    ends = np.cumsum(list(shares.values()))
    first = np.unique(roots)
    points = np.array([_point(walk.lineage[row][0]) for row in first])
    of_group = np.searchsorted(ends, points, side="right")  # the place among the shares; beyond them is train
    of_group = np.where(of_group == len(shares), 0, of_group + 1)
    places = of_group[np.searchsorted(first, roots)].astype(np.int8)
    counts = np.bincount(places, minlength=len(wanted))
    names = [name for name, count in zip(wanted, counts, strict=True) if count or name == "train"]
    renumbered = np.cumsum([1 if name in names else 0 for name in wanted]) - 1
    return Parting(
        names=tuple(names),
        places=renumbered[places].astype(np.int8),
        notes=_notes(shares, counts[1:].tolist(), len(roots)),
    )


def _point(id: str) -> float:
    return int(digest("split", id), 16) / 2**80


def _notes(shares: Mapping[str, float], counts: Sequence[int], rows: int) -> tuple[str, ...]:
    notes = []
    for (name, share), count in zip(shares.items(), counts, strict=True):
        if not count:
            notes.append(f"split '{name}' is left out: no group of rows fell into its share of {share:g}")
        elif abs(count - share * rows) > max(_FEW * share * rows, 3 * (share * rows) ** 0.5):
            notes.append(f"split '{name}' has {count:,} of {rows:,} rows, not {share:g}: groups are never parted")
    return tuple(notes)
