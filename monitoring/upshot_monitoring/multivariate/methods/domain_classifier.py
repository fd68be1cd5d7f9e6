"""Domain classifier: can current rows be told from reference rows, all features together?

Detects any change that trees can see: of one feature, of many a little, of how features hang together. The statistic is the ROC
AUC of a classifier on rows it was not fitted on: 0.5 is "cannot be told apart", 1 is "each row can". It says nothing about whether
the change matters to the model; which features tell the sides apart is in ``importance``: by how much the AUC falls when the
values of one feature are shuffled among the held-out rows. Features that say the same share their importance.

Parameters: ``FOLDS`` (5). The threshold is 0.55 by default: one feature, shifted by 0.18 standard deviations and known to be the
one, gives 0.55.

Formula: rows are split into 5 folds, groups (rows of one request, one entity) whole. For each fold, trees are fitted on the
others and score it; AUC_k is the AUC of that fold, and the statistic the mean of AUC_k. Given the trees, fold k's
AUC is a Mann-Whitney statistic of rows that they never saw, so without drift its mean is 1/2, and its variance v_k that of
the ranks (ties and groups included). The folds are not independent: fold 1 was learnt from fold 2 and the other way round. For a
learner that is linear in the labels, the mean is a sum over pairs of rows in different folds, each counted twice, so its variance
is at most 2 sum v_k / 25; that is what is used, with a t distribution on (fewest groups of a side - 1) degrees of freedom.
p = P(T >= (AUC - 1/2) / sqrt(2 sum v_k / 25)).

    >>> import numpy as np
    >>> from upshot_monitoring.multivariate.sides import Sides
    >>> rng = np.random.default_rng(7)
    >>> reference = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 1500)
    >>> current = rng.multivariate_normal([0, 0], [[1, 0.0], [0.0, 1]], 1500)
    >>> found = domain_classifier(Sides.of(reference, current))
    >>> round(found.statistic, 2), found.p_value < 1e-12
    (0.8, True)

Paper: D. Lopez-Paz, M. Oquab, "Revisiting classifier two-sample tests", ICLR 2017; for the variance with groups, N. A. Obuchowski,
"Nonparametric analysis of clustered ROC curve data", Biometrics 53(2), 1997.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from upshot_monitoring.multivariate.groups import Bools, Ints, fewest, stratified_parts, variance_of_difference
from upshot_monitoring.multivariate.learner import Classifier
from upshot_monitoring.multivariate.sides import Sides
from upshot_monitoring.profiles.profile import Floats

FOLDS = 5
SEED = 20171
DEPENDENCE = 2.0
"""By how much the variance of the mean of dependent folds exceeds that of independent ones, at most."""
LOOKED_AT = 0.05
"""Above this p-value the sides cannot be told apart, and what tells them apart is nothing but noise."""
MOST_SHUFFLED = 1000
"""Held-out rows per fold that importance is measured on: it is a hint, and shall not take longer than the rest."""
MOST_SHUFFLES = 1000
"""Of all features in all folds: from 200 features on, fewer folds are looked at."""


@dataclass(frozen=True)
class Told:
    """How well the sides can be told apart."""

    statistic: float
    p_value: float
    folds: list[float]
    importance: list[tuple[str, float]] = field(default_factory=list)
    """Features and by how much the AUC falls without them, the most first; only where it does, and the sides can be told apart."""


def domain_classifier(sides: Sides, *, seed: int = SEED) -> Told:
    """Compare two sides; both need rows, and each at least as many groups as there are folds."""
    parts, rng = folds_of(sides, seed=seed), np.random.default_rng(seed + 1)
    fitted, aucs, variances = [], [], []
    for part in range(FOLDS):
        held = parts == part
        trees = Classifier(sides.rows[~held], sides.is_current[~held], sides.is_class, seed)
        area, variance = auc(trees.scores(sides.rows[held]), sides.is_current[held], sides.groups[held])
        fitted.append(trees)
        aucs.append(area)
        variances.append(variance)
    mean = float(np.mean(aucs))
    deviation = math.sqrt(DEPENDENCE * sum(variances)) / FOLDS
    p_value = upper_tail(mean - 0.5, deviation, fewest(sides.groups, sides.is_current) - 1)
    importance: list[tuple[str, float]] = []
    if p_value < LOOKED_AT:
        looked_at = fitted[: max(1, MOST_SHUFFLES // len(sides.features))]
        falls = np.mean([_falls(trees, sides, parts == part, rng) for part, trees in enumerate(looked_at)], axis=0)
        order = np.argsort(-falls, kind="stable")
        importance = [(sides.features[i], float(falls[i])) for i in order if falls[i] > 0]
    return Told(mean, p_value, aucs, importance)


def folds_of(sides: Sides, *, seed: int = SEED) -> Ints:
    """The fold of each row, 0 to 4."""
    return stratified_parts(sides.groups, sides.is_current, FOLDS, np.random.default_rng(seed))


def auc(scores: Floats, is_current: Bools, groups: Ints) -> tuple[float, float]:
    """The AUC, and its variance where the sides do not differ.

    AUC - 1/2 is the difference of the mean ranks of both sides, as shares of all rows.
    """
    from scipy.stats import rankdata  # here: its import takes 0.3 s

    shares: Floats = rankdata(scores) / len(scores)
    area = 0.5 + float(shares[is_current].mean() - shares[~is_current].mean())
    return area, variance_of_difference(shares, np.full(len(shares), shares.mean()), groups, is_current)


def upper_tail(difference: float, deviation: float, freedom: int) -> float:
    """The probability of at least this difference by chance; 1 where there is none."""
    from scipy.special import stdtr

    if deviation <= 0:
        return 1.0
    return float(stdtr(max(1, freedom), -difference / deviation))


def _falls(trees: Classifier, sides: Sides, held: Bools, rng: np.random.Generator) -> Floats:
    """By how much the AUC falls, per feature, when its values (all columns of it together) are shuffled."""
    chosen = rng.permutation(np.flatnonzero(held))[:MOST_SHUFFLED]
    rows, is_current = sides.rows[chosen], sides.is_current[chosen]
    alone = np.arange(len(rows))
    if is_current.all() or not is_current.any():
        return np.zeros(len(sides.features))
    whole, _ = auc(trees.scores(rows), is_current, alone)
    falls = np.zeros(len(sides.features))
    for i, columns in enumerate(sides.columns_of_features()):
        shuffled = rows.copy()
        shuffled[:, columns] = rows[rng.permutation(len(rows))][:, columns]
        falls[i] = whole - auc(trees.scores(shuffled), is_current, alone)[0]
    return falls
