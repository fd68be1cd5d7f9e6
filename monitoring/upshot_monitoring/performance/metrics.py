"""What is said about some rows: metrics with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from upshot_monitoring.performance.intervals import Interval


@dataclass(frozen=True)
class Metrics:
    """Metrics of ``rows`` rows; what is undefined there is not in it."""

    rows: int = 0
    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)

    def describe(self, wanted: Sequence[str] = ()) -> dict[str, Any]:
        """``metrics`` and ``intervals`` as in the API's answers; all of them, or the wanted ones."""

        def shown(name: str, *numbers: float) -> bool:
            return (not wanted or name in wanted) and all(map(math.isfinite, numbers))

        return {
            "metrics": {name: value for name, value in self.values.items() if shown(name, value)},
            "intervals": {name: list(ends) for name, ends in self.intervals.items() if shown(name, *ends)},
        }
