"""Positives and negatives by score: what every metric of a binary model is a function of, and influence functions.

A metric f of the weights p_b, n_b of positives and negatives in the cells b has the partial derivatives df/dp_b and df/dn_b:
what one more row there would change. For independent rows of weight w the variance of f is, to first order,

    sum over rows of w^2 (df/dp_b or df/dn_b)^2  =  sum over b of P2_b (df/dp_b)^2 + N2_b (df/dn_b)^2

with P2, N2 the sums of squared weights (the delta method; for the AUC it is DeLong's variance). All metrics here are ratios that do
not change when every weight is doubled, so the derivatives, weighted, add up to 0.

Paper: F. R. Hampel, "The influence curve and its role in robust estimation", JASA 69, 1974.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from upshot_monitoring.performance.intervals import Interval
from upshot_monitoring.performance.metrics import About, Measured, effective

Floats = NDArray[np.float64]


def _none() -> Floats:
    return np.empty(0)


@dataclass(frozen=True)
class MeanSums:
    """Sums of one number per row: of w x, w^2 x and w^2 x^2."""

    x: float
    w2_x: float
    w2_x2: float


@dataclass(frozen=True)
class Cells:
    """Rows by score, ascending; arrays are aligned. Weights are 1 / ``keep_probability``."""

    positives: Floats = field(default_factory=_none)
    negatives: Floats = field(default_factory=_none)
    positives2: Floats = field(default_factory=_none)
    """Sums of squared weights."""
    negatives2: Floats = field(default_factory=_none)
    positive_scores: Floats = field(default_factory=_none)
    """Sums of weight times score."""
    negative_scores: Floats = field(default_factory=_none)
    above: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    """Whether the scores of the cell count as positive."""
    deciles: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    is_exact: bool = False
    """Whether each cell holds one score; otherwise those of a narrow bin."""
    one_score: NDArray[np.bool_] | None = None
    """Which cells hold one score, where the weights do not say it."""
    is_proper: bool = True
    """Whether every score is within 0 and 1."""
    losses: MeanSums | None = None
    """Sums of the log loss of the rows; without them it is taken from the cells."""
    errors2: MeanSums | None = None
    """The same of the squared error."""

    @property
    def m(self) -> float:
        """The weight of all positives."""
        return float(self.positives.sum())

    @property
    def n(self) -> float:
        """The weight of all negatives."""
        return float(self.negatives.sum())

    @property
    def effective_rows(self) -> float:
        """How many rows of equal weight say as much."""
        return effective(self.m + self.n, float(self.positives2.sum() + self.negatives2.sum()))

    @property
    def mean_scores(self) -> Floats:
        """The mean score of each cell."""
        weight = self.positives + self.negatives
        return np.divide(
            self.positive_scores + self.negative_scores, weight, out=np.zeros(len(weight)), where=weight > 0
        )

    @property
    def tied(self) -> NDArray[np.bool_]:
        """Whether the positives and negatives of a cell have one score: their means agree, which in a bin of several scores (0.8 %
        wide) happens once in a million cells."""
        if self.is_exact or self.one_score is not None:
            return np.ones(len(self.positives), bool) if self.one_score is None else self.one_score
        of_positives = self.positive_scores * self.negatives
        of_negatives = self.negative_scores * self.positives
        return np.abs(of_positives - of_negatives) <= 1e-9 * np.abs(of_positives)

    def with_weights(self, positives: Floats, negatives: Floats) -> Cells:
        """The same scores with other weights, of which no sums of losses are known."""
        scores = self.mean_scores
        return replace(
            self,
            one_score=self.tied,
            positives=positives,
            negatives=negatives,
            positive_scores=positives * scores,
            negative_scores=negatives * scores,
            losses=None,
            errors2=None,
        )


@dataclass(frozen=True)
class Influence:
    """A metric's value and its partial derivatives by the weight in each cell."""

    value: float
    by_positives: Floats
    by_negatives: Floats
    rows: float
    """Effective number of the rows that it is about: its denominator."""
    variance: float | None = None
    """Of independent rows, where it is known better than from the cells."""

    def variance_of_rows(self, cells: Cells) -> float:
        """The variance when the cells are sums of independent rows."""
        if self.variance is not None:
            return self.variance
        squares = cells.positives2 @ self.by_positives**2 + cells.negatives2 @ self.by_negatives**2
        rows = cells.effective_rows
        return float(squares) * (rows / (rows - 1) if rows > 1 else np.inf)


@dataclass(frozen=True)
class BinaryMetric:
    """One metric: how it is called, what it is of some cells, and how its interval is made of its variance."""

    about: About
    of: Callable[[Cells], Influence | None]
    interval: Callable[[float, float, float], Interval | None]
    """From value, variance and effective rows."""
    needs_probabilities: bool = False

    def measure(self, cells: Cells, variance: Callable[[Influence], float] | None = None) -> Measured | None:
        """The metric of cells; None where it is undefined. ``variance`` is that of rows unless the cells are estimates."""
        if self.needs_probabilities and not cells.is_proper:
            return None
        found = self.of(cells)
        if found is None:
            return None
        spread = found.variance_of_rows(cells) if variance is None else variance(found)
        return Measured(found.value, float(np.sqrt(max(0.0, spread))), self.interval(found.value, spread, found.rows))
