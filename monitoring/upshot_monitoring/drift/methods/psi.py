"""Population stability index over the reference's deciles: how much of the population changed its tenth.

Detects moved mass, wherever it moved. Bins of equal share, taken from the reference, do not depend on the current data; a single
far-away value changes nothing (over equal-width bins, which Evidently uses, one such value hides a real shift: see
``psi_equal_width.py``).

Parameters: none. Ten bins between the reference's deciles (fewer where these coincide; what lies below a first tenth of
one single value is a bin of its own), categories one by one; a share below 1e-4 counts as 1e-4. The threshold is 0.2 by default.

Formula: sum over bins of (c - r) ln(c / r).

    >>> import numpy as np
    >>> from upshot_monitoring.profiles.from_values import profile_numbers, scale_of_values
    >>> rng = np.random.default_rng(7)
    >>> reference, current = rng.normal(0, 1, 20_000), rng.normal(0.5, 1, 20_000)
    >>> scale = scale_of_values(reference)
    >>> round(psi(profile_numbers(reference, scale), profile_numbers(current, scale)), 4)
    0.238

Paper: S. Siddiqi, "Credit Risk Scorecards", Wiley, 2006; B. Yurdakul, "Statistical properties of population stability index",
Western Michigan University, 2018.
"""

from __future__ import annotations

import numpy as np

from upshot_monitoring.drift.cells import Cells, chance_per_row, deciles
from upshot_monitoring.profiles.profile import Floats, Profile

LEAST_SHARE = 1e-4


def psi(reference: Profile, current: Profile) -> float:
    """The index, 0 for equal shares."""
    return float(formula(deciles(reference, current)))


def formula(cells: Cells) -> Floats:
    """The index of these cells."""
    r, c = (np.maximum(shares, LEAST_SHARE) for shares in cells.shares)
    index: Floats = ((c - r) * np.log(c / r)).sum(axis=-1)
    return index


def deviation(cells: Cells) -> float:
    """Of a small difference d of shares p, its root is sqrt(sum of d^2 / p): every direction varies equally."""
    return chance_per_row(cells)
