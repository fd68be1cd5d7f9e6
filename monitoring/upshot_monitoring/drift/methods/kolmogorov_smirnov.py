"""Kolmogorov-Smirnov statistic D: the largest gap between two cumulative distributions.

Detects shifts in the middle of a distribution of numbers best, changes in the tails least. It has no unit and is not moved by
far-away values. What is reported is the distance D, not its p-value: with many rows every p-value is small.

Parameters: none. The threshold is 0.1 by default.

Formula: D = max over x of abs(F_ref(x) - F_cur(x)), taken at the ends of all buckets.

    >>> import numpy as np
    >>> from upshot_monitoring.profiles.from_values import profile_numbers, scale_of_values
    >>> rng = np.random.default_rng(7)
    >>> reference, current = rng.exponential(1.0, 20_000), rng.exponential(1.3, 20_000)
    >>> scale = scale_of_values(reference)
    >>> round(kolmogorov_smirnov(profile_numbers(reference, scale), profile_numbers(current, scale)), 4)
    0.1009

Paper: A. N. Kolmogorov, "Sulla determinazione empirica di una legge di distribuzione", Giornale dell'Istituto Italiano degli
Attuari 4, 1933; N. Smirnov, "Table for estimating the goodness of fit of empirical distributions", Annals of Mathematical
Statistics 19(2), 1948.
"""

from __future__ import annotations

import numpy as np

from upshot_monitoring.drift.cells import Cells, chance_per_row
from upshot_monitoring.profiles.profile import Floats, Profile


def kolmogorov_smirnov(reference: Profile, current: Profile) -> float:
    """D, 0 to 1. Both need numbers."""
    points = np.unique(np.concatenate([reference.lows, reference.highs, current.lows, current.highs]))
    gaps = np.abs(reference.cdf(points) - current.cdf(points))
    gaps_before = np.abs(reference.cdf(points, left=True) - current.cdf(points, left=True))
    return float(max(gaps.max(), gaps_before.max()))


def formula(cells: Cells) -> Floats:
    """D of cells in ascending order: the largest gap at the end of a cell."""
    r, c = cells.shares
    largest: Floats = np.abs(np.cumsum(r - c, axis=-1)).max(axis=-1)
    return largest


def deviation(cells: Cells) -> float:
    """It is a difference of shares of one event, and such a share varies most at one half."""
    return chance_per_row(cells) / 2
