"""Metrics of the confusion matrix: accuracy, balanced accuracy, precision, recall and F1 over classes.

What they say: the share that was called right; and over classes the plain mean of precision, recall and F1 (macro: rare classes
count as much as common ones), their mean by actual rows (weighted), and F1 of all decisions together (micro, which equals
accuracy where each row has one class). A class that was never called has precision 0 here, as in scikit-learn.

Formula: with c_ij the weight of rows of class i called j, a_k and p_k the sums over row and column k, F_k = 2 c_kk / (a_k + p_k).
Intervals by the delta method: variance = sum over ij of (sum of squared weights)_ij (df/dc_ij)^2.

    >>> import numpy as np
    >>> from upshot_monitoring.performance.multiclass.sums import Confusion
    >>> counts = np.array([[50, 3, 2], [8, 30, 2], [1, 4, 20.]])
    >>> actual, predicted = np.indices((3, 3)).reshape(2, -1)
    >>> of = Confusion(["a", "b", "c"], actual, predicted, counts.ravel(), counts.ravel())
    >>> {name: round(one.value, 3) for name, one in measure(of).items()}["macro_f1"]
    0.824
    >>> [round(end, 3) for end in measure(of)["macro_f1"].interval]
    [0.741, 0.885]

Paper: K. Takahashi, K. Yamamoto, A. Kuchiba, T. Koyama, "Confidence interval for micro-averaged F1 and macro-averaged F1 scores",
Applied Intelligence 52, 2022.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from upshot_monitoring.performance.intervals import log_odds, proportion
from upshot_monitoring.performance.metrics import About, Measured, effective
from upshot_monitoring.performance.multiclass.sums import Confusion, Floats

MOST_CLASSES = 50
"""So many classes are listed, those with the most rows."""

ABOUT = tuple(
    About(name, "higher")
    for name in (
        *("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "micro_f1", "weighted_f1"),
    )
)


class _OfClasses:
    """Precision, recall and F1 of every class, shape (classes,), and their derivatives by cell, shape (classes, cells)."""

    def __init__(self, of: Confusion) -> None:
        k = len(of.classes)
        self.actual = np.bincount(of.actual, of.weights, k).astype(np.float64)
        self.called = np.bincount(of.predicted, of.weights, k).astype(np.float64)
        hit = of.actual == of.predicted
        self.right = np.bincount(of.actual[hit], of.weights[hit], k).astype(np.float64)
        which = np.arange(k)[:, None]
        is_actual, is_called = (of.actual == which) * 1.0, (of.predicted == which) * 1.0
        is_right = is_actual * hit
        self.precision, self.by_precision = self._ratio(self.right, self.called, is_right, is_called)
        self.recall, self.by_recall = self._ratio(self.right, self.actual, is_right, is_actual)
        self.f1, self.by_f1 = self._ratio(
            2 * self.right, self.actual + self.called, 2 * is_right, is_actual + is_called
        )
        self.share = self.actual / self.actual.sum()
        self.by_share = (is_actual - self.share[:, None]) / self.actual.sum()

    @staticmethod
    def _ratio(over: Floats, under: Floats, by_over: Floats, by_under: Floats) -> tuple[Floats, Floats]:
        value = np.divide(over, under, out=np.zeros(len(over)), where=under > 0)
        by = by_over - value[:, None] * by_under
        return value, np.divide(by, under[:, None], out=np.zeros_like(by), where=under[:, None] > 0)


def measure(of: Confusion) -> dict[str, Measured]:
    """Every metric of the matrix; empty without rows."""
    if not len(of.weights) or of.weights.sum() <= 0:
        return {}
    each = _OfClasses(of)
    whole = float(of.weights.sum())
    share = float(each.right.sum()) / whole
    by_share = ((of.actual == of.predicted) - share) / whole
    present = each.actual > 0
    found = {
        "accuracy": (share, by_share),
        "balanced_accuracy": (each.recall[present].mean(), each.by_recall[present].mean(axis=0)),
        "macro_precision": (each.precision.mean(), each.by_precision.mean(axis=0)),
        "macro_recall": (each.recall.mean(), each.by_recall.mean(axis=0)),
        "macro_f1": (each.f1.mean(), each.by_f1.mean(axis=0)),
        "micro_f1": (share, by_share),
        "weighted_f1": (each.share @ each.f1, each.share @ each.by_f1 + each.f1 @ each.by_share),
    }
    rows = effective(whole, float(of.weights2.sum()))
    measured = {}
    for name, (value, by) in found.items():
        variance = float(of.weights2 @ by**2)
        interval = (proportion if name in ("accuracy", "micro_f1") else log_odds)(float(value), variance, rows)
        measured[name] = Measured(float(value), math.sqrt(variance), interval)
    return measured


def of_each_class(of: Confusion) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class with intervals, the most frequent class first."""
    if not len(of.weights) or of.weights.sum() <= 0:
        return []
    each = _OfClasses(of)
    told = []
    for k in np.lexsort((np.arange(len(of.classes)), -each.actual))[:MOST_CLASSES]:
        one: dict[str, Any] = {"class": of.classes[k], "weight": float(each.actual[k]), "metrics": {}, "intervals": {}}
        in_it = {"precision": of.predicted == k, "recall": of.actual == k, "f1": (of.predicted == k) | (of.actual == k)}
        for name, value, by in (
            ("precision", each.precision[k], each.by_precision[k]),
            ("recall", each.recall[k], each.by_recall[k]),
            ("f1", each.f1[k], each.by_f1[k]),
        ):
            weights, weights2 = float(of.weights[in_it[name]].sum()), float(of.weights2[in_it[name]].sum())
            if weights <= 0:
                continue
            one["metrics"][name] = float(value)
            interval = proportion(float(value), float(of.weights2 @ by**2), effective(weights, weights2))
            if interval is not None:
                one["intervals"][name] = list(interval)
        told.append(one)
    return told
