"""How probable a difference is without any drift: p-values, from profiles alone.

Two samples of one source differ: a categorical feature with 100 values and 900 rows a day has a Jensen-Shannon distance of 0.12
from last month by chance. Whether a statistic is beyond chance depends on the rows of both sides and on the feature, not on its
threshold.

**Of a distance.** Pool both samples, draw both anew from the pool with the same row counts (seeded), compute the distance; 200
times. The draws say where the middle is. How fast the tail falls is known without them: a distance is a norm of a difference that
is Gaussian with many rows, so P(distance >= median + z deviation) <= P(normal >= z), with the largest standard deviation of any
linear part of it, which each method states (``deviation``). Where the draws themselves reach further than that (rare values far
away), the tail is widened until it covers them. Where a first 32 draws settle the matter, far beyond or amidst them, no more are
made. Fitting the tail to the moments of the draws was tried first, and was wrong by orders of magnitude where it matters (at
1e-6).

**Of two centroids.** ``methods/centroid.py`` knows it without draws.

**Of a share** (missing values). The hypergeometric tail: exact, because a day may have few rows and few missing values.

Papers: B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", chapter 16, Chapman & Hall, 1993; C. Borell, "The
Brunn-Minkowski inequality in Gauss space", Inventiones mathematicae 30, 1975; R. A. Fisher, "The logic of inductive inference",
Journal of the Royal Statistical Society 98(1), 1935.
"""

from __future__ import annotations

import math

import numpy as np

from upshot_monitoring.drift.cells import Cells, Pooled
from upshot_monitoring.drift.means import Means
from upshot_monitoring.drift.registry import Method
from upshot_monitoring.profiles.profile import Floats

DRAWS = 200
FIRST_DRAWS = 32
FAR = 1e-9
"""A p-value of the first draws below which no more are made."""
AMIDST = 8
"""So many of the first draws at or above the statistic: it is chance, and no more are made."""
LEFT_OUT = 4
LEAST = 1e-12
"""The smallest p-value that is said: so far out, 200 draws know only that it is small."""
_SEED = 20130401
_MOST_TERMS = 20_000


def chance(method: Method, cells: Cells | Means) -> float:
    """The p-value of the distance between the sides of ``cells``, LEAST to 1."""
    if method.p_value is not None:
        return max(LEAST, method.p_value(cells))
    assert isinstance(cells, Cells)  # noqa: S101  # for mypy: only methods that know their p-value rest on anything else
    # Of the cells, as the draws are; the distance of KS is refined inside a bucket, and theirs are not.
    seen = float(method.formula(cells))
    if seen <= 0:
        return 1.0
    rng = np.random.default_rng(_SEED)
    assert method.deviation is not None  # noqa: S101  # every distance has one
    deviation = method.deviation(cells)
    if method.quadratic:
        seen = math.sqrt(seen)
    draws = _draws(method, cells, rng, FIRST_DRAWS)
    at_least = int((draws >= seen).sum())
    if at_least >= AMIDST:
        return (at_least + 1) / (FIRST_DRAWS + 1)
    first = upper_tail(draws, seen, deviation)
    if first >= FAR:
        draws = np.concatenate([draws, _draws(method, cells, rng, DRAWS - FIRST_DRAWS)])
        first = upper_tail(draws, seen, deviation)
    return max(LEAST, first)


def upper_tail(draws: Floats, seen: float, deviation: float) -> float:
    """The probability of at least ``seen``, from draws of a norm and its largest standard deviation."""
    at_least = int((draws >= seen).sum())
    empirical = (at_least + 1) / (len(draws) + 1)
    if at_least >= AMIDST:
        return empirical
    median = float(np.median(draws))
    # The upper quarter, without the few largest: those say more about these draws than about the tail.
    ranks = np.arange(LEFT_OUT, max(LEFT_OUT, len(draws) // 4) + 1)
    falling = np.sort(draws)[::-1][ranks - 1]
    from scipy.special import ndtr, ndtri  # here: its import takes 0.3 s

    far = ndtri(1 - ranks / (len(draws) + 1))
    deviation = max(deviation, float(((falling - median) / far).max()), 1e-300)
    tail = float(ndtr(-(seen - median) / deviation))
    return max(tail, empirical) if at_least else tail


def _draws(method: Method, cells: Cells, rng: np.random.Generator, size: int) -> Floats:
    """The distances of ``size`` pairs of samples from both sides pooled; of a divergence, their roots."""
    pooled = cells.reference + cells.current
    shares = pooled / pooled.sum()
    reference, current = (
        rng.multinomial(round(float(side.sum())), shares, size).astype(np.float64)
        for side in (cells.reference, cells.current)
    )
    if not isinstance(cells, Pooled):
        drawn = method.formula(Cells(reference, current))
        return np.sqrt(drawn) if method.quadratic else drawn
    means = (cells.sums_reference + cells.sums_current) / pooled
    # Without the spread inside a bucket, which is small; what is compared is the spread between them.
    rows = reference.sum(axis=-1)
    mean = reference @ means / rows
    spread = np.sqrt(np.maximum(0.0, reference @ (means * means) / rows - mean * mean))
    return method.formula(
        Pooled(
            *(reference, current, cells.lows, cells.highs, reference * means, current * means),
            spread * cells.scale.scale,
            cells.scale,
        )
    )


def chance_of_share(then: int, then_rows: int, now: int, now_rows: int) -> float:
    """The two-sided p-value of a share that was ``then`` of ``then_rows`` and is ``now`` of ``now_rows`` (Fisher's exact test,
    twice the smaller tail)."""
    if now * then_rows < then * now_rows:
        then, now = then_rows - then, now_rows - now
    total, hits = then_rows + now_rows, then + now
    expected = hits * now_rows / total
    if min(expected, (total - hits) * now_rows / total) > 1000:
        deviation = math.sqrt(expected * (1 - hits / total) * then_rows / total)
        return math.erfc((now - expected) / deviation / math.sqrt(2))
    # Terms fall from `now` on; beyond so many there is nothing left to add.
    k = np.arange(now, min(hits, now_rows, now + _MOST_TERMS) + 1, dtype=np.float64)
    logs = (
        _log_choose(hits, k) + _log_choose(total - hits, now_rows - k) - float(_log_choose(total, np.array(now_rows)))
    )
    return min(1.0, 2 * float(np.exp(logs).sum()))


def _log_choose(n: int, k: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        from scipy.special import gammaln  # here: its import takes 0.3 s

        logs: Floats = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return np.where((k < 0) | (k > n), -np.inf, logs)
