"""Population stability index over equal-width bins: Evidently's PSI, for those who have numbers of it to compare with.

Detects moved mass, like ``psi``, as long as no value is far away: the bins span both samples, so one value of 1e6 puts all others
into one bin, and the shift of these is not seen any more (0.99 becomes 0.02 in our measurement). Prefer ``psi``.

Parameters: none. Sturges' number of equal-width bins over both samples, one bin per value where the reference has at most 20
distinct ones, categories one by one. On either side, an empty bin gets the share 1e-4, or a millionth of the side's smallest share
where that is at most 1e-4; shares are not made to add up to 1 afterwards. The threshold is 0.2 by default.

Formula: sum over bins of (c - r) ln(c / r).

    >>> import numpy as np
    >>> from upshot_monitoring.profiles.from_values import profile_numbers, scale_of_values
    >>> rng = np.random.default_rng(7)
    >>> reference, current = rng.normal(0, 1, 20_000), rng.normal(0.5, 1, 20_000)
    >>> scale = scale_of_values(reference)
    >>> round(psi_equal_width(profile_numbers(reference, scale), profile_numbers(current, scale)), 3)
    0.248

Paper: S. Siddiqi, "Credit Risk Scorecards", Wiley, 2006; H. A. Sturges, "The choice of a class interval", Journal of the American
Statistical Association 21(153), 1926; the filling is that of Evidently 0.7 (``legacy/calculations/stattests/utils.py``).
"""

from __future__ import annotations

import numpy as np

from upshot_monitoring.drift.cells import Cells, bins, chance_per_row
from upshot_monitoring.profiles.profile import Floats, Profile

LEAST_SHARE = 1e-4
_OF_THE_SMALLEST = 1e6


def psi_equal_width(reference: Profile, current: Profile) -> float:
    """The index, 0 for equal shares."""
    return float(formula(bins(reference, current)))


def formula(cells: Cells) -> Floats:
    """The index of these cells."""
    r, c = (_filled(shares) for shares in cells.shares)
    index: Floats = ((c - r) * np.log(c / r)).sum(axis=-1)
    return index


def _filled(shares: Floats) -> Floats:
    smallest = np.where(shares > 0, shares, np.inf).min(axis=-1, keepdims=True)
    fill = np.where(smallest <= LEAST_SHARE, smallest / _OF_THE_SMALLEST, LEAST_SHARE)
    filled: Floats = np.where(shares > 0, shares, fill)
    return filled


def deviation(cells: Cells) -> float:
    """Of a small difference d of shares p, its root is sqrt(sum of d^2 / p): every direction varies equally."""
    return chance_per_row(cells)
