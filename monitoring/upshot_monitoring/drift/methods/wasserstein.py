"""Wasserstein distance: how far the values have to be moved, on average, to turn one distribution into the other.

Detects shifts, stretches and far-away values of numbers, in the unit of the reference's standard deviation: 0.1 says that the
average value has to be moved by a tenth of it. It does not saturate: the further the shift, the larger the number.

Parameters: none. The threshold is 0.1 by default.

Formula: W = integral over x of abs(F_ref(x) - F_cur(x)), divided by max(std_ref, 0.001). In a bucket of the profile the integral
of F is known exactly from count and sum; only where the two curves cross inside a bucket is the result a little too small
(below 1e-4 on the shapes of the tests).

    >>> import numpy as np
    >>> from upshot_monitoring.profiles.from_values import profile_numbers, scale_of_values
    >>> rng = np.random.default_rng(7)
    >>> reference, current = rng.normal(1000, 5, 20_000), rng.normal(1001, 5, 20_000)
    >>> scale = scale_of_values(reference)
    >>> round(wasserstein(profile_numbers(reference, scale), profile_numbers(current, scale)), 4)
    0.1988

Paper: L. N. Vaserstein, "Markov processes over denumerable products of spaces", Problems of Information Transmission 5(3), 1969;
A. Ramdas, N. Garcia, M. Cuturi, "On Wasserstein two-sample testing and related families of nonparametric tests", Entropy 19(2),
2017.
"""

from __future__ import annotations

import numpy as np

from upshot_monitoring.drift.cells import Pooled, chance_per_row, pooled_buckets
from upshot_monitoring.profiles.profile import Floats, Profile

LEAST_STD = 0.001
"""In the unit of the feature: what a constant reference is divided by, as Evidently does."""


def wasserstein(reference: Profile, current: Profile) -> float:
    """The distance in standard deviations of the reference. Both need numbers, on the same scale."""
    return float(formula(pooled_buckets(reference, current)))


def formula(cells: Pooled) -> Floats:
    """The distance of these buckets."""
    lows, highs = (cells.scale.standardized(ends) for ends in (cells.lows, cells.highs))
    shares_r, shares_c = cells.shares
    rows_r, rows_c = (counts.sum(axis=-1, keepdims=True) for counts in (cells.reference, cells.current))
    after = np.cumsum(shares_r - shares_c, axis=-1)
    before = after - (shares_r - shares_c)
    inside = np.abs(
        (highs - lows) * before
        + (shares_r * highs - cells.sums_reference / rows_r)
        - (shares_c * highs - cells.sums_current / rows_c)
    )
    between = np.abs(after[..., :-1]) * (lows[1:] - highs[:-1])
    moved: Floats = (inside.sum(axis=-1) + between.sum(axis=-1)) * cells.scale.scale / np.maximum(cells.std, LEAST_STD)
    return moved


def deviation(cells: Pooled) -> float:
    """It is a difference of means of some function that changes by at most the change of x; none of those varies more than x."""
    pooled = cells.reference + cells.current
    means = (cells.sums_reference + cells.sums_current) / pooled
    mean = np.average(means, weights=pooled)
    spread = float(np.sqrt(np.average((means - mean) ** 2, weights=pooled))) * cells.scale.scale
    return chance_per_row(cells) * spread / max(float(cells.std), LEAST_STD)
