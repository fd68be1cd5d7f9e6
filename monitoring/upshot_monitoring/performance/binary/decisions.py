"""Metrics of decisions: a score at or above the threshold is called positive.

What they say: accuracy, the share that was called right; precision, of those called positive; recall, of the positives;
specificity, of the negatives; balanced accuracy, the mean of the last two; F1, the harmonic mean of precision and recall; lift,
how many times more positives there are among those called positive than among all. Base rate and predicted rate are the shares
of positives and of those called positive: what the others are read against.

Formula: with tp, fp, fn, tn the weights of the four outcomes, each but two is a ratio of sums a / b; its derivative by the
weight of an outcome is (a' - value b') / b. Lift is precision over base rate, balanced accuracy the mean of recall and
specificity.

    >>> import numpy as np
    >>> from upshot_monitoring.performance.binary.sums import cells_of_rows
    >>> rng = np.random.default_rng(7)
    >>> p = rng.random(2000)
    >>> cells = cells_of_rows(p, rng.random(2000) < p ** 2)
    >>> {metric.about.name: round(metric.measure(cells).value, 3) for metric in METRICS[:4]}
    {'accuracy': 0.75, 'precision': 0.574, 'recall': 0.876, 'specificity': 0.69}

Papers: C. J. van Rijsbergen, "Information Retrieval", 1979 (F); D. Chicco, N. Totsch, G. Jurman, "The Matthews correlation
coefficient is more reliable than balanced accuracy, bookmaker informedness, and markedness", BioData Mining 14, 2021 (an
overview).
"""

from __future__ import annotations

import math

import numpy as np

from upshot_monitoring.performance.binary.cells import BinaryMetric, Cells, Influence
from upshot_monitoring.performance.intervals import harmonic, log_odds, logarithmic, proportion
from upshot_monitoring.performance.metrics import About, effective

_Four = tuple[float, float, float, float]
"""Of true positives, false positives, false negatives, true negatives."""

_ALL: _Four = (1, 1, 1, 1)


def _outcomes(cells: Cells) -> _Four:
    above = cells.above
    tp, fp = float(cells.positives[above].sum()), float(cells.negatives[above].sum())
    fn, tn = float(cells.positives[~above].sum()), float(cells.negatives[~above].sum())
    return tp, fp, fn, tn


def _spread(cells: Cells, by: _Four) -> tuple[np.ndarray, np.ndarray]:
    return np.where(cells.above, by[0], by[2]), np.where(cells.above, by[1], by[3])


def _ratio(cells: Cells, over: _Four, under: _Four) -> Influence | None:
    outcomes = _outcomes(cells)
    whole = math.fsum(w * x for w, x in zip(under, outcomes, strict=True))
    if whole <= 0:
        return None
    value = math.fsum(w * x for w, x in zip(over, outcomes, strict=True)) / whole
    by = tuple((a - value * b) / whole for a, b in zip(over, under, strict=True))
    in_it_p, in_it_n = _spread(cells, under)
    weights2 = float((cells.positives2 * (in_it_p > 0)).sum() + (cells.negatives2 * (in_it_n > 0)).sum())
    weights = float((cells.positives * (in_it_p > 0)).sum() + (cells.negatives * (in_it_n > 0)).sum())
    return Influence(value, *_spread(cells, by), effective(weights, weights2))  # type: ignore[arg-type]


def accuracy(cells: Cells) -> Influence | None:
    """The share that was called right."""
    return _ratio(cells, (1, 0, 0, 1), _ALL)


def precision(cells: Cells) -> Influence | None:
    """Of those called positive, the share that is."""
    return _ratio(cells, (1, 0, 0, 0), (1, 1, 0, 0))


def recall(cells: Cells) -> Influence | None:
    """Of the positives, the share that was called so."""
    return _ratio(cells, (1, 0, 0, 0), (1, 0, 1, 0))


def specificity(cells: Cells) -> Influence | None:
    """Of the negatives, the share that was called so."""
    return _ratio(cells, (0, 0, 0, 1), (0, 1, 0, 1))


def f1(cells: Cells) -> Influence | None:
    """The harmonic mean of precision and recall."""
    return _ratio(cells, (2, 0, 0, 0), (2, 1, 1, 0))


def base_rate(cells: Cells) -> Influence | None:
    """The share of positives."""
    return _ratio(cells, (1, 0, 1, 0), _ALL)


def predicted_rate(cells: Cells) -> Influence | None:
    """The share that was called positive."""
    return _ratio(cells, (1, 1, 0, 0), _ALL)


def balanced_accuracy(cells: Cells) -> Influence | None:
    """The mean of recall and specificity."""
    a, b = recall(cells), specificity(cells)
    if a is None or b is None:
        return None
    return Influence(
        (a.value + b.value) / 2,
        (a.by_positives + b.by_positives) / 2,
        (a.by_negatives + b.by_negatives) / 2,
        cells.effective_rows,
    )


def lift(cells: Cells) -> Influence | None:
    """Precision over base rate."""
    a, b = precision(cells), base_rate(cells)
    if a is None or b is None or b.value <= 0:
        return None
    value = a.value / b.value
    return Influence(
        value,
        (a.by_positives - value * b.by_positives) / b.value,
        (a.by_negatives - value * b.by_negatives) / b.value,
        a.rows,
    )


METRICS = (
    BinaryMetric(About("accuracy", "higher"), accuracy, proportion),
    BinaryMetric(About("precision", "higher"), precision, proportion),
    BinaryMetric(About("recall", "higher"), recall, proportion),
    BinaryMetric(About("specificity", "higher"), specificity, proportion),
    BinaryMetric(About("balanced_accuracy", "higher"), balanced_accuracy, log_odds),
    BinaryMetric(About("f1", "higher"), f1, harmonic),
    BinaryMetric(About("lift", "higher", high=math.inf), lift, logarithmic),
    BinaryMetric(About("base_rate", "neither"), base_rate, proportion),
    BinaryMetric(About("predicted_rate", "neither"), predicted_rate, proportion),
)
