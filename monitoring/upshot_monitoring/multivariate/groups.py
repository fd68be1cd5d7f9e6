"""Rows that belong together: the items of one request, the requests of one user.

They are alike for another reason than drift. They are never on both sides of a split into what is learnt from and what is
judged, and whatever a row adds to a mean, they add together: the variance of a sum is that of the sums of groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upshot_monitoring.profiles.profile import Floats

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def parts_of(groups: Ints, parts: int, rng: np.random.Generator) -> Ints:
    """A part, 0 to ``parts`` - 1, for each row; rows of one group are in one part. Groups are dealt out at random."""
    _, index = np.unique(groups, return_inverse=True)
    dealt = rng.permutation(index.max() + 1) % parts
    found: Ints = dealt[index]
    return found


def stratified_parts(groups: Ints, is_current: Bools, parts: int, rng: np.random.Generator) -> Ints:
    """The same, with about equally many rows of each side in each part where groups allow it."""
    found = np.zeros(len(groups), np.int64)
    current = np.unique(groups[is_current])
    has_current = np.isin(groups, current)
    for stratum in (has_current, ~has_current):
        if stratum.any():
            found[stratum] = parts_of(groups[stratum], parts, rng)
    return found


def variance_of_difference(values: Floats, centres: Floats, groups: Ints, is_current: Bools) -> float:
    """The variance of (mean of the current rows - mean of the reference rows), each value counted from its centre.

    Formula: sum over groups of (sum of (value - centre) / rows of its side, reference rows negative)^2, times g / (g - 1).
    """
    current = is_current.sum()
    weights = np.where(is_current, 1 / current, -1 / (len(values) - current))
    _, index = np.unique(groups, return_inverse=True)
    sums = np.bincount(index, weights * (values - centres))
    return float((sums * sums).sum() * len(sums) / max(1, len(sums) - 1))


def fewest(groups: Ints, is_current: Bools) -> int:
    """The number of groups on the side with fewer of them."""
    return min(len(np.unique(groups[is_current])), len(np.unique(groups[~is_current])))
