"""Metrics of the order of the scores: ROC AUC, average precision, Kolmogorov-Smirnov.

What they say: how well the score tells positives from negatives, whatever the threshold. AUC: the chance that a positive has the
higher score of the two (a tie counts half). Average precision: the mean precision at the ranks of the positives; the one to watch
where positives are rare. KS: the largest gap between the score's distributions of the two classes.

Formula, with cells in ascending order of score, m and n the weights of all positives and negatives, and F the share below:

    AUC = sum_b p_b (F-(b) - n_b / 2n) / m            KS = max_b |F-(b) - F+(b)|
    AP  = sum_b p_b TP_b / (TP_b + FP_b) / m          TP_b, FP_b: weights at or above b

In a bin that holds several scores, average precision takes positives and negatives as evenly mixed, and KS, which is looked for
at the ends of bins, may be too small by a row or two: 1 / m.

    >>> import numpy as np
    >>> from upshot_monitoring.performance.binary.sums import cells_of_rows
    >>> rng = np.random.default_rng(7)
    >>> y = rng.random(2000) < 0.3
    >>> cells = cells_of_rows(1 / (1 + np.exp(-rng.normal(y * 1.5, 1))), y)
    >>> [round(metric.measure(cells).value, 4) for metric in METRICS]
    [0.855, 0.7363, 0.5338]

Papers: J. A. Hanley, B. J. McNeil, "The meaning and use of the area under a ROC curve", Radiology 143, 1982; its variance: DeLong
(``delong.py``); K. Boyd, K. H. Eng, C. D. Page, "Area under the precision-recall curve: point estimates and confidence
intervals", ECML PKDD 2013.
"""

from __future__ import annotations

import numpy as np

from upshot_monitoring.performance.binary.cells import BinaryMetric, Cells, Floats, Influence
from upshot_monitoring.performance.delong import placements
from upshot_monitoring.performance.intervals import log_odds
from upshot_monitoring.performance.metrics import About, effective

_GAUSS = ((0.1127016654, 5 / 18), (0.5, 4 / 9), (0.8872983346, 5 / 18))
"""Points and weights of Gauss and Legendre: the integral over a bin, to five digits."""


def roc_auc(cells: Cells) -> Influence | None:
    """The area under the ROC curve."""
    m, n = cells.m, cells.n
    if not m or not n:
        return None
    of_positive, of_negative = placements(cells.positives, cells.negatives)
    auc = float(cells.positives @ of_positive / m)
    by_positives, by_negatives = (of_positive - auc) / m, (of_negative - auc) / n
    parts = []
    for weights, weights2, by in (
        (m, cells.positives2, by_positives),
        (n, cells.negatives2, by_negatives),
    ):
        rows = effective(weights, float(weights2.sum()))
        parts.append(float(weights2 @ by**2) * rows / (rows - 1) if rows > 1 else np.nan)
    return Influence(auc, by_positives, by_negatives, cells.effective_rows, float(sum(parts)))


def average_precision(cells: Cells) -> Influence | None:
    """The area under precision over recall, as steps."""
    m = cells.m
    if not m or not cells.n:
        return None
    p, n = cells.positives[::-1], cells.negatives[::-1]
    tp, fp = np.cumsum(p), np.cumsum(n)
    called = np.maximum(tp + fp, 1e-300)
    tied = cells.tied[::-1]
    steps = np.where(tied, p * tp / called, _evenly_mixed(p, n, tp, fp, cells.positives2[::-1]))
    value = float(steps.sum() / m)
    lower = np.cumsum((p * (fp / called) / called)[::-1])
    by_positives = (tp[::-1] / called[::-1] - value + lower) / m
    by_negatives = -np.cumsum((p * (tp / called) / called)[::-1]) / m
    return Influence(value, by_positives, by_negatives, effective(m, float(cells.positives2.sum())))


def _evenly_mixed(p: Floats, n: Floats, tp: Floats, fp: Floats, squares: Floats) -> Floats:
    one = np.divide(squares, p, out=np.zeros(len(p)), where=p > 0)
    tp_before, fp_before = tp - p, fp - n
    total = np.zeros(len(p))
    for share, weight in _GAUSS:
        # Where a bin holds one positive, it stands behind half of the bin's negatives: its own rank counts in full.
        right = tp_before + np.maximum(share * p, np.minimum(p, one))
        wrong = fp_before + share * n
        total += weight * p * right / np.maximum(right + wrong, 1e-300)
    return total


def kolmogorov_smirnov(cells: Cells) -> Influence | None:
    """The largest difference of the shares of negatives and of positives at or below a score."""
    m, n = cells.m, cells.n
    if not m or not n:
        return None
    below_p, below_n = np.cumsum(cells.positives) / m, np.cumsum(cells.negatives) / n
    at = int(np.argmax(np.abs(below_n - below_p)))
    sign = 1.0 if below_n[at] >= below_p[at] else -1.0
    inside = np.arange(len(below_p)) <= at
    by_positives = -sign * (inside - below_p[at]) / m
    by_negatives = sign * (inside - below_n[at]) / n
    return Influence(float(abs(below_n[at] - below_p[at])), by_positives, by_negatives, cells.effective_rows)


METRICS = (
    BinaryMetric(About("roc_auc", "higher"), roc_auc, log_odds),
    BinaryMetric(About("pr_auc", "higher"), average_precision, log_odds),
    BinaryMetric(About("ks", "higher"), kolmogorov_smirnov, log_odds),
)
