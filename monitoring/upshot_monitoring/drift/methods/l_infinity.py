"""L-infinity distance: the largest change of any single category's share.

Detects that one category grew or shrank, and says it in a number anyone can read: 0.1 is ten percentage points. It overlooks many
small changes that only together are large.

Parameters: none. The threshold is 0.1 by default.

Formula: max over categories of abs(share_ref - share_cur).

    >>> from upshot_monitoring.profiles.from_values import profile_classes
    >>> reference = profile_classes(["a"] * 60 + ["b"] * 40)
    >>> current = profile_classes(["a"] * 45 + ["b"] * 40 + ["c"] * 15)
    >>> round(l_infinity(reference, current), 4)
    0.15

Paper: E. Breck, N. Polyzotis, S. Roy, S. E. Whang, M. Zinkevich, "Data validation for machine learning", MLSys, 2019.
"""

from __future__ import annotations

import numpy as np

from upshot_monitoring.drift.cells import Cells, chance_per_row, classes
from upshot_monitoring.profiles.profile import Floats, Profile


def l_infinity(reference: Profile, current: Profile) -> float:
    """The largest difference of a share, 0 to 1. For values that are not numbers."""
    return float(formula(classes(reference, current)))


def formula(cells: Cells) -> Floats:
    """The largest difference of these cells."""
    r, c = cells.shares
    largest: Floats = np.abs(r - c).max(axis=-1)
    return largest


def deviation(cells: Cells) -> float:
    """It is a difference of shares of one event, and such a share varies most at one half."""
    return chance_per_row(cells) / 2
