"""Was the next round better? Areas under the ROC curve of two models on the same rows, with intervals, after DeLong."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from upshot_monitoring.performance.delong import delong, difference_error
from upshot_monitoring.performance.intervals import Z


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
    return Comparison(
        rows=len(late),
        positives=int(late.sum()),
        first=interval(aucs[0], sqrt(covariance[0, 0]), 0.0, 1.0),
        second=interval(aucs[1], sqrt(covariance[1, 1]), 0.0, 1.0),
        difference=interval(aucs[1] - aucs[0], difference_error(covariance), -1.0, 1.0),
    )


def interval(value: float, error: float, least: float, most: float) -> Estimate:
    """The normal 95 % interval from a standard error, kept within what the value can be."""
    return Estimate(float(value), max(least, float(value - Z * error)), min(most, float(value + Z * error)))
