"""The methods by name: what each applies to, which way it points, from where on it is drift; and which one a feature gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from upshot_joiner.config import FeatureDriftConfig
from upshot_monitoring.drift import cells
from upshot_monitoring.drift.cells import Cells
from upshot_monitoring.drift.means import Means, means_of, same_length
from upshot_monitoring.drift.methods import (
    centroid,
    chi_square,
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    l_infinity,
    psi,
    psi_equal_width,
    total_variation,
    wasserstein,
)
from upshot_monitoring.profiles.profile import Floats, Kind, Profile

NUMERIC: Final[frozenset[Kind]] = frozenset({"numeric", "vector"})
"""Kinds that can be compared as numbers; a vector by its norm."""
VECTORS: Final[frozenset[Kind]] = frozenset({"vector"})
CLASSES: Final[frozenset[Kind]] = frozenset({"bool", "categorical"})
ANY: Final = NUMERIC | CLASSES

Statistic = Callable[[Profile, Profile], float]
Sort = Literal["distance", "test"]
Rests = Literal["bins", "deciles", "order", "means"]
"""What a number of a method rests on: bins or categories, tenths of the reference or categories, the order of all numbers, the mean
and the variance of every dimension of a vector."""
_CELLS: Final[dict[Rests, Callable[[Profile, Profile], Cells | Means]]] = {
    "bins": cells.bins,
    "deciles": cells.deciles,
    "order": cells.pooled_buckets,
    "means": means_of,
}


@dataclass(frozen=True)
class Effect:
    """How large a change must be for a test to be called drift, by a distance."""

    method: str
    least: float


@dataclass(frozen=True)
class Method:
    """A way to compare two profiles, and what it claims; ``tests/monitoring/test_conformance.py`` holds it to its claims."""

    name: str
    statistic: Statistic
    """Of two profiles."""
    formula: Callable[[Any], Floats]
    """Of cells, wherever they come from."""
    rests_on: Rests
    kinds: frozenset[Kind]
    threshold: float
    """From this value on it is drift, unless configured otherwise."""
    sort: Sort = "distance"
    """A distance grows with the difference and starts at 0; a test is a p-value, and falls."""
    symmetric: bool = True
    """Whether the two sides can be exchanged."""
    most: float | None = None
    """What it cannot exceed; None where there is no such number."""
    quadratic: bool = False
    """Whether it grows with the square of a small difference (a divergence), or with the difference (a norm)."""
    effect: Effect | None = None
    deviation: Callable[[Any], float] | None = None
    """Of a distance, with these cells: the largest standard deviation that any linear part of it (of its root, where it is
    quadratic) has by chance. See ``chance.py``."""
    p_value: Callable[[Any], float] | None = None
    """Of a distance that says by itself, of these cells, how probable it is by chance."""

    @property
    def falls(self) -> bool:
        """Whether a small number means drift."""
        return self.sort == "test"

    def cells(self, reference: Profile, current: Profile) -> Cells | Means:
        """What the formula is computed from."""
        return _CELLS[self.rests_on](reference, current)

    def is_beyond(self, statistic: float, threshold: float) -> bool:
        """Whether this value, on its own, would be drift."""
        return statistic < threshold if self.falls else statistic >= threshold


_DEFAULT: Final[dict[Kind, str]] = {"numeric": "wasserstein", "vector": "centroid"}

METHODS: Final = {
    method.name: method
    for method in (
        Method(
            *("wasserstein", wasserstein.wasserstein, wasserstein.formula, "order", NUMERIC, 0.1),
            symmetric=False,
            deviation=wasserstein.deviation,
        ),
        Method(
            *("jensen_shannon", jensen_shannon.jensen_shannon, jensen_shannon.formula, "bins", ANY, 0.1),
            most=0.832554612,
            deviation=jensen_shannon.deviation,
        ),
        Method(
            *("ks", kolmogorov_smirnov.kolmogorov_smirnov, kolmogorov_smirnov.formula, "order", NUMERIC, 0.1),
            most=1,
            deviation=kolmogorov_smirnov.deviation,
        ),
        Method(
            *("psi", psi.psi, psi.formula, "deciles", ANY, 0.2),
            symmetric=False,
            quadratic=True,
            deviation=psi.deviation,
        ),
        Method(
            *("psi_equal_width", psi_equal_width.psi_equal_width, psi_equal_width.formula, "bins", ANY, 0.2),
            quadratic=True,
            deviation=psi_equal_width.deviation,
        ),
        Method(
            *("hellinger", hellinger.hellinger, hellinger.formula, "bins", ANY, 0.1),
            most=1,
            deviation=hellinger.deviation,
        ),
        Method(
            *("total_variation", total_variation.total_variation, total_variation.formula, "bins", ANY, 0.1),
            most=1,
            deviation=total_variation.deviation,
        ),
        Method(
            *("l_infinity", l_infinity.l_infinity, l_infinity.formula, "bins", CLASSES, 0.1),
            most=1,
            deviation=l_infinity.deviation,
        ),
        Method(
            *("chi_square", chi_square.chi_square, chi_square.formula, "bins", CLASSES, 0.05),
            sort="test",
            most=1,
            effect=Effect("total_variation", chi_square.EFFECT),
        ),
        Method(
            *("centroid", centroid.centroid, centroid.formula, "means", VECTORS, 0.1),
            symmetric=False,
            p_value=centroid.p_value,
        ),
    )
}


def all_statistics(reference: Profile, current: Profile) -> dict[str, float]:
    """The number of every method that applies; methods that rest on the same cells share them."""
    found: dict[str, float] = {}
    shared: dict[Rests, Cells | Means] = {}
    for method in METHODS.values():
        if reference.kind not in method.kinds:
            continue
        if method.rests_on == "means" and same_length(reference, current) is None:
            continue
        if method.rests_on == "order":
            found[method.name] = method.statistic(reference, current)
            continue
        if method.rests_on not in shared:
            shared[method.rests_on] = method.cells(reference, current)
        found[method.name] = float(method.formula(shared[method.rests_on]))
    return found


def method_for(kind: Kind, config: FeatureDriftConfig | None) -> tuple[Method, float, str | None]:
    """The method and threshold of a feature, and what is wrong with its configuration, if anything.

    By the type of the feature alone: a method that changed with the number of rows would change the meaning of the number.
    """
    method = METHODS[_DEFAULT.get(kind, "jensen_shannon")]
    trouble = None
    if config is not None and config.method is not None:
        wanted = METHODS.get(config.method)
        if wanted is None:
            trouble = f"the configured method is not known; {method.name} is used"
        elif kind not in wanted.kinds:
            trouble = f"{wanted.name} does not apply to {kind} values; {method.name} is used"
        else:
            method = wanted
    threshold = config.threshold if config is not None and config.threshold is not None else method.threshold
    return method, threshold, trouble
