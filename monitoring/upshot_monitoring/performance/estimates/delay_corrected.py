"""Metrics of open windows from the labels that have come so far, corrected for who comes early.

What it says: of a day whose labels are half in, what the metrics will be. Where positives are told at once and negatives after
weeks (or never, and are a default), the labels of the first days are nearly all positive: metrics of them alone are wrong by a
wide margin.

Formula: inverse probability of having been seen. With F_c(t) the share of predictions whose label of class c has come by age t
(Kaplan-Meier on all cohorts, ``upshot_joiner/delays/delay_curve.py``: a row of the other class stays under observation), a
labelled row of age a counts 1 / G times, G = F_c(a) / F_c(window), averaged over the ages of its hour. Where the label has a
default, rows of the default class are all rows less these; else they are weighted by their own curve. Hours with G below 0.1
are left out: a few labels would stand for all. Variance: the delta method over rows, and that of the curve (Greenwood, whose
increments are independent):

    cov(log G(a), log G(b)) = r(a) r(b) V(min(a, b)) - R (r(a) V(a) + r(b) V(b)) + R^2 V(window),  r = S / F, R = r(window)

Assumes that within a class the delay does not depend on the score, nor on the day.

Papers: D. G. Horvitz, D. J. Thompson, "A generalization of sampling without replacement from a finite universe", JASA 47, 1952;
J. M. Robins, A. Rotnitzky, "Recovery of information and adjustment for dependent censoring using surrogate markers", 1992
(inverse probability of censoring); S. I. Ktena et al., "Addressing delayed feedback for continuous training with neural
networks in CTR prediction", RecSys 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upshot_joiner.delays.delay_curve import DelayCurve
from upshot_monitoring.performance.binary.cells import Cells, Floats, Influence
from upshot_monitoring.performance.binary.sums import METRICS, BinarySums
from upshot_monitoring.performance.metrics import Measured, effective

LEAST = 0.1
"""The least probability of having been seen."""
POINTS = 6
"""An hour's ages are taken at so many places."""
HOUR_S = 3600.0


@dataclass(frozen=True)
class Seen:
    """The probability of having been seen by age, relative to the window, of one class."""

    curve: DelayCurve
    window_s: float

    def at(self, ages_s: Floats) -> Floats:
        """G of hours whose youngest prediction has such an age."""
        whole = 1 - self.curve.survival(self.window_s).value
        steps = (np.arange(POINTS) + 0.5) / POINTS * HOUR_S
        return np.array(
            [
                np.mean([1 - self.curve.survival(min(self.window_s, age + step)).value for step in steps]) / whole
                if whole > 0
                else 0.0
                for age in ages_s.tolist()
            ]
        )

    def covariance(self, ages_s: Floats) -> Floats:
        """Of log G between hours, shape (hours, hours)."""
        ages = np.minimum(ages_s + HOUR_S / 2, self.window_s)
        end = self.curve.survival(self.window_s)
        found = [self.curve.survival(age) for age in ages.tolist()]
        s = np.array([one.value for one in found])
        v = np.array([one.variance if one.value > 0 else 0.0 for one in found])
        r = np.divide(s, 1 - s, out=np.zeros(len(s)), where=s < 1)
        last = end.value / (1 - end.value) if 0 < end.value < 1 else 0.0
        v_end = end.variance if end.value > 0 else 0.0
        first = np.where(ages[:, None] <= ages[None, :], v[:, None], v[None, :])
        result: Floats = np.outer(r, r) * first - last * ((r * v)[:, None] + (r * v)[None, :]) + last**2 * v_end
        return result


@dataclass(frozen=True)
class OpenHour:
    """One hour of predictions whose window has not closed."""

    age_s: float
    """Of its youngest prediction."""
    sums: BinarySums


def estimate(
    hours: Sequence[OpenHour], known: BinarySums, *, default: bool | None, of_positives: Seen, of_negatives: Seen
) -> tuple[dict[str, Measured], int]:
    """Every metric of open hours and of the matured rows besides, and how many rows it is of. ``default``: the class of rows
    that never get a
    label; None where every row does."""
    ages = np.array([hour.age_s for hour in hours])
    seen = {True: of_positives.at(ages), False: of_negatives.at(ages)}
    weighted = [True, False] if default is None else [not default]
    usable = np.all([seen[which] >= LEAST for which in weighted], axis=0)
    hours = [hour for hour, good in zip(hours, usable.tolist(), strict=True) if good]
    if not hours:
        return {}, 0
    ages = ages[usable]
    several = _Hours(hours, known, default)
    corrected = {which: several.corrected(which, seen[which][usable]) for which in weighted}
    cells = several.cells(corrected)

    def variance(found: Influence) -> float:
        by = {True: found.by_positives, False: found.by_negatives}
        total = several.known_positives2 @ by[True] ** 2 + several.known_negatives2 @ by[False] ** 2
        if default is not None:
            total += several.all2 @ by[default] ** 2
        for which, one in corrected.items():
            step = by[which] if default is None else by[which] - by[default]
            total += one.squares2 @ step**2
            if default is not None:
                total += 2 * (one.squares1 * by[default]) @ step
            curve = of_positives if which else of_negatives
            moved = -(one.by_hour @ step)
            total += moved @ curve.covariance(ages) @ moved
        rows = several.effective_rows
        return float(total) * (rows / (rows - 1) if rows > 1 else np.inf)

    measured = {metric.about.name: metric.measure(cells, variance) for metric in METRICS}
    rows = int(known.group_rows[:3].sum()) + sum(int(hour.sums.group_rows[:3].sum()) for hour in hours)
    return {name: one for name, one in measured.items() if one is not None}, rows


