"""Jensen-Shannon distance: how well one can tell which of two distributions a value came from.

Detects any change of shape or of the mix of categories; 0 is equal, 0.8326 (the root of ln 2) is nothing in common. It knows no
order: values that moved a little and values that moved far count the same, once they are in another bin.

Parameters: none. Categories are compared one by one; numbers in Sturges' equal-width bins over both samples, or one by one where
the reference has at most 20 distinct values. The threshold is 0.1 by default.

Formula: sqrt((KL(P, M) + KL(Q, M)) / 2) with M = (P + Q) / 2 and the natural logarithm.

    >>> import numpy as np
    >>> from upshot_monitoring.profiles.from_values import profile_classes
    >>> rng = np.random.default_rng(7)
    >>> reference = profile_classes(list(rng.choice(["a", "b", "c"], 5000, p=[0.6, 0.3, 0.1])))
    >>> current = profile_classes(list(rng.choice(["a", "b", "c"], 5000, p=[0.4, 0.4, 0.2])))
    >>> round(jensen_shannon(reference, current), 4)
    0.1541

Paper: J. Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37(1), 1991;
D. M. Endres, J. E. Schindelin, "A new metric for probability distributions", IEEE Transactions on Information Theory 49(7), 2003.
"""

from __future__ import annotations

import math

import numpy as np

from upshot_monitoring.drift.cells import Cells, bins, chance_per_row
from upshot_monitoring.profiles.profile import Floats, Profile


def jensen_shannon(reference: Profile, current: Profile) -> float:
    """The distance between the two, 0 to 0.8326."""
    return float(formula(bins(reference, current)))


def formula(cells: Cells) -> Floats:
    """The distance of these cells."""
    p, q = cells.shares
    middle = (p + q) / 2
    from scipy.special import rel_entr  # here: its import takes 0.3 s

    divergence = (rel_entr(p, middle).sum(axis=-1) + rel_entr(q, middle).sum(axis=-1)) / 2
    distance: Floats = np.sqrt(np.maximum(0.0, divergence))
    return distance


def deviation(cells: Cells) -> float:
    """Of a small difference d of shares p, it is sqrt(sum of d^2 / p) / sqrt(8): every direction varies equally."""
    return chance_per_row(cells) / math.sqrt(8)
