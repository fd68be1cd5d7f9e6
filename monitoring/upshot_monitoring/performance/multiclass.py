"""Metrics of a multiclass model from the pairs of actual and predicted class in ``performance_hours``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upshot_monitoring.performance.intervals import wilson
from upshot_monitoring.performance.metrics import Metrics

UNLABELLED = 2


@dataclass(frozen=True)
class MulticlassSums:
    """Counts by (actual class, predicted class, state); the actual class of an unlabelled row is the label's default."""

    rows: int = 0
    group_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))
    pairs: Counter[tuple[str, str, int]] = field(default_factory=Counter)


def add(parts: Iterable[MulticlassSums]) -> MulticlassSums:
    """The counts over all rows of the parts."""
    rows, groups, pairs = 0, np.zeros(4, np.int64), Counter[tuple[str, str, int]]()
    for part in parts:
        rows += part.rows
        groups = groups + part.group_rows
        pairs.update(part.pairs)
    return MulticlassSums(rows, groups, pairs)


def metrics(sums: MulticlassSums, *, with_default: bool) -> Metrics:
    """Accuracy, and F1 as the plain mean over classes, of the labelled rows, or of those and the defaulted ones."""
    actual, predicted, right = Counter[str](), Counter[str](), Counter[str]()
    for (one, other, state), count in sums.pairs.items():
        if state == UNLABELLED and not with_default:
            continue
        actual[one] += count
        predicted[other] += count
        if one == other:
            right[one] += count
    rows = actual.total()
    if not rows:
        return Metrics()
    f1 = [2 * right[name] / (actual[name] + predicted[name]) for name in {*actual, *predicted}]
    values = {"accuracy": right.total() / rows, "macro_f1": sum(f1) / len(f1)}
    interval = wilson(right.total(), rows)
    return Metrics(rows, values, {"accuracy": interval} if interval else {})
