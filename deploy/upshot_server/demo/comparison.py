"""Was the next round better? Areas under the ROC curve of two models on the same rows, with intervals, after DeLong.

DeLong, DeLong, Clarke-Pearson, *Comparing the areas under two or more correlated ROC curves*, Biometrics 44 (1988);
computed from mid-ranks as in Sun and Xu, IEEE Signal Processing Letters 21 (2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same rows."""

    rows: int
    positives: int
    first: Estimate
    second: Estimate
    difference: Estimate
    """Second minus first; its interval knows that both were measured on the same rows."""

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``undecided`` (the interval of the difference contains 0), said of the second."""
        if self.difference.low > 0:
            return "better"
        return "worse" if self.difference.high < 0 else "undecided"


def compare(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> Comparison:
    """Compare two score columns against ``labels`` (0 or 1). Raises ``ValueError`` with fewer than two rows of either
    class."""
    late = np.asarray(labels).astype(bool)
    if late.sum() < 2 or (~late).sum() < 2:
        raise ValueError(
            f"an AUC needs at least two rows of each class, there are {int(late.sum())} and {int((~late).sum())}"
        )
    aucs, covariance = delong(late, [np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)])
    spread = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return Comparison(
        rows=len(late),
        positives=int(late.sum()),
        first=interval(aucs[0], covariance[0, 0], 0.0, 1.0),
        second=interval(aucs[1], covariance[1, 1], 0.0, 1.0),
        difference=interval(aucs[1] - aucs[0], max(spread, 0.0), -1.0, 1.0),
    )


def interval(value: float, variance: float, least: float, most: float) -> Estimate:
    """The normal 95 % interval, kept within what the value can be."""
    half = Z_95 * sqrt(variance)
    return Estimate(float(value), max(least, float(value - half)), min(most, float(value + half)))


def delong(
    late: NDArray[np.bool_], scores: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The AUC of each score column, and their covariance matrix."""
    positives, negatives = int(late.sum()), int((~late).sum())
    aucs, of_positives, of_negatives = [], [], []
    for column in scores:
        ranks = rankdata(column)
        above = (ranks[late] - rankdata(column[late])) / negatives  # share of negatives below each positive
        below = 1.0 - (ranks[~late] - rankdata(column[~late])) / positives  # share of positives above each negative
        aucs.append(above.mean())
        of_positives.append(above)
        of_negatives.append(below)
    covariance = np.cov(of_positives) / positives + np.cov(of_negatives) / negatives
    return np.array(aucs), covariance
