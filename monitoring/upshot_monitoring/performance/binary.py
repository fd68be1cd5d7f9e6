"""Metrics of a binary model from the sums of ``performance_hours``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upshot_monitoring.performance.delong import binned_auc
from upshot_monitoring.performance.intervals import Interval, log_odds_interval, mean_interval, wilson
from upshot_monitoring.performance.metrics import Metrics
from upshot_monitoring.performance.score_bins import above_threshold, decile

Floats = NDArray[np.float64]

_ZEROS: Floats = np.zeros(4)


@dataclass(frozen=True)
class BinarySums:
    """Sums over any hours. Arrays by bin are aligned; arrays of four are by group: negative, positive, unlabelled, retracted."""

    rows: int = 0
    group_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))
    bins: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    counts: Floats = field(default_factory=lambda: np.empty((3, 0)))
    """Shape (3, bins): negatives, positives, unlabelled."""
    scores: Floats = field(default_factory=lambda: np.empty((3, 0)))
    """The same: sums of scores."""
    outside: int = 0
    losses: Floats = field(default_factory=lambda: _ZEROS)
    losses2: Floats = field(default_factory=lambda: _ZEROS)
    errors2: Floats = field(default_factory=lambda: _ZEROS)
    errors4: Floats = field(default_factory=lambda: _ZEROS)


def add(parts: Iterable[BinarySums]) -> BinarySums:
    """The sums over all rows of the parts."""
    several = list(parts)
    if not several:
        return BinarySums()
    bins, where = np.unique(np.concatenate([part.bins for part in several]), return_inverse=True)

    def added(name: str) -> Floats:
        stacked = np.concatenate([getattr(part, name) for part in several], axis=1)
        return np.stack([np.bincount(where, row, len(bins)) for row in stacked]) if len(bins) else np.empty((3, 0))

    def total(name: str) -> Floats:
        result: Floats = np.sum([getattr(part, name) for part in several], axis=0)
        return result

    return BinarySums(
        rows=sum(part.rows for part in several),
        group_rows=np.sum([part.group_rows for part in several], axis=0),
        bins=bins,
        counts=added("counts"),
        scores=added("scores"),
        outside=sum(part.outside for part in several),
        losses=total("losses"),
        losses2=total("losses2"),
        errors2=total("errors2"),
        errors4=total("errors4"),
    )


def metrics(sums: BinarySums, *, default: bool | None) -> Metrics:
    """Every metric that is defined. ``default``: which class the unlabelled rows have; None leaves them out."""
    groups = [0, 1] if default is None else [0, 1, 2]
    negatives, positives = sums.counts[0].copy(), sums.counts[1].copy()
    negative_scores, positive_scores = sums.scores[0].copy(), sums.scores[1].copy()
    if default is not None:
        (positives if default else negatives)[:] += sums.counts[2]
        (positive_scores if default else negative_scores)[:] += sums.scores[2]
    m, n = float(positives.sum()), float(negatives.sum())
    rows = m + n
    values: dict[str, float] = {}
    intervals: dict[str, Interval | None] = {}
    if not rows:
        return Metrics()
    if m and n:
        auc, error = binned_auc(positives, negatives)
        values["roc_auc"], intervals["roc_auc"] = auc, log_odds_interval(auc, error)
        precision = _average_precision(positives, negatives)
        values["pr_auc"] = precision
        intervals["pr_auc"] = log_odds_interval(precision, math.sqrt(precision * (1 - precision) / m))
    if not sums.outside:
        for name, total, total2 in (("log_loss", sums.losses, sums.losses2), ("brier", sums.errors2, sums.errors4)):
            values[name] = float(total[groups].sum()) / rows
            intervals[name] = mean_interval(float(total[groups].sum()), float(total2[groups].sum()), rows)
        values["calibration_error"] = _calibration_error(
            decile(sums.bins), positives, positives + negatives, positive_scores + negative_scores
        )
    above = above_threshold(sums.bins)
    tp, fp = float(positives[above].sum()), float(negatives[above].sum())
    fn, tn = m - tp, n - fp
    for name, right, of in (
        ("accuracy", tp + tn, rows),
        ("precision", tp, tp + fp),
        ("recall", tp, m),
        ("base_rate", m, rows),
    ):
        if of:
            values[name], intervals[name] = right / of, wilson(right, of)
    if tp + fp + fn:
        values["f1"] = 2 * tp / (2 * tp + fp + fn)
        jaccard = wilson(tp, tp + fp + fn)
        intervals["f1"] = (
            None if jaccard is None else (2 * jaccard[0] / (1 + jaccard[0]), 2 * jaccard[1] / (1 + jaccard[1]))
        )
    return Metrics(int(rows), values, {name: found for name, found in intervals.items() if found is not None})


def _average_precision(positives: Floats, negatives: Floats) -> float:
    """The area under precision over recall, as steps; within a bin, positives and negatives are taken as evenly mixed."""
    p, n = positives[::-1], negatives[::-1]
    tp_before, fp_before = np.cumsum(p) - p, np.cumsum(n) - n
    total = 0.0
    for share in (0.1127016654, 0.5, 0.8872983346):  # Gauss-Legendre points: the integral over a bin, to five digits
        weight = 4 / 9 if share == 0.5 else 5 / 18
        # Where a bin holds one positive, it stands behind half of the bin's negatives: its own rank counts in full.
        tp = tp_before + np.maximum(share * p, np.minimum(p, 1.0))
        fp = fp_before + share * n
        total += weight * float((p * tp / np.maximum(tp + fp, 1e-300)).sum())
    return total / float(p.sum())


def _calibration_error(deciles: NDArray[np.int64], positives: Floats, rows: Floats, scores: Floats) -> float:
    """Expected calibration error over ten equal-width bins of the score: the mean gap between promised and real rate."""
    of_p, of_s = np.bincount(deciles, positives, 10), np.bincount(deciles, scores, 10)
    return float(np.abs(of_p - of_s).sum() / rows.sum())
