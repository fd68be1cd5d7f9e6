"""CBPE: what the metrics of rows without labels will be, from their scores alone (confidence-based performance estimation).

What it says: how a binary model does today although its labels come in a month, as long as what a score means has not changed
(no concept drift): the scores may shift as they like. It is right where the calibration of the past still holds, and wrong
where it does not; which is why it is compared with the truth afterwards.

Formula: with c the calibrated probability of a row (``calibrator.py``), the row counts as c positives and 1 - c negatives;
every metric is that of these weights. Rows whose outcome is known count with it. The interval is of the metric that these rows
will have: with d the difference of the influences of a positive and a negative,

    variance = sum over rows of w^2 c (1 - c) d^2 + sum over pools of the calibrator of (sum of w d)^2 var(share)

that is, the chance of the labels to come, and the chance in what the calibration was learnt from.

    >>> import numpy as np
    >>> from upshot_monitoring.performance.binary.sums import cells_of_rows
    >>> from upshot_monitoring.performance.estimates.calibrator import fit
    >>> rng = np.random.default_rng(7)
    >>> p = rng.beta(1, 3, 20000)
    >>> y = rng.random(20000) < p ** 1.2
    >>> learnt = fit(cells_of_rows(p[:15000], y[:15000]))
    >>> of = Open(cells_of_rows(p[15000:], y[15000:]), learnt)
    >>> from upshot_monitoring.performance.binary.ranks import METRICS
    >>> [round(one.value, 3) for one in estimate([of]).values()][:3]    # without a look at y[15000:]
    [0.801, 0.515, 0.447]
    >>> [round(metric.measure(cells_of_rows(p[15000:], y[15000:])).value, 3) for metric in METRICS]
    [0.794, 0.492, 0.441]

Papers: NannyML, "Confidence-based Performance Estimation" (its documentation, 2022); J. Bialek, J. Kuberski, N. Perrakis, A.
Bifet, "Estimating model performance under covariate shift without labels", 2024 (arXiv 2401.08348).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upshot_monitoring.performance.binary.cells import Cells, Floats, Influence
from upshot_monitoring.performance.binary.sums import METRICS
from upshot_monitoring.performance.estimates.calibrator import Calibrator
from upshot_monitoring.performance.metrics import Measured

ESTIMATED = tuple(metric for metric in METRICS if not metric.about.name.startswith("calibration_"))
"""Calibration itself cannot be estimated from the assumption that it holds."""


@dataclass(frozen=True)
class Open:
    """Rows whose labels are not known, or not to be used: only the weights and scores of the cells count."""

    cells: Cells
    calibrator: Calibrator | None
    """None: the scores are taken as probabilities."""

    def probabilities(self) -> Floats:
        """Of being positive, per cell."""
        scores = self.cells.mean_scores
        return np.clip(scores, 0, 1) if self.calibrator is None else self.calibrator.probabilities(scores)


def estimate(several: Sequence[Open], known: Cells | None = None) -> dict[str, Measured]:
    """Every metric of open rows, and of those whose outcome is known besides; empty without rows."""
    if not sum(float((one.cells.positives + one.cells.negatives).sum()) for one in several):
        return {}
    parts = [_expected(one) for one in several]
    cells = _side_by_side([*parts, *([known] if known is not None else [])])
    order = np.argsort(cells.mean_scores, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    ordered = _take(cells, order)

    def variance(found: Influence) -> float:
        step = (found.by_positives - found.by_negatives)[place]
        total, start = 0.0, 0
        for one, part in zip(several, parts, strict=True):
            d = step[start : start + len(part.positives)]
            start += len(part.positives)
            total += _variance(one, d)
        return total

    measured = {metric.about.name: metric.measure(ordered, variance) for metric in ESTIMATED}
    return {name: one for name, one in measured.items() if one is not None}


def _expected(one: Open) -> Cells:
    weights = one.cells.positives + one.cells.negatives
    share = one.probabilities()
    squares = one.cells.positives2 + one.cells.negatives2
    return replace(
        one.cells.with_weights(weights * share, weights * (1 - share)),
        positives2=squares * share,
        negatives2=squares * (1 - share),
    )


def _variance(one: Open, d: Floats) -> float:
    weights = one.cells.positives + one.cells.negatives
    squares = one.cells.positives2 + one.cells.negatives2
    share = one.probabilities()
    of_labels = float(squares * share * (1 - share) @ d**2)
    if one.calibrator is None:
        return of_labels
    pools = one.calibrator.pool_of(one.cells.mean_scores)
    moved = np.bincount(pools, weights * d, len(one.calibrator.shares))
    return of_labels + float(moved**2 @ one.calibrator.variances)


_ARRAYS = (
    "positives",
    "negatives",
    "positives2",
    "negatives2",
    "positive_scores",
    "negative_scores",
    "above",
    "deciles",
)


def _side_by_side(parts: Sequence[Cells]) -> Cells:
    joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    tied = np.concatenate([part.tied for part in parts])
    return Cells(**joined, one_score=tied, is_proper=all(part.is_proper for part in parts))


def _take(cells: Cells, order: NDArray[np.int64]) -> Cells:
    taken = {name: getattr(cells, name)[order] for name in _ARRAYS}
    tied = cells.tied[order]
    return replace(cells, **taken, one_score=tied)
