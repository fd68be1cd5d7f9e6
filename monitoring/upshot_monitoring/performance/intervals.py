"""95 % intervals. Two numbers, low and high, or None where nothing can be said.

Proportions (accuracy, precision, recall, base rate): Wilson's score interval. Means (log loss, Brier, errors): mean +/- 1.96
standard errors from the sums of squares. AUC: DeLong's variance, on the log-odds scale so that it stays inside 0 to 1. Average
precision: log-odds scale with the number of positives (Boyd, Eng, Page 2013). F1: Wilson's interval of F / (2 - F), which is a
proportion.
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
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_interval(total: float, total2: float, rows: float) -> Interval | None:
    """Of a mean, from the sum and the sum of squares."""
    if rows < 2:
        return None
    mean = total / rows
    variance = max(0.0, total2 / rows - mean * mean) * rows / (rows - 1)
    half = Z * math.sqrt(variance / rows)
    return mean - half, mean + half


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


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
