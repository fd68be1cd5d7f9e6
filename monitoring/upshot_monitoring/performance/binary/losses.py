"""Proper scores of probabilities: log loss and Brier score.

What they say: how far the promised probabilities are from what happened; both are least in expectation for the true probability.
The log loss punishes a confident mistake without bound, the Brier score by at most 1.

Formula, with q the probability that was given to what happened: log loss = mean of -log q, q clipped to within 2.2e-16 of 0 and 1
as scikit-learn does; Brier = mean of (1 - q)^2. The sums are those of the rows; only estimates are taken from the mean score of
each cell, whose bins are so narrow that the difference is below 1e-5.

    >>> import numpy as np
    >>> from upshot_monitoring.performance.binary.sums import cells_of_rows
    >>> rng = np.random.default_rng(7)
    >>> p = rng.random(2000)
    >>> cells = cells_of_rows(p, rng.random(2000) < p)
    >>> [round(metric.measure(cells).value, 4) for metric in METRICS]
    [0.4998, 0.1683]

Papers: G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950; T.
Gneiting, A. E. Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 102, 2007.
"""

from __future__ import annotations

import math

import numpy as np

from upshot_monitoring.performance.binary.cells import BinaryMetric, Cells, Floats, Influence, MeanSums
from upshot_monitoring.performance.intervals import mean_of_weighted, normal
from upshot_monitoring.performance.metrics import About

EPS = 2.220446049250313e-16


def log_loss(cells: Cells) -> Influence | None:
    """The mean of -log of the probability of what happened."""
    p = np.clip(cells.mean_scores, EPS, 1 - EPS)
    return _mean(cells, -np.log(p), -np.log1p(-p), cells.losses)


def brier(cells: Cells) -> Influence | None:
    """The mean squared difference of the probability and what happened (0 or 1)."""
    p = cells.mean_scores
    return _mean(cells, (1 - p) ** 2, p**2, cells.errors2)


def _mean(cells: Cells, of_positive: Floats, of_negative: Floats, sums: MeanSums | None) -> Influence | None:
    weight = cells.m + cells.n
    if weight <= 0:
        return None
    variance = None
    value = float(cells.positives @ of_positive + cells.negatives @ of_negative) / weight
    if sums is not None:
        weights2 = float(cells.positives2.sum() + cells.negatives2.sum())
        value, variance = mean_of_weighted(sums.x, weight, weights2, sums.w2_x, sums.w2_x2)
    return Influence(
        value, (of_positive - value) / weight, (of_negative - value) / weight, cells.effective_rows, variance
    )


METRICS = (
    BinaryMetric(About("log_loss", "lower", high=math.inf), log_loss, normal, needs_probabilities=True),
    BinaryMetric(About("brier", "lower"), brier, normal, needs_probabilities=True),
)
