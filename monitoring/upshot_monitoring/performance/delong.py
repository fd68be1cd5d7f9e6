"""DeLong: the variance of an AUC, and of the difference of two AUCs on the same rows.

What it says: how far apart the AUCs of two models would be by chance, when both scored the same rows. Because both see the same
luck, the difference is known far better than two separate intervals suggest.

Formula: with m positives and n negatives, the placement of a positive is the share of negatives it beats (a tie is half):
V10(i) = (1/n) sum_j psi(X_i, Y_j), and of a negative V01(j) = (1/m) sum_i psi(X_i, Y_j). The AUC is the mean of V10; the
covariance matrix of the AUCs is S10 / m + S01 / n, with S10 and S01 the sample covariances of the placements.

    >>> import numpy as np
    >>> rng = np.random.default_rng(7)
    >>> label = rng.random(2000) < 0.3
    >>> first = rng.normal(label * 1.0, 1)
    >>> second = first + rng.normal(label * 0.3, 0.7)
    >>> aucs, covariance = delong(label, [first, second])
    >>> [round(float(auc), 4) for auc in aucs], round(float(difference_error(covariance)), 4)
    ([0.7575, 0.7672], 0.0071)

Paper: E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
characteristic curves: a nonparametric approach", Biometrics 44(3), 1988; X. Sun, W. Xu, "Fast implementation of DeLong's
algorithm", IEEE Signal Processing Letters 21(11), 2014 (placements from ranks).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def delong(labels: ArrayLike, scores: Sequence[ArrayLike]) -> tuple[Floats, Floats]:
    """AUCs, shape (k,), and their covariance matrix, shape (k, k), of k scores of the same rows.

    ``labels`` are true for positives. Needs at least two positives and two negatives; raises ValueError otherwise.
    """
    positive = np.asarray(labels, bool)
    m, n = int(positive.sum()), int((~positive).sum())
    if m < 2 or n < 2:
        raise ValueError("at least two positives and two negatives are needed")
    v10, v01 = np.empty((len(scores), m)), np.empty((len(scores), n))
    for k, score in enumerate(scores):
        values = np.asarray(score, np.float64)
        x, y = values[positive], values[~positive]
        v10[k] = _beaten(x, y) / n
        v01[k] = 1 - _beaten(y, x) / m
    covariance = np.atleast_2d(np.cov(v10)) / m + np.atleast_2d(np.cov(v01)) / n
    return v10.mean(axis=1), covariance


def difference_error(covariance: Floats) -> float:
    """The standard error of the difference of the first two AUCs."""
    return math.sqrt(max(0.0, float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))


def placements(positives: Floats, negatives: Floats) -> tuple[Floats, Floats]:
    """V10 of a positive and V01 of a negative in each cell, from weights per cell in ascending order of score; rows of a cell
    are ties."""
    of_positive = (np.cumsum(negatives) - negatives / 2) / negatives.sum()
    of_negative = 1 - (np.cumsum(positives) - positives / 2) / positives.sum()
    return of_positive, of_negative


def _beaten(values: Floats, others: Floats) -> Floats:
    """For each value: how many of the others are smaller, a tie counting half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left")
    result: Floats = (below + np.searchsorted(ordered, values, side="right")) / 2
    return result
