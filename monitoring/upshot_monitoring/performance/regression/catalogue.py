"""Every metric of a regression model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from upshot_monitoring.performance.metrics import About, Measured, Metrics, effective
from upshot_monitoring.performance.regression import errors as of_errors
from upshot_monitoring.performance.regression.quantiles import quantile
from upshot_monitoring.performance.regression.sums import NAMES, Errors, RegressionSums, errors


@dataclass(frozen=True)
class RegressionMetric:
    """One metric."""

    about: About
    measure: Callable[[Errors], Measured | None]


METRICS = (
    RegressionMetric(About("mae", "lower", high=math.inf), of_errors.mean_absolute),
    RegressionMetric(About("rmse", "lower", high=math.inf), of_errors.root_mean_squared),
    RegressionMetric(About("bias", "neither", -math.inf, math.inf), of_errors.bias),
    RegressionMetric(About("r2", "higher", -math.inf), of_errors.explained),
    RegressionMetric(About("mape", "lower", high=math.inf), of_errors.mean_relative),
    RegressionMetric(About("smape", "lower", high=2.0), of_errors.symmetric_relative),
    RegressionMetric(About("median_absolute_error", "lower", high=math.inf), lambda of: quantile(of, 0.5)),
    RegressionMetric(About("absolute_error_p90", "lower", high=math.inf), lambda of: quantile(of, 0.9)),
    RegressionMetric(About("absolute_error_p95", "lower", high=math.inf), lambda of: quantile(of, 0.95)),
)


def metrics(sums: RegressionSums, *, with_default: bool) -> Metrics:
    """Every metric that is defined, of the labelled rows, or of those and the defaulted ones."""
    of = errors(sums, with_default=with_default)
    if of is None:
        return Metrics()
    found = {metric.about.name: metric.measure(of) for metric in METRICS}
    return Metrics(
        of.rows,
        {name: one for name, one in found.items() if one is not None},
        effective(of.of["w"], of.of["v"]),
    )


def sums_of_rows(predicted: ArrayLike, actual: ArrayLike, weights: ArrayLike | None = None) -> RegressionSums:
    """The sums of labelled rows in memory, with a bin for each |e|."""
    p, y = np.asarray(predicted, np.float64), np.asarray(actual, np.float64)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, np.float64)
    centre = float(y.mean()) if len(y) else 0.0
    e, d, v = p - y, y - centre, w * w
    a, away = np.abs(e), y != 0
    r = np.divide(a, np.abs(y), out=np.zeros(len(y)), where=away)
    s = np.divide(2 * a, np.abs(y) + np.abs(p), out=np.zeros(len(y)), where=(y != 0) | (p != 0))
    of = {
        "w": w, "v": v, "e": w * e, "v_e": v * e, "v_e2": v * e**2, "a": w * a, "v_a": v * a, "e2": w * e**2, "v_e4": v * e**4,
        "rw": w * away, "rv": v * away, "r": w * r, "v_r": v * r, "v_r2": v * r**2,
        "s": w * s, "v_s": v * s, "v_s2": v * s**2,
        "d": w * d, "d2": w * d**2, "v_d": v * d, "v_d2": v * d**2, "v_d3": v * d**3, "v_d4": v * d**4,
        "v_e2_d": v * e**2 * d, "v_e2_d2": v * e**2 * d**2,
    }  # fmt: skip
    values, where = np.unique(a, return_inverse=True)
    nothing = np.zeros(len(values))
    stacked = [np.stack([np.bincount(where, one, len(values)), nothing]) for one in (w, v, w * a)]
    groups = np.array([len(y), 0, 0, 0])
    return RegressionSums(
        rows=len(y),
        group_rows=groups,
        group_weights=np.array([w.sum(), 0.0, 0.0, 0.0]),
        centre=centre,
        sums=np.stack([np.array([of[name].sum() for name in NAMES]), np.zeros(len(NAMES))]),
        bins=values.view(np.int64),  # in the order of the values, which are not negative
        weights=stacked[0],
        weights2=stacked[1],
        absolute=stacked[2],
    )
