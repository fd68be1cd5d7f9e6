"""Hellinger distance: how little two distributions overlap.

Detects any change of shape or of the mix of categories, like Jensen-Shannon, and weighs rare cells more: a category that
went from 0 to 1 % counts as much as one that went from 30 to 40 %.

Parameters: none. Categories one by one; numbers in Sturges' equal-width bins over both samples, or one by one where the
reference has at most 20 distinct values. (Evidently takes Sturges' number of the *distinct* numbers instead, and merges few values
into fewer bins.) The threshold is 0.1 by default.

Formula: sqrt(1 - sum over cells of sqrt(r c)), computed as sqrt(sum of (sqrt(r) - sqrt(c))^2 / 2), which keeps its digits near 0.

    >>> import numpy as np
    >>> from upshot_monitoring.profiles.from_values import profile_classes
    >>> rng = np.random.default_rng(7)
    >>> reference = profile_classes(list(rng.choice(["a", "b", "c"], 5000, p=[0.6, 0.3, 0.1])))
    >>> current = profile_classes(list(rng.choice(["a", "b", "c"], 5000, p=[0.4, 0.4, 0.2])))
    >>> round(hellinger(reference, current), 4)
    0.1546

Paper: E. Hellinger, "Neue Begründung der Theorie quadratischer Formen von unendlichvielen Veränderlichen", Journal für die reine
und angewandte Mathematik 136, 1909.
"""

from __future__ import annotations

import math

import numpy as np

from upshot_monitoring.drift.cells import Cells, bins, chance_per_row
from upshot_monitoring.profiles.profile import Floats, Profile


def hellinger(reference: Profile, current: Profile) -> float:
    """The distance between the two, 0 to 1."""
    return float(formula(bins(reference, current)))


def formula(cells: Cells) -> Floats:
    """The distance of these cells."""
    r, c = cells.shares
    distance: Floats = np.sqrt(((np.sqrt(r) - np.sqrt(c)) ** 2).sum(axis=-1) / 2)
    return distance


def deviation(cells: Cells) -> float:
    """Of a small difference d of shares p, it is sqrt(sum of d^2 / p) / sqrt(8): every direction varies equally."""
    return chance_per_row(cells) / math.sqrt(8)
