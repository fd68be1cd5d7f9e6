"""95 % intervals. Two numbers, low and high, or None where nothing can be said.

Proportions (accuracy, precision, recall, base rate): Wilson's score interval, at as many rows as the variance of the estimate
stands for: with weights, value (1 - value) / variance (E. L. Korn, B. I. Graubard, "Confidence intervals for proportions with
small expected number of positive counts estimated from survey data", Survey Methodology 24, 1998). Means (log loss, Brier,
errors): mean +/- 1.96 standard errors, by linearisation (the mean of weighted rows is a ratio: W. G. Cochran, "Sampling
Techniques", 1977, 6.3). What lies between 0 and 1 and is no proportion (AUC, average precision, KS): symmetric in its log-odds.
Ratios (lift): symmetric in the logarithm. F1: Wilson's interval of F / (2 - F), which is a proportion.
"""

from __future__ import annotations

import math

Interval = tuple[float, float]

Z = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""


def wilson(successes: float, trials: float) -> Interval | None:
    """Of a proportion. E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.

    >>> [round(end, 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    if trials <= 0:
        return None
    share = successes / trials
    spread = Z * Z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(max(0.0, share * (1 - share)) / trials + spread / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def proportion(value: float, variance: float, rows: float) -> Interval | None:
    """Of a proportion with a known variance; ``rows`` counts where it is 0 or 1 and has none.

    >>> [round(end, 4) for end in proportion(0.8, 0.8 * 0.2 / 10, 10)]
    [0.4902, 0.9433]
    """
    trials = value * (1 - value) / variance if variance > 0 and 0 < value < 1 else rows
    return wilson(value * trials, trials)


def harmonic(value: float, variance: float, rows: float) -> Interval | None:
    """Of an F1: F / (2 - F) is the share of true positives among all that are positive or called so."""
    share = value / (2 - value)
    slope = 2 / (2 - value) ** 2
    ends = proportion(share, variance * slope * slope, rows)
    return ends and (2 * ends[0] / (1 + ends[0]), 2 * ends[1] / (1 + ends[1]))


def normal(value: float, variance: float, rows: float) -> Interval | None:
    """Of a mean."""
    if rows < 2 or not math.isfinite(variance):
        return None
    half = Z * math.sqrt(max(0.0, variance))
    return value - half, value + half


def log_odds(value: float, variance: float, _rows: float) -> Interval | None:
    """Of a value between 0 and 1 with a known variance."""
    return log_odds_interval(value, math.sqrt(max(0.0, variance))) if math.isfinite(variance) else None


def logarithmic(value: float, variance: float, rows: float) -> Interval | None:
    """Of a positive ratio, symmetric in its logarithm."""
    if value <= 0 or rows < 2 or not math.isfinite(variance):
        return None
    spread = math.exp(Z * math.sqrt(max(0.0, variance)) / value)
    return value / spread, value * spread


def log_odds_interval(value: float, standard_error: float) -> Interval | None:
    """Of a value between 0 and 1, symmetric in its log-odds.

    >>> [round(end, 4) for end in log_odds_interval(0.9, 0.02)]
    [0.8534, 0.9329]
    """
    if not 0 < value < 1 or not math.isfinite(standard_error):
        return None
    middle = math.log(value / (1 - value))
    half = Z * standard_error / (value * (1 - value))
    return _logistic(middle - half), _logistic(middle + half)


def mean_of_weighted(total: float, weights: float, w2: float, w2_x: float, w2_x2: float) -> tuple[float, float]:
    """A weighted mean and its variance, from the sums of w x, w, w^2, w^2 x and w^2 x^2.

    The variance is sum w^2 (x - mean)^2 / (sum w)^2, and n / (n - 1) of that with n the effective number of rows.
    """
    mean = total / weights
    spread = max(0.0, w2_x2 - 2 * mean * w2_x + mean * mean * w2)
    rows = weights * weights / w2
    return mean, spread / weights**2 * (rows / (rows - 1) if rows > 1 else math.inf)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
