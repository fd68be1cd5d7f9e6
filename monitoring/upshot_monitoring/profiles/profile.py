"""A profile in memory: what one column looked like over some rows, and what can be computed from that."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upshot_monitoring.profiles.scales import UNSCALED, Scale
from upshot_monitoring.profiles.vector_profile import LengthProfile, merge_lengths

Floats = NDArray[np.float64]
Kind = Literal["numeric", "vector", "bool", "categorical", "none"]

_NO_FLOATS: Floats = np.empty(0)
_NO_INTS: NDArray[np.int64] = np.empty(0, np.int64)


@dataclass(frozen=True)
class Profile:
    """Counts of every kind of value, a histogram of the finite numbers, counts of the values that are not numbers, and of vectors
    (which count as numbers by their norm) mean and spread of every dimension, for each length.

    Bucket arrays are aligned, in ascending order of ``buckets``; ``sums`` and ``sums2`` are of ``(x - center) / scale``, so that
    1e9 +/- 1 keeps its digits; ``lows`` and ``highs`` are the smallest and largest x of each bucket.
    """

    rows: int = 0
    nulls: int = 0
    absents: int = 0
    others: int = 0
    nans: int = 0
    infs: int = 0
    bools: int = 0
    strs: int = 0
    vectors: int = 0
    n: int = 0
    scale: Scale = UNSCALED
    buckets: NDArray[np.int64] = field(default_factory=lambda: _NO_INTS)
    counts: Floats = field(default_factory=lambda: _NO_FLOATS)
    sums: Floats = field(default_factory=lambda: _NO_FLOATS)
    sums2: Floats = field(default_factory=lambda: _NO_FLOATS)
    lows: Floats = field(default_factory=lambda: _NO_FLOATS)
    highs: Floats = field(default_factory=lambda: _NO_FLOATS)
    values: tuple[str, ...] = ()
    value_counts: Floats = field(default_factory=lambda: _NO_FLOATS)
    overflow: int = 0
    lengths: tuple[LengthProfile, ...] = ()

    @property
    def missing(self) -> int:
        """Rows without a usable value: null, absent or NaN. One number, because a training set in Parquet often spells a
        missing float NaN or null where serving sends nothing."""
        return self.nulls + self.absents + self.nans

    @property
    def missing_share(self) -> float | None:
        """Of all rows; None without rows."""
        return self.missing / self.rows if self.rows else None

    @property
    def present(self) -> int:
        """Rows that a comparison of values rests on: finite numbers, or values counted one by one."""
        return self.n if self.kind in ("numeric", "vector") else self.bools + self.strs

    @cached_property
    def kind(self) -> Kind:
        """What most of its values are."""
        numbers = self.n + self.nans + self.infs - self.vectors
        count, kind = max(
            (numbers, "numeric"),
            (self.vectors, "vector"),
            (self.bools, "bool"),
            (self.strs, "categorical"),
            key=lambda p: p[0],
        )
        return kind if count else "none"  # type: ignore[return-value]

    @cached_property
    def is_constant(self) -> bool:
        """Whether all usable values are equal (and there are some)."""
        if self.kind in ("numeric", "vector"):
            return bool(self.n and self.low == self.high)
        return bool(self.present and len(self.values) == 1 and not self.overflow)

    @property
    def low(self) -> float:
        """The smallest finite number; NaN without numbers."""
        return float(self.lows[0]) if self.n else math.nan

    @property
    def high(self) -> float:
        """The largest finite number; NaN without numbers."""
        return float(self.highs[-1]) if self.n else math.nan

    @cached_property
    def mean(self) -> float:
        """The mean of the finite numbers; NaN without numbers."""
        return self.scale.center + self.scale.scale * float(self.sums.sum()) / self.n if self.n else math.nan

    @cached_property
    def mean_abs(self) -> float:
        """The mean of the finite numbers' absolute values; NaN without numbers. Exact, but for the one bucket that may hold both
        signs: its numbers are taken as even between its ends."""
        if not self.n:
            return math.nan
        center, scale = self.scale.center, self.scale.scale
        sums = np.abs(center * self.counts + scale * self.sums)
        low, high = np.minimum(self.lows, 0.0), np.maximum(self.highs, 0.0)
        mixed = (self.lows < 0) & (self.highs > 0)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            even = self.counts * (low * low + high * high) / (2 * (high - low))
        return float(np.where(mixed, even, sums).sum()) / self.n

    @cached_property
    def std(self) -> float:
        """The standard deviation (``ddof=0``) of the finite numbers; NaN without numbers."""
        if not self.n:
            return math.nan
        if self.low == self.high:
            return 0.0
        mean = float(self.sums.sum()) / self.n
        return self.scale.scale * math.sqrt(max(0.0, float(self.sums2.sum()) / self.n - mean * mean))

    @cached_property
    def _cumulated(self) -> Floats:
        return np.concatenate([[0.0], np.cumsum(self.counts)])

    @cached_property
    def _ends(self) -> tuple[Floats, Floats]:
        """The shares of each bucket's numbers that are taken to lie on its smallest and on its largest number; the rest is
        taken as even between them.

        From the bucket's mean and mean square: with u from 0 to 1 across the bucket, E[u] = q + (1 - p - q) / 2 and
        E[u^2] = q + (1 - p - q) / 3. Exact for one number, for two, for any mix of a frequent value on an end (the zeros of an
        amount) with even others.
        """
        low = self.scale.standardized(self.lows)
        width = self.scale.standardized(self.highs) - low
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            mean = self.sums / self.counts
            first = (mean - low) / width
            second = (self.sums2 / self.counts - 2 * low * mean + low * low) / (width * width)
            at_high = 3 * second - 2 * first
            at_low = at_high - 2 * first + 1
        # A bucket far out and very narrow has lost the digits that this needs.
        known = np.isfinite(at_low) & np.isfinite(at_high) & (width > 1e-6 * (1 + np.abs(low)))
        at_low = np.where(known, np.clip(at_low, 0.0, 1.0), np.where(self.lows == self.highs, 1.0, 0.0))
        at_high = np.where(known, np.clip(at_high, 0.0, 1.0 - at_low), 0.0)
        return at_low, at_high

    @cached_property
    def holds_only_its_ends(self) -> bool:
        """Whether every bucket has no other numbers than its smallest and its largest."""
        at_low, at_high = self._ends
        return bool(np.all((self.counts <= 2) | (self.lows == self.highs) | (at_low + at_high > 1 - 1e-9)))

    def cdf(self, points: Floats, *, left: bool = False) -> Floats:
        """The share of finite numbers <= each point (< with ``left``): exact between buckets and at their ends."""
        if not self.n:
            return np.zeros(len(points))
        # The first bucket that ends at or after the point; those before it lie wholly below.
        index = np.searchsorted(self.highs, points, side="left")
        inside = np.minimum(index, len(self.counts) - 1)
        low, high = self.lows[inside], self.highs[inside]
        at_low, at_high = self._ends[0][inside], self._ends[1][inside]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            part = np.clip(np.where(high > low, (points - low) / (high - low), 0.0), 0.0, 1.0)
        share = at_low + part * (1 - at_low - at_high)
        share = np.where(points < low, 0.0, share)
        share = np.where(points <= low, 0.0, share) if left else np.where(points >= high, 1.0, share)
        share = np.where(index >= len(self.counts), 1.0, share)
        result: Floats = (self._cumulated[inside] + share * self.counts[inside]) / self.n
        return result

    def quantiles(self, shares: Floats) -> Floats:
        """The values below which these shares of the finite numbers lie; NaN without numbers."""
        if not self.n:
            return np.full(len(shares), math.nan)
        targets = np.clip(shares, 0, 1) * self.n
        index = np.clip(np.searchsorted(self._cumulated[1:], targets, side="left"), 0, len(self.counts) - 1)
        reached = np.clip((targets - self._cumulated[index]) / self.counts[index], 0.0, 1.0)
        at_low, at_high = self._ends[0][index], self._ends[1][index]
        even = 1 - at_low - at_high
        part = np.divide(reached - at_low, even, out=np.zeros_like(even), where=even > 0)
        part = np.where(reached > 1 - at_high, 1.0, np.clip(part, 0.0, 1.0))
        result: Floats = self.lows[index] + part * (self.highs[index] - self.lows[index])
        return result


def merge(profiles: Iterable[Profile]) -> Profile:
    """The profile of all their rows together. Raises ValueError for profiles on different scales."""
    parts = list(profiles)
    numeric = [part for part in parts if part.n]
    if len({part.scale.scale_id for part in numeric}) > 1:
        raise ValueError("profiles on different scales cannot be added")
    buckets, where = np.unique(np.concatenate([part.buckets for part in parts] or [_NO_INTS]), return_inverse=True)

    def added(name: str) -> Floats:
        parts_of = np.concatenate([getattr(part, name) for part in parts] or [_NO_FLOATS])
        return np.bincount(where, parts_of, len(buckets)).astype(np.float64)

    lows = np.full(len(buckets), math.inf)
    highs = np.full(len(buckets), -math.inf)
    if len(buckets):
        np.minimum.at(lows, where, np.concatenate([part.lows for part in parts]))
        np.maximum.at(highs, where, np.concatenate([part.highs for part in parts]))
    values: dict[str, float] = {}
    for part in parts:
        for value, count in zip(part.values, part.value_counts, strict=True):
            values[value] = values.get(value, 0.0) + float(count)
    ordered = sorted(values, key=lambda value: (-values[value], value))
    totals: dict[str, Any] = {
        name.name: sum(getattr(part, name.name) for part in parts) for name in fields(Profile) if name.type == "int"
    }
    return Profile(
        **totals,
        scale=numeric[0].scale if numeric else (parts[0].scale if parts else UNSCALED),
        buckets=buckets,
        counts=added("counts"),
        sums=added("sums"),
        sums2=added("sums2"),
        lows=lows,
        highs=highs,
        values=tuple(ordered),
        value_counts=np.array([values[value] for value in ordered]),
        lengths=merge_lengths(length for part in parts for length in part.lengths),
    )
