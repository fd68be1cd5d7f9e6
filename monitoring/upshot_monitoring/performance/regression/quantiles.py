"""Quantiles of the absolute error: the median, and what nine in ten and nineteen in twenty errors stay below.

What they say: how large errors usually are, untouched by a few absurd ones; and how bad the bad ones are.

Formula: the q quantile is where the weight of smaller |e|, half of its own included, passes q of the whole, linear in between
(for the median of an even number of rows, the mean of the two in the middle). Interval: the q +/- 1.96 sqrt(q (1 - q) / n)
quantiles, n the effective number of rows. In bins, which are 0.2 % wide, each bin's mean |e| stands for all of it.

    >>> import numpy as np
    >>> from upshot_monitoring.performance.regression.catalogue import sums_of_rows, metrics
    >>> rng = np.random.default_rng(7)
    >>> y = rng.normal(50, 10, 1000)
    >>> found = metrics(sums_of_rows(y + rng.normal(0, 4, 1000), y), with_default=False)
    >>> round(found.measured["median_absolute_error"].value, 2)
    2.86

Paper: R. S. Woodruff, "Confidence intervals for medians and other position measures", JASA 47, 1952.
"""

from __future__ import annotations

import math

import numpy as np

from upshot_monitoring.performance.intervals import Z
from upshot_monitoring.performance.metrics import Measured, effective
from upshot_monitoring.performance.regression.sums import Errors


def quantile(errors: Errors, q: float) -> Measured | None:
    """The q quantile of |e|."""
    if not len(errors.weights):
        return None
    rows = effective(float(errors.weights.sum()), float(errors.weights2.sum()))
    half = Z * math.sqrt(q * (1 - q) / rows)
    value = _at(errors, q)
    if rows < 2:
        return Measured(value)
    low, high = _at(errors, max(0.0, q - half)), _at(errors, min(1.0, q + half))
    return Measured(value, (high - low) / (2 * Z), (low, high))


def _at(errors: Errors, q: float) -> float:
    """Rows at the middles of their weights; the same as numpy's ``hazen`` method, and the usual median."""
    weights = errors.weights
    # A bin of several rows is a flat stretch from the middle of its first row to that of its last.
    rows = np.maximum(1.0, weights**2 / np.maximum(errors.weights2, 1e-300))
    ends = np.cumsum(weights)
    half = weights / rows / 2
    places = np.stack([ends - weights + half, ends - half], axis=1).ravel()
    values = np.repeat(errors.absolute, 2)
    return float(np.interp(q * ends[-1], places, values))
