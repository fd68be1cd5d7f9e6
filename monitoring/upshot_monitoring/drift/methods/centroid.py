"""Distance of the centroids: how far the mean vector moved, in the spread that the reference's vectors have about theirs.

Detects a shift of embeddings and of other vectors, in whatever direction: other topics, another encoder, a rotation of vectors
whose mean is not 0. Of vectors of one element it is the shift of the mean in standard deviations, and 0.1 says what it says of a
number by ``wasserstein``. Blind to what leaves the mean where it is: another spread, a rotation about the centroid, two groups that
move apart. Another spread shows in the distribution of the norm, which is kept too.

Parameters: none. Of vectors of the reference's usual length with finite elements, the first 4,096 dimensions. The threshold is 0.1
by default. Chance is judged whatever the dimensions have to do with each other (:func:`p_value`). Beside it, ``verdict.py`` looks
at every dimension by itself, because a move of one would be hidden by many quiet ones.

Formula: D = norm(mean_cur - mean_ref) / sqrt(sum of the variances of the reference's dimensions). (Where the reference is constant,
the variances of both sides together; D is then at least 2 where all vectors are others.)

    >>> import numpy as np
    >>> from upshot_monitoring.profiles.from_values import profile_vectors
    >>> rng = np.random.default_rng(7)
    >>> reference, current = rng.normal(0, 1, (5_000, 64)), rng.normal(0.2, 1, (2_000, 64))
    >>> round(centroid(profile_vectors(reference), profile_vectors(current)), 4)
    0.2043

Paper: S. Rabanser, S. Guennemann, Z. C. Lipton, "Failing loudly: an empirical study of methods for detecting dataset shift",
NeurIPS 2019 (univariate tests with Bonferroni's correction on representations); G. J. Szekely, N. K. Bakirov, "Extremal
probabilities for Gaussian quadratic forms", Probability Theory and Related Fields 126, 2003.
"""

from __future__ import annotations

import math

import numpy as np

from upshot_monitoring.drift.means import Means, means_of
from upshot_monitoring.profiles.profile import Floats, Profile

_BOUND_FROM = 1.5366
"""From here on, no weights make a sum of squares more probable than all weight on one (Szekely and Bakirov)."""


def centroid(reference: Profile, current: Profile) -> float:
    """The distance in spreads of the reference. Both need vectors of one length."""
    return float(formula(means_of(reference, current)))


def formula(means: Means) -> Floats:
    """The distance of these centroids."""
    spread = means.variances_reference if not means.is_constant.all() else means.pooled_variances
    distance: Floats = np.asarray(np.linalg.norm(means.moved) / math.sqrt(spread.sum()) if means.moved.any() else 0.0)
    return distance


def p_value(means: Means) -> float:
    """How probable so large a move of the centroid is by chance, whatever the dimensions have to do with each other: twice the
    smaller of two.

    Each dimension by itself, times their number (Bonferroni): sharp where few dimensions moved. And all together: the squared
    distance, over what is expected of it by chance, is a weighted mean of squares of normal numbers, whose weights (the eigenvalues
    of a covariance that nobody keeps) are not known; its tail is largest where all dimensions are one. Sharp where dimensions move
    together and there are many of them.
    """
    from scipy.special import stdtr  # here: its import takes 0.3 s

    if not means.moved.any():
        return 1.0
    singly = float(means.p_values.min()) * len(means.moved)
    ratio = float(np.square(means.moved).sum() / np.square(means.errors).sum())
    together = 2 * float(stdtr(means.freedom, -math.sqrt(ratio))) if ratio >= _BOUND_FROM else 1.0
    return min(1.0, 2 * min(singly, together))
