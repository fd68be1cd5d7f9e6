"""Population stability index over the reference's deciles: how much of the population changed its tenth.

Detects moved mass, wherever it moved. Bins of equal share, taken from the reference, do not depend on the current data; a single
far-away value changes nothing (equal-width bins over both samples, which Evidently uses, let one such value hide a real shift).

Parameters: none. Ten bins between the reference's deciles (fewer where these coincide), categories one by one; a share below
1e-4 counts as 1e-4. The threshold is 0.2 by default.

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

from upshot_monitoring.drift.alignment import class_shares
from upshot_monitoring.profiles.profile import Profile

LEAST_SHARE = 1e-4
_DECILES = np.arange(1, 10) / 10


def psi(reference: Profile, current: Profile) -> float:
    """The index, 0 for equal shares."""
    if reference.kind in ("numeric", "vector"):
        edges = np.unique(reference.quantiles(_DECILES))
        r = np.diff(np.concatenate([[0.0], reference.cdf(edges), [1.0]]))
        c = np.diff(np.concatenate([[0.0], current.cdf(edges), [1.0]]))
        used = (r > 0) | (c > 0)
        r, c = r[used], c[used]
    else:
        r, c = class_shares(reference, current)
    r, c = np.maximum(r, LEAST_SHARE), np.maximum(c, LEAST_SHARE)
    return float(((c - r) * np.log(c / r)).sum())
