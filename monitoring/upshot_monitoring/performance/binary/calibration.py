"""Calibration: whether of the rows with a score of 0.3, three in ten are positive.

What they say: calibration error, the mean gap between promised and real rate over ten bins of the score; slope and intercept,
those of a logistic regression of the outcome on the log-odds of the score: 1 and 0 where it is calibrated, a slope below 1
where scores are too extreme (overfitting), an intercept other than 0 where they are too low or too high throughout.

Formula: ECE = sum over deciles d of |p_d - s_d| / weight, p_d the positives and s_d the sum of scores there. The slope b and
intercept a are the solution of sum (y - mu) (1, x) = 0 with mu = 1 / (1 + exp(-a - b x)), x = log(s / (1 - s)); the influence
of a row is H^-1 (1, x) (y - mu), H the weighted sum of mu (1 - mu) (1, x)(1, x)'.

The calibration error of few rows is too large, because chance makes gaps, too. The lower end of its interval is therefore less
by what chance alone gives, sum of sqrt(2 / pi) sd(gap_d); where that leaves nothing it is 0: the model may be calibrated.

    >>> import numpy as np
    >>> from upshot_monitoring.performance.binary.sums import cells_of_rows
    >>> rng = np.random.default_rng(7)
    >>> x = rng.normal(0, 1, 4000)
    >>> cells = cells_of_rows(1 / (1 + np.exp(-2 * x)), rng.random(4000) < 1 / (1 + np.exp(-x - 0.5)))
    >>> [round(metric.measure(cells).value, 3) for metric in METRICS]
    [0.135, 0.51, 0.524]

Papers: M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015;
D. R. Cox, "Two further applications of a model for binary regression", Biometrika 45, 1958; A. Kumar, P. S. Liang, T. Ma,
"Verified uncertainty calibration", NeurIPS 2019 (the bias).
"""

from __future__ import annotations

import math

import numpy as np

from upshot_monitoring.performance.binary.cells import BinaryMetric, Cells, Floats, Influence
from upshot_monitoring.performance.intervals import normal
from upshot_monitoring.performance.metrics import About, Measured

_EPS = 1e-15
_STEPS = 60
_CLOSE = 1e-12
_WORST_CONDITION = 1e12
"""Of a Hessian: beyond it, its inverse is rounding errors."""


def calibration_error(cells: Cells) -> Influence | None:
    """Over ten bins of equal width."""
    weight = cells.m + cells.n
    if weight <= 0:
        return None
    promised = np.bincount(cells.deciles, cells.positive_scores + cells.negative_scores, 10)
    gaps = np.bincount(cells.deciles, cells.positives, 10) - promised
    value = float(np.abs(gaps).sum() / weight)
    sign = np.sign(gaps)[cells.deciles]
    scores = cells.mean_scores
    return Influence(
        value, (sign * (1 - scores) - value) / weight, (-sign * scores - value) / weight, cells.effective_rows
    )


class _CalibrationError(BinaryMetric):
    """Its interval knows of the bias."""

    def measure(self, cells: Cells, variance: object = None) -> Measured | None:
        found = super().measure(cells, variance)  # type: ignore[arg-type]
        if found is None or found.interval is None:
            return found
        low, high = found.interval
        return Measured(found.value, found.error, (max(0.0, low - _by_chance(cells)), min(1.0, high)))


def _by_chance(cells: Cells) -> float:
    """The calibration error that a calibrated model would have of so many rows."""
    scores = np.clip(cells.mean_scores, 0.0, 1.0)
    spread = np.bincount(cells.deciles, (cells.positives2 + cells.negatives2) * scores * (1 - scores), 10)
    return float(np.sqrt(2 / np.pi * np.maximum(0.0, spread)).sum() / (cells.m + cells.n))


def slope(cells: Cells) -> Influence | None:
    """Of the log-odds of the outcome over those of the score."""
    return _regression(cells, 1)


def intercept(cells: Cells) -> Influence | None:
    """The log-odds of the outcome where the score is one half."""
    return _regression(cells, 0)


def _regression(cells: Cells, which: int) -> Influence | None:
    if not cells.m or not cells.n:
        return None
    weight = cells.positives + cells.negatives
    scores = np.clip(cells.mean_scores, _EPS, 1 - _EPS)
    x = np.stack([np.ones(len(scores)), np.log(scores / (1 - scores))])
    solved = _newton(x, cells.positives, weight)
    if solved is None:
        return None
    beta, mu, inverse = solved
    by = inverse[which] @ x
    return Influence(float(beta[which]), by * (1 - mu), -by * mu, cells.effective_rows)


def _condition(of: Floats) -> float:
    """The condition number of a symmetric matrix of 2 by 2 without a negative eigenvalue: as an SVD gives it, without its cost."""
    (a, b), (_, c) = of.tolist()
    largest, determinant = (a + c) / 2 + math.hypot((a - c) / 2, b), a * c - b * b
    return largest * largest / determinant if determinant > 0 else math.inf


def _newton(x: Floats, positives: Floats, weight: Floats) -> tuple[Floats, Floats, Floats] | None:
    """Coefficients, means and the inverse Hessian; None where the classes can be told apart without a mistake."""
    beta = np.zeros(2)
    for _ in range(_STEPS):
        mu = 1 / (1 + np.exp(-np.clip(beta @ x, -700, 700)))
        hessian = (x * (weight * mu * (1 - mu))) @ x.T
        if not np.isfinite(hessian).all() or _condition(hessian) > _WORST_CONDITION:
            return None
        inverse: Floats = np.linalg.inv(hessian).astype(np.float64)
        step = inverse @ (x @ (positives - weight * mu))
        # A long step overshoots: the likelihood is concave, but not quadratic.
        step *= min(1.0, 4.0 / max(1e-300, float(np.abs(step).max())))
        beta = beta + step
        if np.abs(step).max() < _CLOSE * max(1.0, float(np.abs(beta).max())):
            return beta, mu, inverse
    return None


METRICS = (
    _CalibrationError(About("calibration_error", "lower"), calibration_error, normal, needs_probabilities=True),
    BinaryMetric(About("calibration_slope", "neither", -math.inf, math.inf), slope, normal, needs_probabilities=True),
    BinaryMetric(
        About("calibration_intercept", "neither", -math.inf, math.inf), intercept, normal, needs_probabilities=True
    ),
)
