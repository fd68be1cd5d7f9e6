"""A simple prediction of the reward, for the doubly robust estimator: the mean reward of each action in each tenth of the score.

It need not be good: a bad one costs precision and no truth. Formula: (sum of w r in the cell + 20 m) / (sum of w in the cell +
20), m the mean reward of the action (of all, where it was never chosen). Two halves of the rows predict each other, so that no
row is in its own prediction (cross-fitting).

Paper: V. Chernozhukov et al., "Double/debiased machine learning for treatment and structural parameters", Econometrics Journal
21, 2018.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

TENTHS = 10
PRIOR = 20.0


def tenths(scores: Floats) -> Numbers:
    """0 to 9 by rank; 0 where there is no score."""
    known = np.isfinite(scores)
    if not known.any():
        return np.zeros(len(scores), np.int64)
    edges = np.quantile(scores[known], np.arange(1, TENTHS) / TENTHS)
    return np.where(known, np.searchsorted(edges, np.where(known, scores, 0.0), side="right"), 0).astype(np.int64)


def predictions(
    logged: Numbers,
    target: Numbers,
    context: Numbers,
    reward: Floats,
    weights: Floats,
    half: NDArray[np.bool_],
    actions: int,
) -> tuple[Floats, Floats]:
    """The predicted reward of the target's and of the logged action, by row; actions are numbers below ``actions``."""
    of_target, of_logged = np.empty(len(reward)), np.empty(len(reward))
    for fold in (True, False):
        learn, use = half == fold, half != fold
        table = _table(logged[learn], context[learn], reward[learn], weights[learn], actions)
        of_target[use] = table[target[use], context[use]]
        of_logged[use] = table[logged[use], context[use]]
    return of_target, of_logged


def _table(logged: Numbers, context: Numbers, reward: Floats, weights: Floats, actions: int) -> Floats:
    cell, size = logged * TENTHS + context, actions * TENTHS
    n = np.bincount(cell, weights, size).reshape(actions, TENTHS)
    r = np.bincount(cell, weights * reward, size).reshape(actions, TENTHS)
    everything = float(r.sum() / n.sum()) if n.sum() else 0.0
    of_action = (r.sum(axis=1) + PRIOR * everything) / (n.sum(axis=1) + PRIOR)
    result: Floats = (r + PRIOR * of_action[:, None]) / (n + PRIOR)
    return result