@dataclass(frozen=True)
class _Corrected:
    """Rows of one class, weighted by 1 / G, over the common bins."""

    weights: Floats
    squares1: Floats
    """Sums of w^2 / G."""
    squares2: Floats
    """Sums of w^2 / G^2."""
    by_hour: Floats
    """Shape (hours, bins): w / G."""


class _Hours:
    """Open hours over common bins."""

    def __init__(self, hours: Sequence[OpenHour], known: BinarySums, default: bool | None) -> None:
        self._default = default
        self._bins = np.unique(np.concatenate([known.bins, *(hour.sums.bins for hour in hours)]))
        self._weights = np.stack([self._spread(hour.sums.bins, hour.sums.weights) for hour in hours])
        self._weights2 = np.stack([self._spread(hour.sums.bins, hour.sums.weights2) for hour in hours])
        self._known = known
        groups = ([0], [1]) if default is None else ([0], [1, 2]) if default else ([0, 2], [1])
        of_known, squares = self._spread(known.bins, known.weights), self._spread(known.bins, known.weights2)
        self.known_negatives, self.known_positives = (of_known[group].sum(axis=0) for group in groups)
        self.known_negatives2, self.known_positives2 = (squares[group].sum(axis=0) for group in groups)
        self.all = self._weights.sum(axis=(0, 1))
        self.all2 = self._weights2.sum(axis=(0, 1))
        every = [known, *(hour.sums for hour in hours)]
        scores = np.sum([self._spread(one.bins, one.scores).sum(axis=0) for one in every], axis=0)
        total = self.all + of_known.sum(axis=0)
        self._scores = np.divide(scores, total, out=np.zeros(len(total)), where=total > 0)
        self._is_proper = not any(one.sums[-1] for one in every)
        of_them = (
            total
            if default is not None
            else self.known_negatives + self.known_positives + self._labelled(0) + self._labelled(1)
        )
        self.effective_rows = effective(float(of_them.sum()), float(self.all2.sum() + squares.sum()))

    def _spread(self, bins: NDArray[np.int64], of: Floats) -> Floats:
        out = np.zeros((len(of), len(self._bins)))
        out[:, np.searchsorted(self._bins, bins)] = of
        return out

    def _labelled(self, group: int) -> Floats:
        summed: Floats = self._weights[:, group].sum(axis=0)
        return summed

    def corrected(self, which: bool, seen: Floats) -> _Corrected:  # the class itself
        """The labelled rows of a class."""
        group = int(which)
        by_hour = self._weights[:, group] / seen[:, None]
        squares = self._weights2[:, group]
        return _Corrected(
            by_hour.sum(axis=0),
            (squares / seen[:, None]).sum(axis=0),
            (squares / seen[:, None] ** 2).sum(axis=0),
            by_hour,
        )

    def cells(self, corrected: dict[bool, _Corrected]) -> Cells:
        """All rows, the known ones included."""
        whole = {which: one.weights for which, one in corrected.items()}
        if self._default is not None:
            whole[self._default] = self.all - whole[not self._default]
        squares = {which: one.squares2 for which, one in corrected.items()}
        if self._default is not None:
            squares[self._default] = np.abs(whole[self._default])
        positives, negatives = self.known_positives + whole[True], self.known_negatives + whole[False]
        layout = replace(
            BinarySums(),
            bins=self._bins,
            weights=np.ones((3, len(self._bins))),
            threshold=self._known.threshold,
            weights2=np.ones((3, len(self._bins))),
            scores=np.tile(self._scores, (3, 1)),
        )
        shape = layout.cells(None)
        return Cells(
            positives=positives,
            negatives=negatives,
            positives2=self.known_positives2 + squares[True],
            negatives2=self.known_negatives2 + squares[False],
            positive_scores=positives * self._scores,
            negative_scores=negatives * self._scores,
            above=shape.above,
            deciles=shape.deciles,
            one_score=np.zeros(len(self._bins), bool),
            is_proper=self._is_proper,
        )
