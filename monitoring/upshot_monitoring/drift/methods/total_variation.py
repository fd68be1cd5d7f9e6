"""Total variation distance: the share of the rows that would have to change their cell.

Detects any change of the mix, and says it in a number anyone can read: 0.1 is one row in ten. Many small changes add up in it,
where ``l_infinity`` sees only the largest.

Parameters: none. Categories one by one; numbers in Sturges' equal-width bins over both samples, or one by one where the
reference has at most 20 distinct values. The threshold is 0.1 by default. (Evidently's ``TVD`` is a p-value of this
distance, from 1,000 permutations.)

Formula: half the sum over cells of abs(r - c).

    >>> from upshot_monitoring.profiles.from_values import profile_classes
    >>> reference = profile_classes(["a"] * 60 + ["b"] * 40)
    >>> current = profile_classes(["a"] * 45 + ["b"] * 40 + ["c"] * 15)
    >>> round(total_variation(reference, current), 4)
    0.15

Paper: A. L. Gibbs, F. E. Su, "On choosing and bounding probability metrics", International Statistical Review 70(3), 2002.
"""

from __future__ import annotations

import numpy as np

from upshot_monitoring.drift.cells import Cells, bins, chance_per_row
from upshot_monitoring.profiles.profile import Floats, Profile


def total_variation(reference: Profile, current: Profile) -> float:
    """The distance between the two, 0 to 1."""
    return float(formula(bins(reference, current)))


def formula(cells: Cells) -> Floats:
    """The distance of these cells."""
    r, c = cells.shares
    distance: Floats = np.abs(r - c).sum(axis=-1) / 2
    return distance


def deviation(cells: Cells) -> float:
    """It is a difference of shares of one event, and such a share varies most at one half."""
    return chance_per_row(cells) / 2
