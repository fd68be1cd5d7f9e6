"""Two profiles brought into the same cells, so that a method can compare them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from upshot_monitoring.profiles.profile import Floats, Profile

FEW_VALUES = 20
"""A numeric reference with at most so many distinct values is compared value by value, not in equal-width bins."""

LARGEST = 8e307
"""Half the largest float: the distance of two such numbers is still a number."""


@dataclass(frozen=True)
class PooledBuckets:
    """Every bucket that either side has, in ascending order; ``sums`` in the unit of the scale."""

    lows: Floats
    highs: Floats
    counts_reference: Floats
    counts_current: Floats
    sums_reference: Floats
    sums_current: Floats


def pooled_buckets(reference: Profile, current: Profile) -> PooledBuckets:
    """The buckets of both. Raises ValueError for profiles on different scales."""
    if reference.scale.scale_id != current.scale.scale_id:
        raise ValueError("profiles on different scales cannot be compared")
    buckets = np.union1d(reference.buckets, current.buckets)
    at_r, at_c = np.searchsorted(buckets, reference.buckets), np.searchsorted(buckets, current.buckets)
    lows, highs = np.full(len(buckets), math.inf), np.full(len(buckets), -math.inf)
    for profile, at in ((reference, at_r), (current, at_c)):
        lows[at] = np.minimum(lows[at], profile.lows)
        highs[at] = np.maximum(highs[at], profile.highs)

    def spread(values: Floats, at: np.ndarray) -> Floats:
        result = np.zeros(len(buckets))
        result[at] = values
        return result

    return PooledBuckets(
        lows,
        highs,
        spread(reference.counts, at_r),
        spread(current.counts, at_c),
        spread(reference.sums, at_r),
        spread(current.sums, at_c),
    )


def bin_shares(reference: Profile, current: Profile) -> tuple[Floats, Floats]:
    """The shares of both sides in the bins that Evidently uses: one per distinct value where the reference has few, else
    Sturges' number of equal-width bins over both; categories for everything that is not a number."""
    if reference.kind not in ("numeric", "vector"):
        return class_shares(reference, current)
    points = np.all(reference.lows == reference.highs)
    if points and len(reference.counts) <= FEW_VALUES and np.all(current.lows == current.highs):
        pooled = pooled_buckets(reference, current)
        return pooled.counts_reference / reference.n, pooled.counts_current / current.n
    low, high = min(reference.low, current.low), max(reference.high, current.high)
    if low == high:
        return np.ones(1), np.ones(1)
    low, high = max(low, -LARGEST), min(high, LARGEST)
    edges = np.linspace(low, high, math.ceil(math.log2(reference.n + current.n) + 1) + 1)

    def shares(profile: Profile) -> Floats:
        below = profile.cdf(edges[1:-1], left=True)
        return np.diff(np.concatenate([[0.0], below, [1.0]]))

    return shares(reference), shares(current)


def class_shares(reference: Profile, current: Profile) -> tuple[Floats, Floats]:
    """The shares of every category on both sides.

    Where a side has more categories than a profile keeps, what it does not list may be among those it counted together; so all
    categories that are not listed on both sides then count as one.
    """
    of_r = dict(zip(reference.values, reference.value_counts, strict=True))
    of_c = dict(zip(current.values, current.value_counts, strict=True))
    rest_r, rest_c = float(reference.overflow), float(current.overflow)
    if rest_r or rest_c:
        rest_r += sum(of_r.pop(value) for value in set(of_r) - set(of_c)) if rest_c else 0.0
        rest_c += sum(of_c.pop(value) for value in set(of_c) - set(of_r)) if rest_r else 0.0
    values = sorted({*of_r, *of_c})
    counts_r = np.array([*(of_r.get(value, 0.0) for value in values), rest_r])
    counts_c = np.array([*(of_c.get(value, 0.0) for value in values), rest_c])
    if not rest_r and not rest_c:
        counts_r, counts_c = counts_r[:-1], counts_c[:-1]
    return counts_r / max(1.0, counts_r.sum()), counts_c / max(1.0, counts_c.sum())
