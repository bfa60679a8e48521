"""MinHash in bands: what makes two texts candidates, in bulk, with datasketch's parameters and permutations."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.similar.shingles import Shingles

_WEIGHTS = (0.01, 0.99)
"""What a false and what a missed candidate cost. False ones are refuted by their exact similarity, so only time."""


@dataclass(frozen=True, slots=True)
class Bands:
    """The hash functions of a MinHash and how they are grouped; two texts are candidates when a whole band agrees.

    Attributes:
        bands: groups of hash functions.
        rows: hash functions in a group.
        multipliers: a of each permutation a * h + b (mod 2^32), odd.
        increments: its b.
    """

    bands: int
    rows: int
    multipliers: NDArray[np.uint32]
    increments: NDArray[np.uint32]

    def recall(self, similarity: float) -> float:
        """The probability that two texts of this Jaccard similarity become candidates."""
        return float(1 - (1 - similarity**self.rows) ** self.bands)


def bands_for(threshold: float, num_perm: int, seed: int = 1) -> Bands:
    """The bands and rows, bands * rows <= num_perm, that datasketch's optimiser finds best for a threshold.

    Candidates are verified afterwards, so missing one is weighted far above proposing one in vain.

    Raises:
        UsageError: no two bands can be made.
    """
    import datasketch

    if not 0 < threshold < 1 or num_perm < 2:
        raise UsageError(
            f"MinHash cannot work with a threshold of {threshold} and num_perm {num_perm}",
            "give a threshold between 0 and 1 and at least 16 permutations",
        )
    try:
        lsh = datasketch.MinHashLSH(threshold=threshold, num_perm=num_perm, weights=_WEIGHTS)
    except ValueError as error:
        raise UsageError(
            f"num_perm {num_perm} is too few for a threshold of {threshold}: {error}", "128 is a usual number"
        ) from error
    multipliers, increments = datasketch.MinHash(num_perm=num_perm, seed=seed, scheme="affine32").permutations
    used = lsh.b * lsh.r
    return Bands(lsh.b, lsh.r, multipliers[:used].copy(), increments[:used].copy())


def signatures(shingles: Shingles, bands: Bands) -> NDArray[np.uint32]:
    """MinHash signatures, shape (texts, bands * rows): datasketch's for the low 32 bits of each shingle.

    A text without shingles has the highest value in every place.
    """
    out = np.empty((len(shingles), bands.bands * bands.rows), np.uint32)
    _sign(shingles.values, shingles.starts, bands.multipliers, bands.increments, out)
    return out


def band_keys(shingles: Shingles, bands: Bands) -> NDArray[np.uint64]:
    """One key for each band of each text, shape (texts, bands); candidates have equal keys in some band."""
    keys = np.empty((len(shingles), bands.bands), np.uint64)
    _key(signatures(shingles, bands), bands.rows, keys)
    return keys


@njit(cache=True, nogil=True)
def _sign(
    values: NDArray[np.uint64],
    starts: NDArray[np.int64],
    multipliers: NDArray[np.uint32],
    increments: NDArray[np.uint32],
    out: NDArray[np.uint32],
) -> None:
    for i in range(len(starts) - 1):
        lowest = out[i]
        lowest[:] = np.uint32(0xFFFFFFFF)
        for k in range(starts[i], starts[i + 1]):
            h = np.uint32(values[k] & np.uint64(0xFFFFFFFF))
            h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
            h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
            h = np.uint32(h ^ (h >> np.uint32(16)))
            for p in range(len(multipliers)):
                permuted = np.uint32(multipliers[p] * h + increments[p])
                lowest[p] = min(lowest[p], permuted)


@njit(cache=True, nogil=True)
def _key(signatures: NDArray[np.uint32], rows: int, keys: NDArray[np.uint64]) -> None:
    for i in range(len(keys)):
        for band in range(keys.shape[1]):
            key = np.uint64(0)
            for r in range(rows):
                key = (key ^ np.uint64(signatures[i, band * rows + r])) * np.uint64(0x9E3779B185EBCA87)
                key ^= key >> np.uint64(29)
            keys[i, band] = key
