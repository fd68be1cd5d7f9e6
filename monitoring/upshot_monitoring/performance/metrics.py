"""What is said about some rows: metrics with their intervals, and what a metric is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from upshot_monitoring.performance.intervals import Interval

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class About:
    """A metric as it is listed: its name, and what its values can be."""

    name: str
    better: Better
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class Measured:
    """One metric of some rows: its value, the standard error of the value, a 95 % interval."""

    value: float
    error: float = math.nan
    interval: Interval | None = None


@dataclass(frozen=True)
class Metrics:
    """Metrics of ``rows`` rows; what is undefined there is not in it."""

    rows: int = 0
    measured: dict[str, Measured] = field(default_factory=dict)
    effective_rows: float = 0.0
    """How many rows of equal weight would say as much: (sum of weights)^2 / sum of squared weights (Kish 1965)."""
    details: dict[str, Any] = field(default_factory=dict)
    """Fields of the answer that are no single number: ``classes`` of a multiclass model."""

    @property
    def values(self) -> dict[str, float]:
        """Values by name."""
        return {name: one.value for name, one in self.measured.items()}

    @property
    def intervals(self) -> dict[str, Interval]:
        """95 % intervals by name, where there is one."""
        return {name: one.interval for name, one in self.measured.items() if one.interval is not None}

    def describe(self, wanted: Sequence[str] = (), unless_wanted: Iterable[str] = ()) -> dict[str, Any]:
        """``metrics`` and ``intervals`` as in the API's answers: the wanted ones, or all but those ``unless_wanted``."""
        hidden = set(unless_wanted)

        def shown(name: str, *numbers: float) -> bool:
            return (name in wanted if wanted else name not in hidden) and all(map(math.isfinite, numbers))

        return {
            "metrics": {name: value for name, value in self.values.items() if shown(name, value)},
            "intervals": {name: list(ends) for name, ends in self.intervals.items() if shown(name, *ends)},
            **self.details,
        }


def effective(weights: float, weights2: float) -> float:
    """Kish's effective number of rows; 0 where there is none."""
    return weights * weights / weights2 if weights2 > 0 else 0.0
