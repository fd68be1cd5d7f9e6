"""Metrics of a regression model from the sums of ``performance_hours``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upshot_monitoring.performance.intervals import Interval, mean_interval
from upshot_monitoring.performance.metrics import Metrics

Floats = NDArray[np.float64]


def _two() -> Floats:
    return np.zeros(2)


@dataclass(frozen=True)
class RegressionSums:
    """Sums over any hours; arrays of two: labelled rows, and unlabelled rows taken at the label's default. e = predicted - y."""

    rows: int = 0
    group_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))
    n: Floats = field(default_factory=_two)
    y_mean: Floats = field(default_factory=_two)
    y_m2: Floats = field(default_factory=_two)
    """Sum of squared deviations from the mean."""
    e: Floats = field(default_factory=_two)
    absolute: Floats = field(default_factory=_two)
    e2: Floats = field(default_factory=_two)
    e4: Floats = field(default_factory=_two)


def add(parts: Iterable[RegressionSums]) -> RegressionSums:
    """The sums over all rows of the parts. Means and M2 as T. F. Chan, G. H. Golub, R. J. LeVeque (1979) add them: a plain sum
    of squares loses its digits where y is far from 0."""
    total = RegressionSums()
    for part in parts:
        n = total.n + part.n
        step = part.y_mean - total.y_mean
        share = np.divide(part.n, n, out=np.zeros(2), where=n > 0)
        total = RegressionSums(
            rows=total.rows + part.rows,
            group_rows=total.group_rows + part.group_rows,
            n=n,
            y_mean=total.y_mean + step * share,
            y_m2=total.y_m2 + part.y_m2 + step * step * total.n * share,
            e=total.e + part.e,
            absolute=total.absolute + part.absolute,
            e2=total.e2 + part.e2,
            e4=total.e4 + part.e4,
        )
    return total


def metrics(sums: RegressionSums, *, with_default: bool) -> Metrics:
    """MAE, RMSE, R2 and bias (mean of predicted - y) of the labelled rows, or of those and the defaulted ones."""
    groups = [0, 1] if with_default else [0]
    rows = float(sums.n[groups].sum())
    if not rows:
        return Metrics()
    e, absolute, e2, e4 = (float(one[groups].sum()) for one in (sums.e, sums.absolute, sums.e2, sums.e4))
    values = {"mae": absolute / rows, "rmse": math.sqrt(e2 / rows), "bias": e / rows}
    squares = mean_interval(e2, e4, rows)
    intervals: dict[str, Interval | None] = {
        "mae": mean_interval(absolute, e2, rows),
        "bias": mean_interval(e, e2, rows),
        # The interval of the mean square, rooted.
        "rmse": None if squares is None else (math.sqrt(max(0.0, squares[0])), math.sqrt(squares[1])),
    }
    mean = float((sums.n * sums.y_mean)[groups].sum()) / rows
    spread = float((sums.y_m2 + sums.n * (sums.y_mean - mean) ** 2)[groups].sum())
    if spread > 0:
        values["r2"] = 1 - e2 / spread
    return Metrics(int(rows), values, {name: found for name, found in intervals.items() if found is not None})
