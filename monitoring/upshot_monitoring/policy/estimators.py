"""IPS, SNIPS and doubly robust: the mean reward of a policy that did not make the choices.

What they say: had the target policy chosen, what the mean reward would have been. IPS weights each row in which the log chose
what the target would have, by one over the chance that it had; SNIPS divides by the sum of these weights, which bounds the
value and mostly lowers its variance, for a little bias; the doubly robust estimator adds to a prediction of the reward
(``reward_model.py``) the weighted error of that prediction: it is unbiased when the propensities are right, whatever the
prediction, and the better that is, the narrower.

Formula: with row weights w, rho = 1[logged action is the target's] / propensity, reward r, prediction q:

    IPS = sum w rho r / sum w        SNIPS = sum w rho r / sum w rho        DR = sum w (q(target) + rho (r - q(logged))) / sum w

each a ratio of means, with the variance of one: sum of w^2 (x - value)^2 / (sum w)^2, of w^2 rho^2 (r - value)^2 / (sum w rho)^2.

A few rows carry large weights, so the means are skewed; intervals are those of Hall's transformation of the t statistic.

Nothing is said where the effective number of rows, (sum w rho)^2 / sum (w rho)^2, is below 100; where one row has more than a
tenth of all weight; or where the mean of rho, which is 1 if the log could have chosen every action of the target, is further
from 1 than chance explains: then propensities are wrong, or actions are missing from the log.

    >>> import numpy as np
    >>> rng = np.random.default_rng(7)
    >>> logged = rng.integers(0, 2, 5000)
    >>> reward = (rng.random(5000) < np.where(logged == 1, 0.3, 0.1)).astype(float)
    >>> found = evaluate(logged == 1, np.full(5000, 0.5), reward, np.ones(5000))
    >>> [round(found.estimates[name].value, 3) for name in ("ips", "snips")], round(found.effective_rows)
    ([0.3, 0.299], 2503)

Papers: P. Hall, "On the removal of skewness by transformation", JRSS B 54, 1992; D. G. Horvitz, D. J. Thompson, JASA 47, 1952;
A. Swaminathan, T. Joachims, "The self-normalized estimator for counterfactual learning", NIPS 2015; M. Dudik, J. Langford, L.
Li, "Doubly robust policy evaluation and learning", ICML 2011; A. Owen, "Monte Carlo theory, methods and examples", 2013 (9.3,
effective sample size).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upshot_monitoring.performance.intervals import Interval, Z, mean_of_weighted
from upshot_monitoring.performance.metrics import Measured, effective

Floats = NDArray[np.float64]

FEWEST = 100.0
"""Effective rows; with fewer, intervals made from the rows themselves are too narrow."""
LARGEST = 0.1
"""The largest share of one row in all weight."""
FAR = 3.9
"""Standard errors of the mean weight from 1: once in ten thousand by chance."""


@dataclass(frozen=True)
class Evaluation:
    """What can be said of one policy."""

    rows: int
    matched: int
    """In which the log chose what the policy would have."""
    effective_rows: float
    mean_weight: float
    """1 in expectation."""
    largest: float
    """The share of the heaviest row."""
    estimates: dict[str, Measured] = field(default_factory=dict)
    reason: str = ""
    """Why there are no estimates."""


def evaluate(
    matches: NDArray[np.bool_],
    propensity: Floats,
    reward: Floats,
    weights: Floats,
    predicted_target: Floats | None = None,
    predicted_logged: Floats | None = None,
) -> Evaluation:
    """The value of a policy; arrays by row. With predictions of the reward also doubly robust."""
    rho = np.where(matches, 1 / propensity, 0.0)
    w_rho = weights * rho
    total, squares = float(w_rho.sum()), float(w_rho @ w_rho)
    if not len(rho):
        return Evaluation(0, 0, 0.0, 0.0, 0.0, reason="no_rows")
    ess = effective(total, squares)
    largest = float(w_rho.max()) / total if total else 0.0
    mean, of_mean = _mean(weights, rho)
    told = Evaluation(len(rho), int(matches.sum()), ess, mean, largest)
    if not told.matched:
        return _without(told, "never_logged")
    if ess < FEWEST or largest > LARGEST:
        return _without(told, "thin_overlap")
    if abs(mean - 1) > FAR * math.sqrt(of_mean):
        return _without(told, "propensities_do_not_add_up")
    estimates = {"ips": _measured(weights, rho * reward), "snips": _measured(w_rho, reward)}
    if predicted_target is not None and predicted_logged is not None:
        estimates["doubly_robust"] = _measured(weights, predicted_target + rho * (reward - predicted_logged))
    return Evaluation(told.rows, told.matched, ess, mean, largest, estimates)


def logged_value(reward: Floats, weights: Floats) -> Measured | None:
    """The mean reward of what was chosen."""
    return _measured(weights, reward) if len(reward) else None


def _without(told: Evaluation, reason: str) -> Evaluation:
    return Evaluation(told.rows, told.matched, told.effective_rows, told.mean_weight, told.largest, reason=reason)


def _mean(weights: Floats, x: Floats) -> tuple[float, float]:
    squares = weights * weights
    return mean_of_weighted(
        float(weights @ x), float(weights.sum()), float(squares.sum()), float(squares @ x), float(squares @ (x * x))
    )


def _measured(weights: Floats, x: Floats) -> Measured:
    value, variance = _mean(weights, x)
    influence = weights * (x - value)
    spread = float(influence @ influence)
    skew = float((influence**3).sum()) / spread**1.5 if spread > 0 else 0.0
    return Measured(value, math.sqrt(max(0.0, variance)), _skewed(value, variance, skew))


def _skewed(value: float, variance: float, skew: float) -> Interval | None:
    """Of a mean of skewed numbers, by Hall's transformation of its t statistic; ``skew`` is that of the mean."""
    if not math.isfinite(variance):
        return None
    error = math.sqrt(max(0.0, variance))

    def quantile(z: float) -> float:
        if abs(skew) < 1e-6:
            return z
        return 3 / skew * (math.cbrt(1 + skew * (z - skew / 6)) - 1)

    return value - error * quantile(Z), value - error * quantile(-Z)
