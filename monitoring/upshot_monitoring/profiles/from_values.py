"""The profile of values in memory: what the roll-up's SQL computes, in NumPy. For examples and for the test that both agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from upshot_monitoring.profiles.profile import Floats, Profile
from upshot_monitoring.profiles.rollup import MAX_VALUES, PER_SCALE
from upshot_monitoring.profiles.scales import Scale, scale_of
from upshot_monitoring.profiles.vector_profile import MAX_DIMENSIONS, OTHER_LENGTHS, LengthProfile, merge_lengths
from upshot_monitoring.profiles.vector_rollup import LARGEST_NORM, LENGTHS


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


def profile_vectors(vectors: Sequence[ArrayLike] | NDArray[Any], scale: Scale | None = None) -> Profile:
    """The profile of vectors of any lengths; an empty one counts as null."""
    by_length: dict[int, Floats] = {}
    if isinstance(vectors, np.ndarray) and vectors.ndim == 2 and vectors.size:
        by_length[vectors.shape[1]] = vectors.astype(np.float64)
    else:
        rows: dict[int, list[Floats]] = {}
        for vector in vectors:
            row = np.asarray(vector, np.float64)
            rows.setdefault(len(row), []).append(row)
        rows.pop(0, None)
        by_length = {length: np.stack(of_length) for length, of_length in rows.items()}
    with np.errstate(over="ignore"):
        norms = [np.linalg.norm(of_length, axis=1) for of_length in by_length.values()]
    kept = sorted(by_length, key=lambda length: (-len(by_length[length]), length))
    lengths = [_length(length, by_length[length]) for length in kept[:LENGTHS]]
    if kept[LENGTHS:]:
        lengths.append(LengthProfile(OTHER_LENGTHS, sum(len(by_length[length]) for length in kept[LENGTHS:])))
    of_norms = profile_numbers(np.concatenate(norms) if norms else [], scale)
    nulls = len(vectors) - of_norms.rows
    return replace(of_norms, rows=len(vectors), nulls=nulls, vectors=of_norms.rows, lengths=merge_lengths(lengths))


def _length(length: int, rows: Floats) -> LengthProfile:
    kept = rows[:, :MAX_DIMENSIONS]
    with np.errstate(over="ignore", invalid="ignore"):
        whole = kept[np.linalg.norm(kept, axis=1) < LARGEST_NORM]
    if not len(whole):
        return LengthProfile(length, len(rows))
    return LengthProfile(length, len(rows), len(whole), whole.mean(axis=0), whole.var(axis=0) * len(whole))


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
