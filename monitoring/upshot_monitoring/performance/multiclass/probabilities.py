"""Metrics of the probabilities of a multiclass model: log loss, and the AUC of each class against the rest.

What they say: log loss, how much probability was given to what happened; AUC (macro, one against the rest), how well the
probability of a class tells its rows from all others, as a plain mean over classes.

Formula: log loss = mean of -log of the probability of the actual class, clipped as scikit-learn does; a class that was given no
probability has 0. AUC = mean over the classes that occur of the binary AUC (``binary/ranks.py``) of p_k for y = k. Both need
the probabilities of every row, and at most 50 classes in each. The AUC's interval takes the errors of the classes to be wholly
correlated (the same rows are in all of them), so it is too wide rather than too narrow: the true variance is at most (mean of
the errors)^2.

Papers: D. J. Hand, R. J. Till, "A simple generalisation of the area under the ROC curve for multiple class classification
problems", Machine Learning 45, 2001 (the alternatives); F. Provost, P. Domingos, "Tree induction for probability-based
ranking", Machine Learning 52, 2003 (one against the rest).
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from upshot_monitoring.performance.binary.cells import Cells
from upshot_monitoring.performance.binary.ranks import roc_auc
from upshot_monitoring.performance.intervals import log_odds, mean_of_weighted, normal
from upshot_monitoring.performance.metrics import About, Measured, effective
from upshot_monitoring.performance.multiclass.sums import LOSS, UNLABELLED, Confusion, Floats, MulticlassSums

ABOUT = (About("log_loss", "lower", high=math.inf), About("roc_auc_ovr", "higher"))
_LOWEST = -(2**62)
"""Of rows that gave a class no probability."""


def log_loss(sums: MulticlassSums, of: Confusion, *, with_default: bool) -> Measured | None:
    """None unless every row has probabilities."""
    one = dict(zip(LOSS, map(float, sums.sums.sum(axis=0) if with_default else sums.sums[0]), strict=True))
    if one["w"] <= 0 or not math.isclose(one["w"], float(of.weights.sum()), rel_tol=1e-9):
        return None
    value, variance = mean_of_weighted(one["l"], one["w"], one["v"], one["v_l"], one["v_l2"])
    return Measured(value, math.sqrt(variance), normal(value, variance, effective(one["w"], one["v"])))


def roc_auc_ovr(sums: MulticlassSums, of: Confusion, *, with_default: bool) -> Measured | None:
    """None unless every row has probabilities of at most 50 classes."""
    by_class: defaultdict[str, dict[int, Floats]] = defaultdict(dict)
    for (name, bin_, own, state), weights in sums.scores.items():
        if state == UNLABELLED and not with_default:
            continue
        cell = by_class[name].setdefault(bin_, np.zeros((2, 2)))
        cell[own] += weights
    few = sums.sums[:, LOSS.index("few")]
    of_rows = few.sum() if with_default else few[0]
    if not by_class or not math.isclose(float(of_rows), float(of.weights.sum()), rel_tol=1e-9):
        return None
    values, errors = [], []
    for k, name in enumerate(of.classes):
        own = of.actual == k
        wanted = np.array(
            [[of.weights[~own].sum(), of.weights2[~own].sum()], [of.weights[own].sum(), of.weights2[own].sum()]]
        )
        if not wanted[:, 0].all():
            if wanted[1, 0]:
                return None  # one class alone
            continue
        cells = by_class.get(name, {})
        missing = wanted - sum(cells.values(), np.zeros((2, 2)))
        if missing[:, 0].max() > 1e-9 * wanted[:, 0].max():
            cells = {**cells, _LOWEST: np.maximum(0.0, missing)}
        ordered = np.stack([cells[bin_] for bin_ in sorted(cells)])
        found = roc_auc(
            Cells(
                positives=ordered[:, 1, 0],
                negatives=ordered[:, 0, 0],
                positives2=ordered[:, 1, 1],
                negatives2=ordered[:, 0, 1],
            )
        )
        if found is None:
            return None
        values.append(found.value)
        errors.append(math.sqrt(found.variance) if found.variance is not None else math.nan)
    if not values:
        return None
    value, error = float(np.mean(values)), float(np.mean(errors))
    return Measured(value, error, log_odds(value, error**2, 0.0))
