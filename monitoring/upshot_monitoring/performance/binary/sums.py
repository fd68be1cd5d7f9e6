"""The sums of ``performance_sums`` for a binary model, and the cells that the metrics are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from upshot_monitoring.performance.binary import calibration, decisions, losses, ranks
from upshot_monitoring.performance.binary.cells import Cells, Floats, MeanSums
from upshot_monitoring.performance.metrics import Metrics
from upshot_monitoring.performance.score_bins import above_threshold, decile, score_of_key

METRICS = (*ranks.METRICS, *losses.METRICS, *decisions.METRICS, *calibration.METRICS)
"""Every metric of a binary model."""

OUTSIDE = 18
"""Where the weight of scores outside [0, 1] is in ``sums``; before it, six numbers per group: of the loss and of the squared error
x, the sums of w x, w^2 x and w^2 x^2."""


def _four() -> Floats:
    return np.zeros(4)


@dataclass(frozen=True)
class BinarySums:
    """Sums over any hours. Arrays by bin are aligned; groups: negative, positive, unlabelled (taken at the default), retracted."""

    rows: int = 0
    group_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))
    group_weights: Floats = field(default_factory=_four)
    bins: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    weights: Floats = field(default_factory=lambda: np.empty((3, 0)))
    """Shape (3, bins): negatives, positives, unlabelled."""
    weights2: Floats = field(default_factory=lambda: np.empty((3, 0)))
    scores: Floats = field(default_factory=lambda: np.empty((3, 0)))
    """Sums of weight times score."""
    sums: Floats = field(default_factory=lambda: np.zeros(OUTSIDE + 1))
    threshold: float | None = None
    """Given where each bin is one score (``score_bins.EXACT_SQL``)."""

    def cells(self, default: bool | None) -> Cells:
        """Positives and negatives by score. ``default``: which class the unlabelled rows have; None leaves them out."""
        negatives, positives = ([0], [1]) if default is None else ([0], [1, 2]) if default else ([0, 2], [1])
        parts = {
            "positives": self.weights[positives].sum(axis=0),
            "negatives": self.weights[negatives].sum(axis=0),
            "positives2": self.weights2[positives].sum(axis=0),
            "negatives2": self.weights2[negatives].sum(axis=0),
            "positive_scores": self.scores[positives].sum(axis=0),
            "negative_scores": self.scores[negatives].sum(axis=0),
        }
        used = parts["positives"] + parts["negatives"] > 0
        bins = self.bins[used]
        threshold = 0.0 if self.threshold is None else self.threshold
        scores = None if self.threshold is None else score_of_key(bins)
        six = self.sums[:OUTSIDE].reshape(3, 6)[[*negatives, *positives]].sum(axis=0)
        return Cells(
            **{name: part[used] for name, part in parts.items()},
            above=above_threshold(bins) if scores is None else scores >= threshold,
            deciles=decile(bins) if scores is None else np.clip(np.floor(scores * 10), 0, 9).astype(np.int64),
            is_exact=scores is not None,
            is_proper=not self.sums[OUTSIDE],
            losses=MeanSums(*map(float, six[:3])),
            errors2=MeanSums(*map(float, six[3:])),
        )


def add(parts: Iterable[BinarySums]) -> BinarySums:
    """The sums over all rows of the parts."""
    several = list(parts)
    if not several:
        return BinarySums()
    if len(several) == 1:
        return several[0]
    bins, where = np.unique(np.concatenate([part.bins for part in several]), return_inverse=True)

    def added(name: str) -> Floats:
        stacked = np.concatenate([getattr(part, name) for part in several], axis=1)
        return np.stack([np.bincount(where, row, len(bins)) for row in stacked]) if len(bins) else np.empty((3, 0))

    return BinarySums(
        rows=sum(part.rows for part in several),
        group_rows=np.sum([part.group_rows for part in several], axis=0),
        group_weights=np.sum([part.group_weights for part in several], axis=0),
        bins=bins,
        weights=added("weights"),
        weights2=added("weights2"),
        scores=added("scores"),
        sums=np.sum([part.sums for part in several], axis=0),
        threshold=several[0].threshold,
    )


def read(row: Mapping[str, Any], threshold: float | None = None) -> BinarySums:
    """The sums in one row of an answer of the store."""

    def stacked(name: str) -> Floats:
        return np.array([row[f"{name}_{group}"] for group in range(3)], np.float64).reshape(3, -1)

    return BinarySums(
        rows=int(row["rows"]),
        group_rows=np.array(row["group_rows"], np.int64),
        group_weights=np.array(row["group_weights"], np.float64),
        bins=np.array(row["bins"], np.int64),
        weights=stacked("w"),
        weights2=stacked("v"),
        scores=stacked("x"),
        sums=np.array(row["sums"], np.float64),
        threshold=threshold,
    )


def metrics(sums: BinarySums, *, default: bool | None) -> Metrics:
    """Every metric that is defined. ``default``: which class the unlabelled rows have; None leaves them out."""
    cells = sums.cells(default)
    rows = int(sums.group_rows[:2].sum()) + (0 if default is None else int(sums.group_rows[2]))
    return of_cells(cells, rows)


def of_cells(cells: Cells, rows: int) -> Metrics:
    """Every metric of some cells."""
    if cells.m + cells.n <= 0:
        return Metrics(rows)
    found = {metric.about.name: metric.measure(cells) for metric in METRICS}
    return Metrics(rows, {name: one for name, one in found.items() if one is not None}, cells.effective_rows)


def cells_of_rows(
    scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None, *, threshold: float = 0.5
) -> Cells:
    """The cells of rows in memory, one per score. ``labels`` are true for positives."""
    p, y = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, np.float64)
    values, where = np.unique(p, return_inverse=True)

    def total(one: Floats) -> Floats:
        summed: Floats = np.bincount(where, one, len(values)).astype(np.float64)
        return summed

    right = np.clip(np.where(y > 0, p, 1 - p), losses.EPS, 1 - losses.EPS)
    return Cells(
        positives=total(w * y),
        negatives=total(w * (1 - y)),
        positives2=total(w * w * y),
        negatives2=total(w * w * (1 - y)),
        positive_scores=total(w * y * p),
        negative_scores=total(w * (1 - y) * p),
        above=values >= threshold,
        deciles=np.clip(np.floor(values * 10), 0, 9).astype(np.int64),
        is_exact=True,
        is_proper=bool(((p >= 0) & (p <= 1)).all()),
        losses=_mean_sums(w, -np.log(right)),
        errors2=_mean_sums(w, (p - y) ** 2),
    )


def _mean_sums(w: Floats, x: Floats) -> MeanSums:
    return MeanSums(float(w @ x), float(w**2 @ x), float(w**2 @ x**2))
