"""What vectors of one length looked like: how many, and mean and spread of every dimension. Adds up exactly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAX_DIMENSIONS = 4096
"""Of a vector that are kept; of a longer one, the first of them."""
OTHER_LENGTHS = 0
"""Stands for all lengths together that are not kept one by one. (An empty vector is a missing one.)"""

_NONE: Floats = np.empty(0)


@dataclass(frozen=True)
class LengthProfile:
    """Vectors of one length; ``means`` and ``m2`` (sums of squared distances from the mean) have an element per dimension."""

    length: int
    rows: int
    summed: int = 0
    """Of how many of them the sums are: those whose elements are all finite."""
    means: Floats = field(default_factory=lambda: _NONE)
    m2: Floats = field(default_factory=lambda: _NONE)

    @property
    def variances(self) -> Floats:
        """Of every dimension (``ddof=0``); empty without vectors."""
        return self.m2 / max(1, self.summed)


def merge_lengths(parts: Iterable[LengthProfile]) -> tuple[LengthProfile, ...]:
    """All of them together, one for each length, the most frequent first.

    Exactly (T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance", The American Statistician
    37(3), 1983). The spread about the common mean is the spread within the parts and that of their means; nothing large is
    subtracted, so 1000 +/- 0.001 keeps its digits.
    """
    by_length: defaultdict[int, list[LengthProfile]] = defaultdict(list)
    for part in parts:
        by_length[part.length].append(part)
    merged = [_merged(length, of_length) for length, of_length in by_length.items()]
    return tuple(sorted((one for one in merged if one.rows), key=lambda one: (-one.rows, one.length)))


def _merged(length: int, parts: list[LengthProfile]) -> LengthProfile:
    if len(parts) == 1:
        return parts[0]
    rows = sum(part.rows for part in parts)
    with_sums = [part for part in parts if part.summed]
    if not with_sums:
        return LengthProfile(length, rows)
    counts = np.array([part.summed for part in with_sums], np.float64)
    means = np.stack([part.means for part in with_sums])
    mean = counts @ means / counts.sum()
    # Once more about what is left: the first sum has the rounding of large numbers in it.
    mean += counts @ (means - mean) / counts.sum()
    between = counts @ np.square(means - mean)
    within = np.sum([part.m2 for part in with_sums], axis=0)
    return LengthProfile(length, rows, int(counts.sum()), mean, within + between)
