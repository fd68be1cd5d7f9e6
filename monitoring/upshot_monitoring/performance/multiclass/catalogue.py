"""Every metric of a multiclass model."""

from __future__ import annotations

from upshot_monitoring.performance.metrics import Metrics, effective
from upshot_monitoring.performance.multiclass import confusion, probabilities
from upshot_monitoring.performance.multiclass.sums import MulticlassSums
from upshot_monitoring.performance.multiclass.sums import confusion as pairs

ABOUT = (*confusion.ABOUT, *probabilities.ABOUT)


def metrics(sums: MulticlassSums, *, with_default: bool) -> Metrics:
    """Every metric that is defined, of the labelled rows, or of those and the defaulted ones; and each class by itself."""
    of = pairs(sums, with_default=with_default)
    measured = confusion.measure(of)
    if not measured:
        return Metrics()
    for name, measure in (("log_loss", probabilities.log_loss), ("roc_auc_ovr", probabilities.roc_auc_ovr)):
        one = measure(sums, of, with_default=with_default)
        if one is not None:
            measured[name] = one
    rows = int(sums.group_rows[:2].sum()) + (int(sums.group_rows[2]) if with_default else 0)
    weights, weights2 = float(of.weights.sum()), float(of.weights2.sum())
    return Metrics(rows, measured, effective(weights, weights2), {"classes": confusion.of_each_class(of)})
