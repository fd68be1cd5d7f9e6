"""Two profiles brought into the same cells, so that a method can compare them cell by cell.

A method is a formula over :class:`Cells`. Where the cells come from is another matter: from two profiles (here), from all rows by
SQL (``exact/``), or drawn at random from both sides pooled (``chance.py``). The last axis is that of the cells; before it there may
be any others, one entry per draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upshot_monitoring.profiles.profile import Floats, Profile
from upshot_monitoring.profiles.scales import UNSCALED, Scale

FEW_VALUES = 20
"""A numeric reference with at most so many distinct values is compared value by value, not in equal-width bins."""
LARGEST = 8e307
"""Half the largest float: the distance of two such numbers is still a number."""
_DECILES = np.arange(1, 10) / 10


@dataclass(frozen=True)
class Cells:
    """How many rows of either side are in each cell. Counts need not be whole: a bin's edge may cut a bucket of a profile."""

    reference: Floats
    current: Floats

    @property
    def shares(self) -> tuple[Floats, Floats]:
        """The share of each side's rows in each cell."""
        return _shares(self.reference), _shares(self.current)


@dataclass(frozen=True)
class Pooled(Cells):
    """Every bucket that either side has, in ascending order: cells of numbers, with where they lie.

    ``sums`` are of ``(x - center) / scale``, as in a profile. ``std`` is the reference's, in the unit of the feature.
    """

    lows: Floats
    highs: Floats
    sums_reference: Floats
    sums_current: Floats
    std: Floats | float
    scale: Scale = UNSCALED


def _shares(counts: Floats) -> Floats:
    shares: Floats = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1e-300)
    return shares


def chance_per_row(cells: Cells) -> float:
    """The standard deviation of a difference of two means of something that varies by 1, with the rows of both sides."""
    return math.sqrt(1 / float(cells.reference.sum()) + 1 / float(cells.current.sum()))


def pooled_buckets(reference: Profile, current: Profile) -> Pooled:
    """The buckets of both. Raises ValueError for profiles on different scales."""
    if reference.scale.scale_id != current.scale.scale_id:
        raise ValueError("profiles on different scales cannot be compared")
    buckets = np.union1d(reference.buckets, current.buckets)
    at_r, at_c = np.searchsorted(buckets, reference.buckets), np.searchsorted(buckets, current.buckets)
    lows, highs = np.full(len(buckets), math.inf), np.full(len(buckets), -math.inf)
    for profile, at in ((reference, at_r), (current, at_c)):
        lows[at] = np.minimum(lows[at], profile.lows)
        highs[at] = np.maximum(highs[at], profile.highs)

    def spread(values: Floats, at: NDArray[Any]) -> Floats:
        result = np.zeros(len(buckets))
        result[at] = values
        return result

    return Pooled(
        spread(reference.counts, at_r),
        spread(current.counts, at_c),
        lows,
        highs,
        spread(reference.sums, at_r),
        spread(current.sums, at_c),
        reference.std,
        reference.scale,
    )


def sturges_edges(low: float, high: float, rows: int) -> Floats:
    """The edges of equal-width bins over ``low`` to ``high`` for this many rows, as ``numpy.histogram_bin_edges(..., "sturges")``
    makes them (in the same order of operations, so that they are the same floats)."""
    low, high = max(low, -LARGEST), min(high, LARGEST)
    if low == high:
        return np.array([low - 0.5, high + 0.5])
    width = (high - low) / (np.log2(rows) + 1.0)
    bins = math.ceil((high - low) / width) if width > 0 else 1
    return np.linspace(low, high, bins + 1)


def bins(reference: Profile, current: Profile) -> Cells:
    """The bins that Evidently uses: one per distinct value where the reference has few, else Sturges' number of equal-width bins
    over both samples; categories for everything that is not a number."""
    if reference.kind not in ("numeric", "vector"):
        return classes(reference, current)
    values = _few_values(reference)
    if values is not None:
        return _by_value(values, reference, current)
    edges = sturges_edges(min(reference.low, current.low), max(reference.high, current.high), reference.n + current.n)
    return Cells(*(_between(side, edges[1:-1], left=True) for side in (reference, current)))


def deciles(reference: Profile, current: Profile) -> Cells:
    """Tenths of the reference, fewer where these coincide; categories for everything that is not a number.

    Where the first tenth is one value (the zeros of an amount, a constant), what lies below it is a cell of its own: it is new.
    """
    if reference.kind not in ("numeric", "vector"):
        return classes(reference, current)
    edges = np.unique(reference.quantiles(_DECILES))
    cells = [_between(side, edges, left=False) for side in (reference, current)]
    if edges[0] == reference.low:
        below = [float(side.cdf(edges[:1], left=True)[0]) * side.n for side in (reference, current)]
        cells = [np.concatenate([[low], [cell[0] - low], cell[1:]]) for low, cell in zip(below, cells, strict=True)]
    used = (cells[0] > 0) | (cells[1] > 0)
    return Cells(cells[0][used], cells[1][used])


def classes(reference: Profile, current: Profile) -> Cells:
    """Every category on both sides.

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
    return Cells(counts_r, counts_c)


def _between(side: Profile, edges: Floats, *, left: bool) -> Floats:
    """The rows of a side between neighbouring edges, and beyond the outer ones."""
    counts: Floats = np.diff(np.concatenate([[0.0], side.cdf(edges, left=left), [1.0]])) * side.n
    return counts


def _few_values(reference: Profile) -> Floats | None:
    """The distinct values of a profile, where they are few and known: every bucket holds one number, or two."""
    if len(reference.counts) > FEW_VALUES:
        return None
    if not reference.holds_only_its_ends:
        return None
    values = np.unique(np.concatenate([reference.lows, reference.highs]))
    return values if len(values) <= FEW_VALUES else None


def _by_value(values: Floats, reference: Profile, current: Profile) -> Cells:
    """One cell per value, and, where the current side has others, one per bucket of those.

    What the reference does not have is one sum of shares to every method that adds up cells; a method that fills empty cells
    (PSI) sees fewer of them here than by distinct values.
    """
    at_r, at_c = (side.cdf(values) - side.cdf(values, left=True) for side in (reference, current))
    others = np.setdiff1d(current.lows, values)
    cells_r, cells_c = at_r * reference.n, at_c * current.n
    rest = current.n - float(cells_c.sum())
    if rest < 0.5:
        return Cells(cells_r, cells_c)
    if np.all(current.lows == current.highs):
        index = np.searchsorted(current.lows, others)
        return Cells(np.concatenate([cells_r, np.zeros(len(others))]), np.concatenate([cells_c, current.counts[index]]))
    return Cells(np.append(cells_r, 0.0), np.append(cells_c, rest))
