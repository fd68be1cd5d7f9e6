"""False discoveries: which of many p-values are findings, when all columns of a model are looked at together.

Of 400 quiet features at p < 0.05, twenty a day are "drift". Here, among all that is called drift, the expected share of false
findings is at most ``rate``; and where nothing drifts at all, the probability that anything is called drift is at most ``rate``.

Formula (Benjamini-Yekutieli): sort the p-values of all ``m`` columns; the largest i with p_(i) <= i rate / (m (1 + 1/2 + ... +
1/m)) and all before it are findings. It holds however the columns depend on each other; Benjamini-Hochberg, without the sum, only
for some kinds of dependence, and features of one model depend on each other in every way.

    >>> found = benjamini_yekutieli([0.0001, 0.02, 0.3, 1.0], 0.01)
    >>> [round(p, 5) for p in found.adjusted]
    [0.00083, 0.08333, 0.83333, 1.0]
    >>> round(found.cutoff, 5)
    0.0012

Paper: Y. Benjamini, D. Yekutieli, "The control of the false discovery rate in multiple testing under dependency", Annals of
Statistics 29(4), 2001.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Discoveries:
    """``adjusted``: the rate at which each would just be a finding, in the order given; ``cutoff``: the p-value up to which one
    is a finding now."""

    adjusted: list[float]
    cutoff: float


def benjamini_yekutieli(p_values: Sequence[float], rate: float, family: int = 0) -> Discoveries:
    """Decide on p-values together. ``family`` is the number of columns looked at where that is more than are given."""
    m = max(len(p_values), family, 1)
    harmonic = float((1 / np.arange(1, m + 1)).sum())
    order = np.argsort(p_values, kind="stable")
    ranks = np.arange(1, len(order) + 1)
    steps = np.asarray(p_values, np.float64)[order] * m * harmonic / ranks
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(steps[::-1])[::-1])
    found = int(ranks[steps <= rate].max(initial=1))
    return Discoveries([float(p) for p in adjusted], found * rate / (m * harmonic))
