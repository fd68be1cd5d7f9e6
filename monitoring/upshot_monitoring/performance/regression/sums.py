"""The sums of ``performance_sums`` for a regression model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NAMES = (
    *("w", "v"),  # sums of w and of w^2
    *("e", "v_e", "v_e2"),  # w e, w^2 e, w^2 e^2
    *("a", "v_a"),  # the same of |e|, whose square is that of e
    *("e2", "v_e4"),  # w e^2, w^2 e^4
    *("rw", "rv", "r", "v_r", "v_r2"),  # of rows with y != 0: w, w^2, and of r = |e / y|
    *("s", "v_s", "v_s2"),  # of s = 2 |e| / (|y| + |predicted|)
    *("d", "d2", "v_d", "v_d2", "v_d3", "v_d4"),  # of d = y - centre
    *("v_e2_d", "v_e2_d2"),
)
"""The scalar sums of one group, in their order in the store."""
_AT = {name: i for i, name in enumerate(NAMES)}


@dataclass(frozen=True)
class RegressionSums:
    """Sums over any hours, for two groups: labelled rows, and unlabelled rows taken at the label's default."""

    rows: int = 0
    group_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))
    group_weights: Floats = field(default_factory=lambda: np.zeros(4))
    centre: float = 0.0
    sums: Floats = field(default_factory=lambda: np.zeros((2, len(NAMES))))
    bins: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Of |e|."""
    weights: Floats = field(default_factory=lambda: np.empty((2, 0)))
    weights2: Floats = field(default_factory=lambda: np.empty((2, 0)))
    absolute: Floats = field(default_factory=lambda: np.empty((2, 0)))
    """Sums of weight times |e|."""

    def about(self, centre: float) -> Floats:
        """The sums with y taken about another centre."""
        shift = self.centre - centre
        if not shift:
            return self.sums
        moved = self.sums.copy()
        w, v, d, d2, v_d, v_d2, v_d3, v_d4 = (self.sums[:, _AT[n]] for n in ("w", "v", *NAMES[17:23]))
        v_e2, v_e2_d, v_e2_d2 = (self.sums[:, _AT[n]] for n in ("v_e2", "v_e2_d", "v_e2_d2"))
        for name, value in (
            ("d", d + shift * w),
            ("d2", d2 + 2 * shift * d + shift**2 * w),
            ("v_d", v_d + shift * v),
            ("v_d2", v_d2 + 2 * shift * v_d + shift**2 * v),
            ("v_d3", v_d3 + 3 * shift * v_d2 + 3 * shift**2 * v_d + shift**3 * v),
            ("v_d4", v_d4 + 4 * shift * v_d3 + 6 * shift**2 * v_d2 + 4 * shift**3 * v_d + shift**4 * v),
            ("v_e2_d", v_e2_d + shift * v_e2),
            ("v_e2_d2", v_e2_d2 + 2 * shift * v_e2_d + shift**2 * v_e2),
        ):
            moved[:, _AT[name]] = value
        return moved


@dataclass(frozen=True)
class Errors:
    """What the metrics of some rows are made of: the sums by name, and |e| by bins, ascending."""

    of: Mapping[str, float]
    rows: int
    weights: Floats
    weights2: Floats
    absolute: Floats
    """The mean |e| of each bin."""


def errors(sums: RegressionSums, *, with_default: bool) -> Errors | None:
    """Of the labelled rows, or of those and the defaulted ones; None where there are none. y is about its mean."""
    groups = [0, 1] if with_default else [0]
    weight = float(sums.sums[groups, 0].sum())
    if weight <= 0:
        return None
    mean = sums.centre + float(sums.sums[groups, _AT["d"]].sum()) / weight
    total = sums.about(mean)[groups].sum(axis=0)
    weights, weights2, absolute = (one[groups].sum(axis=0) for one in (sums.weights, sums.weights2, sums.absolute))
    used = weights > 0
    rows = int(sums.group_rows[:2].sum()) + (int(sums.group_rows[2]) if with_default else 0)
    return Errors(
        dict(zip(NAMES, map(float, total), strict=True)),
        rows,
        weights[used],
        weights2[used],
        absolute[used] / weights[used],
    )


def add(parts: Iterable[RegressionSums]) -> RegressionSums:
    """The sums over all rows of the parts, about the centre of the heaviest."""
    several = list(parts)
    if not several:
        return RegressionSums()
    if len(several) == 1:
        return several[0]
    centre = max(several, key=lambda part: float(part.sums[:, 0].sum())).centre
    bins, where = np.unique(np.concatenate([part.bins for part in several]), return_inverse=True)

    def added(name: str) -> Floats:
        stacked = np.concatenate([getattr(part, name) for part in several], axis=1)
        return np.stack([np.bincount(where, row, len(bins)) for row in stacked]) if len(bins) else np.empty((2, 0))

    return RegressionSums(
        rows=sum(part.rows for part in several),
        group_rows=np.sum([part.group_rows for part in several], axis=0),
        group_weights=np.sum([part.group_weights for part in several], axis=0),
        centre=centre,
        sums=np.sum([part.about(centre) for part in several], axis=0),
        bins=bins,
        weights=added("weights"),
        weights2=added("weights2"),
        absolute=added("absolute"),
    )


def read(row: Mapping[str, Any]) -> RegressionSums:
    """The sums in one row of an answer of the store."""
    total = add(
        RegressionSums(centre=centre, sums=np.array(sums, np.float64).reshape(2, -1))
        for centre, sums in (part.values() if isinstance(part, dict) else part for part in row["parts"])
    )

    def stacked(name: str) -> Floats:
        return np.array([row[f"{name}_{group}"] for group in (0, 2)], np.float64).reshape(2, -1)

    return RegressionSums(
        rows=int(row["rows"]),
        group_rows=np.array(row["group_rows"], np.int64),
        group_weights=np.array(row["group_weights"], np.float64),
        centre=total.centre,
        sums=total.sums,
        bins=np.array(row["bins"], np.int64),
        weights=stacked("w"),
        weights2=stacked("v"),
        absolute=stacked("x"),
    )
