"""Errors of a regression: MAE, RMSE, bias, MAPE, SMAPE, R2.

What they say: the mean size of an error (MAE), the same with large errors counting more (RMSE), whether predictions are too
high or too low (bias, the mean of predicted - actual), errors as a share of the actual value (MAPE: rows with an actual value
of 0 are left out) or of both (SMAPE, between 0 and 2), and the share of the variance that is explained (R2; below 0 is worse
than the mean).

Formula: each but two is a weighted mean of one number per row, with the variance sum w^2 (x - mean)^2 / (sum w)^2. RMSE is the
root of the mean of e^2, and so are the ends of its interval. R2 = 1 - A / B with A = mean e^2 and B = mean (y - mean y)^2; by
the delta method its variance is sum w^2 ((e^2 - A) - (A / B) ((y - mean y)^2 - B))^2 / (B sum w)^2.

    >>> import numpy as np
    >>> from upshot_monitoring.performance.regression.catalogue import sums_of_rows, metrics
    >>> rng = np.random.default_rng(7)
    >>> y = rng.normal(50, 10, 1000)
    >>> found = metrics(sums_of_rows(y + rng.normal(1, 4, 1000), y), with_default=False)
    >>> {name: round(one.value, 3) for name, one in found.measured.items() if name in ("mae", "rmse", "bias", "r2")}
    {'mae': 3.358, 'rmse': 4.214, 'bias': 0.969, 'r2': 0.8}

Papers: R. J. Hyndman, A. B. Koehler, "Another look at measures of forecast accuracy", International Journal of Forecasting 22,
2006; W. G. Cochran, "Sampling Techniques", 1977 (6.3, the variance of a ratio).
"""

from __future__ import annotations

import math

from upshot_monitoring.performance.intervals import mean_of_weighted, normal
from upshot_monitoring.performance.metrics import Measured, effective
from upshot_monitoring.performance.regression.sums import Errors


def mean_absolute(errors: Errors) -> Measured | None:
    """MAE."""
    return _mean(errors, "a", "v_a", "v_e2")


def bias(errors: Errors) -> Measured | None:
    """The mean of predicted - actual."""
    return _mean(errors, "e", "v_e", "v_e2")


def root_mean_squared(errors: Errors) -> Measured | None:
    """RMSE."""
    square = _mean(errors, "e2", "v_e2", "v_e4")
    if square is None:
        return None
    value = math.sqrt(square.value)
    ends = square.interval and (math.sqrt(max(0.0, square.interval[0])), math.sqrt(square.interval[1]))
    return Measured(value, square.error / (2 * value) if value else 0.0, ends)


def mean_relative(errors: Errors) -> Measured | None:
    """MAPE, as a share, of rows whose actual value is not 0."""
    return _mean(errors, "r", "v_r", "v_r2", "rw", "rv")


def symmetric_relative(errors: Errors) -> Measured | None:
    """SMAPE, as a share; 0 where both are 0."""
    return _mean(errors, "s", "v_s", "v_s2")


def explained(errors: Errors) -> Measured | None:
    """R2."""
    of = errors.of
    w, v = of["w"], of["v"]
    a, b = of["e2"] / w, of["d2"] / w
    if b <= 0:
        return None
    ratio = a / b
    # sum of w^2 (e^2 - ratio d^2)^2: both constants cancel, because a = ratio b.
    squares = of["v_e4"] - 2 * ratio * of["v_e2_d2"] + ratio**2 * of["v_d4"]
    rows = effective(w, v)
    variance = max(0.0, squares) / (b * w) ** 2 * (rows / (rows - 1) if rows > 1 else math.inf)
    return Measured(1 - ratio, math.sqrt(variance), normal(1 - ratio, variance, rows))


def _mean(errors: Errors, x: str, v_x: str, v_x2: str, w: str = "w", v: str = "v") -> Measured | None:
    of = errors.of
    if of[w] <= 0:
        return None
    mean, variance = mean_of_weighted(of[x], of[w], of[v], of[v_x], of[v_x2])
    return Measured(mean, math.sqrt(variance), normal(mean, variance, effective(of[w], of[v])))
