"""The methods by name, what they apply to, and which one a feature gets by its type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from upshot_joiner.config import FeatureDriftConfig
from upshot_monitoring.drift.chance import Statistic
from upshot_monitoring.drift.jensen_shannon import jensen_shannon
from upshot_monitoring.drift.kolmogorov_smirnov import kolmogorov_smirnov
from upshot_monitoring.drift.l_infinity import l_infinity
from upshot_monitoring.drift.psi import psi
from upshot_monitoring.drift.wasserstein import wasserstein
from upshot_monitoring.profiles.profile import Kind

NUMERIC: Final[frozenset[Kind]] = frozenset({"numeric", "vector"})
"""Kinds that are compared as numbers; a vector by its norm."""
CLASSES: Final[frozenset[Kind]] = frozenset({"bool", "categorical"})


@dataclass(frozen=True)
class Method:
    """A way to compare two profiles: larger is further apart, for all of them."""

    name: str
    statistic: Statistic
    kinds: frozenset[Kind]
    threshold: float
    """From this value on it is drift, unless configured otherwise."""


METHODS: Final = {
    method.name: method
    for method in (
        Method("wasserstein", wasserstein, NUMERIC, 0.1),
        Method("jensen_shannon", jensen_shannon, NUMERIC | CLASSES, 0.1),
        Method("ks", kolmogorov_smirnov, NUMERIC, 0.1),
        Method("psi", psi, NUMERIC | CLASSES, 0.2),
        Method("l_infinity", l_infinity, CLASSES, 0.1),
    )
}


def method_for(kind: Kind, config: FeatureDriftConfig | None) -> tuple[Method, float, str | None]:
    """The method and threshold of a feature, and what is wrong with its configuration, if anything.

    By the type of the feature alone: a method that changed with the number of rows would change the meaning of the number.
    """
    method = METHODS["wasserstein" if kind in NUMERIC else "jensen_shannon"]
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
