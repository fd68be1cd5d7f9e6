"""From scores to probabilities, learnt from matured rows: isotonic regression.

What it says: of rows with such a score, how many turned out positive in the past. The only assumption is that a higher score
never means fewer positives.

Formula: pool adjacent violators: neighbouring cells are merged while the share of positives falls; between two pools it is
linear in the score, beyond the last it is constant (the same as scikit-learn's ``IsotonicRegression(out_of_bounds="clip")``).

    >>> import numpy as np
    >>> from upshot_monitoring.performance.binary.sums import cells_of_rows
    >>> fitted = fit(cells_of_rows([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0, 1, 0, 0, 1, 1]))
    >>> [round(float(x), 3) for x in fitted.probabilities(np.array([0.0, 0.2, 0.3, 0.45, 0.9]))]
    [0.0, 0.333, 0.333, 0.667, 1.0]

Papers: M. Ayer, H. D. Brunk, G. M. Ewing, W. T. Reid, E. Silverman, "An empirical distribution function for sampling with
incomplete information", Annals of Mathematical Statistics 26, 1955; B. Zadrozny, C. Elkan, "Transforming classifier scores into
accurate multiclass probability estimates", KDD 2002.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upshot_monitoring.performance.binary.cells import Cells, Floats


@dataclass(frozen=True)
class Calibrator:
    """The pools: from which score to which, the share of positives, and how many rows it was learnt from."""

    starts: Floats
    ends: Floats
    shares: Floats
    rows: Floats
    """Effective numbers."""

    def probabilities(self, scores: Floats) -> Floats:
        """The probability of being positive for each score."""
        places = np.stack([self.starts, self.ends], axis=1).ravel()
        result: Floats = np.interp(scores, places, np.repeat(self.shares, 2))
        return result

    def pool_of(self, scores: Floats) -> NDArray[np.int64]:
        """Which pool a score's probability comes from, the nearer one in between two."""
        between = (self.ends[:-1] + self.starts[1:]) / 2
        return np.searchsorted(between, scores).astype(np.int64)

    @property
    def variances(self) -> Floats:
        """Of the shares; never 0, because a pool without positives is not proof that there are none."""
        share = (self.shares * self.rows + 0.5) / (self.rows + 1)
        result: Floats = share * (1 - share) / np.maximum(1.0, self.rows)
        return result


def fit(cells: Cells) -> Calibrator:
    """Learn from rows whose labels are known; there must be some."""
    scores, weights = cells.mean_scores, cells.positives + cells.negatives
    weights2 = cells.positives2 + cells.negatives2
    pools: list[list[float]] = []  # start, end, weight, weight of positives, sum of squared weights
    for score, weight, positives, squares in zip(
        scores.tolist(), weights.tolist(), cells.positives.tolist(), weights2.tolist(), strict=True
    ):
        pools.append([score, score, weight, positives, squares])
        while len(pools) > 1 and pools[-2][3] * pools[-1][2] >= pools[-1][3] * pools[-2][2]:
            _, end, *last = pools.pop()
            pools[-1][1] = end
            for i, value in enumerate(last, 2):
                pools[-1][i] += value
    starts, ends, weight_, positives_, squares_ = np.array(pools, np.float64).T
    return Calibrator(starts, ends, positives_ / weight_, weight_**2 / squares_)
