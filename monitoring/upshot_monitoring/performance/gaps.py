"""Gaps between segments: where a model does worse than elsewhere (fairness).

What it says: per metric the segment that is furthest behind all others together, by how much, and whether chance alone explains
it. Of `recall` that is equal opportunity, of `specificity` the other half of equalised odds, of `predicted_rate` demographic
parity, of `precision` predictive parity.

Formula: difference d = value in the segment - value in the rest, which share no row. Its interval, from those of the two values
(v, low, high), is d - sqrt((v1 - low1)^2 + (high2 - v2)^2) to d + sqrt((high1 - v1)^2 + (v2 - low2)^2): exact where errors are
normal, and it keeps their asymmetry (for proportions it is Newcombe's). The worst of k segments is shown, so each end is drawn
out to the confidence 1 - 0.05 / k (Bonferroni): where no segment differs, one answer in twenty shows a gap, however many
segments there are.

    >>> from upshot_monitoring.performance.metrics import Measured
    >>> gap = difference(Measured(0.70, 0.02, (0.66, 0.74)), Measured(0.80, 0.01, (0.78, 0.82)), segments=4)
    >>> round(gap[0], 2), [round(end, 3) for end in gap[1]]
    (-0.1, [-0.157, -0.043])

Papers: R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine 17,
1998; G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008; M.
Hardt, E. Price, N. Srebro, "Equality of opportunity in supervised learning", NeurIPS 2016.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

from upshot_monitoring.performance.catalogue import better
from upshot_monitoring.performance.intervals import Interval, Z
from upshot_monitoring.performance.metrics import Measured, Metrics

FEWEST = 50
"""A segment, and the rest, must have so many effective rows."""


def difference(one: Measured, rest: Measured, *, segments: int) -> tuple[float, Interval] | None:
    """Of two values of different rows, for one of so many segments; None where one of them has no interval."""
    if one.interval is None or rest.interval is None:
        return None
    wider = NormalDist().inv_cdf(1 - 0.025 / segments) / Z
    gap = one.value - rest.value
    below = math.hypot(one.value - one.interval[0], rest.interval[1] - rest.value) * wider
    above = math.hypot(one.interval[1] - one.value, rest.value - rest.interval[0]) * wider
    return gap, (gap - below, gap + above)


def gaps(task: str, pairs: Mapping[str, tuple[Metrics, Metrics]], wanted: list[str]) -> dict[str, dict[str, Any]]:
    """Per metric the segment that is furthest behind; ``pairs`` has the metrics of each segment and of the rest.

    Of a metric of which more is neither better nor worse, the segment that is furthest away.
    """
    compared = {
        value: pair for value, pair in pairs.items() if min(pair[0].effective_rows, pair[1].effective_rows) >= FEWEST
    }
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for one, _ in compared.values() for name in one.measured):
        if wanted and name not in wanted:
            continue
        which = better(task, name)
        several = [
            (value, one.measured[name], rest.measured[name])
            for value, (one, rest) in compared.items()
            if name in one.measured and name in rest.measured
        ]
        behind: list[tuple[float, str, Measured, Measured, float, Interval]] = []
        for value, one, rest in several:
            found_gap = difference(one, rest, segments=len(several))
            if found_gap is not None:
                gap, ends = found_gap
                order = {"higher": gap, "lower": -gap, "neither": -abs(gap)}[which]
                behind.append((order, value, one, rest, gap, ends))
        if not behind:
            continue
        _, value, one, rest, gap, ends = min(behind, key=lambda each: each[:2])
        found[name] = {
            "segment": value,
            "value": one.value,
            "rest": rest.value,
            "difference": gap,
            "interval": list(ends),
            "by_chance": ends[0] <= 0 <= ends[1],
            "segments": len(several),
        }
    return found
