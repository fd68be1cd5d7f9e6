"""PCA reconstruction error: do features still hang together as they did in the reference?

Detects changes of correlation that no single feature shows: rows that leave the plane in which the reference lies have a larger
error, rows that come closer to it a smaller one; both are drift. It sees linear structure only, and of a change in a single
feature as much as of that feature lies outside of the plane. Other than the domain classifier, it compares with one fixed picture,
so its number means the same every day.

Parameters: ``EXPLAINED`` (0.65, the share of the variance that the components explain). The threshold is 0.02 by default: the error
of the reference grows or shrinks by 2 %.

Formula: one half of the reference is standardized, and its main components are found, as few as explain 65 % of the variance, and
at least one fewer than columns. e(row) is the Euclidean distance of a standardized row from its projection. The statistic is
abs(mean e(current) / mean e(other half of the reference) - 1). Numbers that are missing count as the median, with a column
that says so; far-away numbers are moved to twice the range of the middle 98 %
beyond it; a category counts as its share in the first
half. The p-value is that of Welch's t test of both means, with groups (rows of one request, one entity) whole; where rows are
groups of their own it is at least that of 2,000 permutations, as errors have long tails.

    >>> import numpy as np
    >>> from upshot_monitoring.multivariate.sides import Sides
    >>> rng = np.random.default_rng(7)
    >>> reference = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 1500)
    >>> current = rng.multivariate_normal([0, 0], [[1, 0.0], [0.0, 1]], 1500)
    >>> found = pca_reconstruction(Sides.of(reference, current))
    >>> round(found.change, 1), found.components
    (2.2, 1)

Paper: J. E. Jackson, G. S. Mudholkar, "Control procedures for residuals associated with principal component analysis",
Technometrics 21(3), 1979; for drift of served features, NannyML's documentation, "Data reconstruction with PCA".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from upshot_monitoring.multivariate.groups import Bools, Ints, fewest, parts_of, variance_of_difference
from upshot_monitoring.multivariate.learner import Components
from upshot_monitoring.multivariate.sides import Sides
from upshot_monitoring.profiles.profile import Floats

EXPLAINED = 0.65
SEED = 19792
PERMUTATIONS = 2000
LOOKED_AT = 0.1
"""From this p-value on nothing is found anyway, and no permutations are made."""
MIDDLE = (0.01, 0.99)
FAR = 2.0
"""Ranges of the middle beyond it: 12 standard deviations of a normal. What is further away would be the only thing that is seen."""


class NothingToReconstruct(ValueError):
    """Fewer than two columns vary in the reference."""


@dataclass(frozen=True)
class Reconstructed:
    """How well rows are reconstructed."""

    statistic: float
    p_value: float
    change: float
    """The statistic with its sign: above 0, current rows are reconstructed worse."""
    error_reference: float
    error_current: float
    components: int
    columns: int
    constant: list[str]
    """Features that do not vary in the half that is learnt from, and are not looked at."""


def pca_reconstruction(sides: Sides, *, seed: int = SEED) -> Reconstructed:
    """Compare two sides; raises :class:`NothingToReconstruct`."""
    learnt, rng = learnt_rows(sides, seed=seed), np.random.default_rng(seed + 1)
    rows, constant = as_numbers(sides, learnt)
    if rows.shape[1] < 2:
        raise NothingToReconstruct
    components = Components(rows[learnt], EXPLAINED)
    errors = components.errors(rows[~learnt])
    is_current, groups = sides.is_current[~learnt], sides.groups[~learnt]
    now, then = float(errors[is_current].mean()), float(errors[~is_current].mean())
    change = now / then - 1 if then > 0 else (0.0 if now == 0 else 1e9)
    return Reconstructed(
        abs(change),
        _chance(errors, is_current, groups, rng),
        change,
        then,
        now,
        components.count,
        rows.shape[1],
        constant,
    )


def learnt_rows(sides: Sides, *, seed: int = SEED) -> Bools:
    """Which rows are the half of the reference that is learnt from, groups whole."""
    found: Bools = ~sides.is_current & (parts_of(sides.groups, 2, np.random.default_rng(seed)) == 0)
    return found


def as_numbers(sides: Sides, learnt: Bools) -> tuple[Floats, list[str]]:
    """Rows without gaps and categories, as the rows ``learnt`` say, and the features none of whose columns vary in these."""
    found: list[Floats] = []
    varies: set[int] = set()
    for i, values in enumerate(sides.rows.T):
        missing = np.isnan(values)
        filled = _shares(values, missing, learnt) if sides.is_class[i] else _filled(values, missing, learnt)
        for column in (filled, missing.astype(np.float64)):
            if np.ptp(column[learnt]) > 0:
                found.append(column)
                varies.add(int(sides.feature_of[i]))
    constant = [name for i, name in enumerate(sides.features) if i not in varies]
    return np.stack(found, axis=1) if found else np.empty((len(sides.rows), 0)), constant


def _filled(values: Floats, missing: Bools, learnt: Bools) -> Floats:
    known = values[learnt & ~missing]
    if not len(known):
        return np.zeros(len(values))
    # Values that are there: between the largest and the next one lies half of the largest, were it 1e150.
    low, high = (np.quantile(known, MIDDLE[i], method=("higher", "lower")[i]) for i in range(2))
    middle = np.median(known)
    if high <= low:
        low, high = known.min(), known.max()
    reach = FAR * (high - low)
    return np.clip(np.where(missing, middle, values), low - reach, high + reach)


def _shares(values: Floats, missing: Bools, learnt: Bools) -> Floats:
    codes = np.where(missing, 255, values).astype(np.int64)
    counts = np.bincount(codes[learnt], minlength=256)
    shares: Floats = counts[codes] / max(1, learnt.sum())
    return shares


def _chance(errors: Floats, is_current: Bools, groups: Ints, rng: np.random.Generator) -> float:
    from scipy.special import stdtr  # here: its import takes 0.3 s

    means = np.where(is_current, errors[is_current].mean(), errors[~is_current].mean())
    difference = float(errors[is_current].mean() - errors[~is_current].mean())
    deviation = math.sqrt(variance_of_difference(errors, means, groups, is_current))
    if difference == 0:
        return 1.0
    if deviation == 0:
        return 0.0
    p_value = 2 * float(stdtr(max(1, fewest(groups, is_current) - 1), -abs(difference) / deviation))
    if p_value >= LOOKED_AT or len(np.unique(groups)) < len(groups):
        return p_value
    # The side with fewer rows is drawn again and again from both.
    size = int(min(is_current.sum(), (~is_current).sum()))
    share = (1 / size + 1 / (len(errors) - size)) * size
    centre = float(errors.mean())
    drawn = np.array([rng.choice(errors, size, replace=False).mean() for _ in range(PERMUTATIONS)])
    at_least = int((np.abs(drawn - centre) * share >= abs(difference)).sum())
    return max(p_value, at_least / PERMUTATIONS) if at_least else p_value
