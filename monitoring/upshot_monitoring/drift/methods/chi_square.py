"""Chi-square test of homogeneity: the probability that two samples of one source differ so much in their categories.

Detects any change of the mix of categories, as soon as there are rows enough; the only registered method that is a test, so small
means drift. A p-value says nothing about the size of a change: with a million rows, one of 0.1 percentage points is beyond all
chance. So it is never alone: the total variation distance must reach ``EFFECT`` too.

Parameters: none. Categories one by one; those in which fewer than five rows are expected on either side count as one, because the
distribution that the p-value is read from does not hold for them. The threshold is 0.05 by default.

Formula: X = sum over cells and both sides of (seen - expected)^2 / expected, with expected = rows of the side x share of the pooled
rows; p = P(chi-square with cells - 1 degrees of freedom >= X). (Evidently's ``chisquare`` takes the reference's shares as known
without error, which doubles X where both sides are equally large, and gives p = 0 for any new category.)

    >>> import numpy as np
    >>> from upshot_monitoring.profiles.from_values import profile_classes
    >>> rng = np.random.default_rng(7)
    >>> reference = profile_classes(list(rng.choice(["a", "b", "c"], 5000, p=[0.6, 0.3, 0.1])))
    >>> current = profile_classes(list(rng.choice(["a", "b", "c"], 500, p=[0.55, 0.33, 0.12])))
    >>> round(chi_square(reference, current), 4)
    0.0027

Paper: K. Pearson, "On the criterion that a given system of deviations ...", Philosophical Magazine 50(302), 1900; W. G. Cochran,
"Some methods for strengthening the common chi-square tests", Biometrics 10(4), 1954.
"""

from __future__ import annotations

import numpy as np

from upshot_monitoring.drift.cells import Cells, classes
from upshot_monitoring.profiles.profile import Floats, Profile

LEAST_EXPECTED = 5.0
EFFECT = 0.02
"""The total variation distance below which a p-value, however small, is no drift: one row in fifty."""


def chi_square(reference: Profile, current: Profile) -> float:
    """The p-value, 1 for equal shares. For values that are not numbers."""
    return float(formula(classes(reference, current)))


def formula(cells: Cells) -> Floats:
    """The p-value of these cells; of one axis."""
    rows_r, rows_c = float(cells.reference.sum()), float(cells.current.sum())
    if not rows_r or not rows_c:
        return np.array(1.0)
    pooled = cells.reference + cells.current
    expected_on_smaller_side = pooled * min(rows_r, rows_c) / (rows_r + rows_c)
    frequent = expected_on_smaller_side >= LEAST_EXPECTED
    seen_r, seen_c = (np.append(side[frequent], side[~frequent].sum()) for side in (cells.reference, cells.current))
    used = seen_r + seen_c > 0
    seen_r, seen_c = seen_r[used], seen_c[used]
    if len(seen_r) < 2:
        return np.array(1.0)
    share = (seen_r + seen_c) / (rows_r + rows_c)
    statistic = ((seen_r - rows_r * share) ** 2 / (rows_r * share)).sum()
    statistic += ((seen_c - rows_c * share) ** 2 / (rows_c * share)).sum()
    from scipy.special import chdtrc  # here: its import takes 0.3 s

    p_value: Floats = np.asarray(chdtrc(len(seen_r) - 1, statistic))
    return p_value
