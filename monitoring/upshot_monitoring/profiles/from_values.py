"""The profile of values in memory: what the roll-up's SQL computes, in NumPy. For examples and for the test that both agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from upshot_monitoring.profiles.profile import Floats, Profile
from upshot_monitoring.profiles.rollup import MAX_VALUES, PER_SCALE
from upshot_monitoring.profiles.scales import Scale, scale_of


def scale_of_values(values: ArrayLike) -> Scale:
    """The scale that would be pinned to these values."""
    x = np.asarray(values, np.float64)
    x = x[np.isfinite(x)]
    if not len(x):
        return Scale()
    return scale_of(np.quantile(x, [0.25, 0.5, 0.75]).tolist(), float(x.std()), len(x), "reference")


def buckets_of(x: Floats, scale: Scale) -> NDArray[np.int64]:
    """The bucket of each finite number."""
    buckets: NDArray[np.int64] = np.floor(np.arcsinh(scale.standardized(x)) * PER_SCALE).astype(np.int64)
    return buckets


def profile_numbers(values: ArrayLike, scale: Scale | None = None) -> Profile:
    """The profile of numbers; NaN and the infinities are counted apart."""
    x = np.asarray(values, np.float64)
    scale = scale or scale_of_values(x)
    finite = x[np.isfinite(x)]
    z = scale.standardized(finite)
    buckets, where = np.unique(buckets_of(finite, scale), return_inverse=True)
    lows, highs = np.full(len(buckets), np.inf), np.full(len(buckets), -np.inf)
    np.minimum.at(lows, where, finite)
    np.maximum.at(highs, where, finite)
    return Profile(
        rows=len(x),
        nans=int(np.isnan(x).sum()),
        infs=int(np.isinf(x).sum()),
        n=len(finite),
        scale=scale,
        buckets=buckets,
        counts=np.bincount(where, minlength=len(buckets)).astype(np.float64),
        sums=np.bincount(where, z, len(buckets)).astype(np.float64),
        sums2=np.bincount(where, z * z, len(buckets)).astype(np.float64),
        lows=lows,
        highs=highs,
    )


def profile_classes(values: Sequence[str | None]) -> Profile:
    """The profile of strings; None counts as null."""
    counted = sorted(
        Counter(value for value in values if value is not None).items(), key=lambda item: (-item[1], item[0])
    )
    kept = counted[:MAX_VALUES]
    strs = sum(count for _, count in counted)
    return Profile(
        rows=len(values),
        nulls=len(values) - strs,
        strs=strs,
        values=tuple(value for value, _ in kept),
        value_counts=np.array([count for _, count in kept], np.float64),
        overflow=sum(count for _, count in counted[MAX_VALUES:]),
    )
