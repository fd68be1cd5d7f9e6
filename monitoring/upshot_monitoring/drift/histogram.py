"""Two distributions as bars to draw: ``[low, high, share]`` for numbers, ``[value, share]`` for the rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from upshot_monitoring.drift.cells import LARGEST
from upshot_monitoring.drift.registry import NUMERIC
from upshot_monitoring.profiles.profile import Profile

BARS = 40
MAX_VALUES = 30
_FAR = 0.002
"""The share of the values on either end that must not stretch the axis; it is in the outermost bars."""


def histogram(reference: Profile | None, current: Profile | None) -> dict[str, list[list[Any]]]:
    """Bars of both sides over the same range; a side that has no such values has no bars."""
    sides = {"reference": reference or Profile(), "current": current or Profile()}
    numeric = [side for side in sides.values() if side.kind in NUMERIC]
    if numeric:
        return _numeric(sides, numeric)
    top: dict[str, float] = {}
    for side in sides.values():
        for value, count in zip(side.values[:MAX_VALUES], side.value_counts, strict=False):
            top[value] = max(top.get(value, 0.0), float(count) / max(1, side.present))
    shown = sorted(top, key=lambda value: (-top[value], value))[:MAX_VALUES]
    answer: dict[str, list[list[Any]]] = {}
    for name, side in sides.items():
        shares = dict(zip(side.values, side.value_counts / max(1, side.present), strict=True))
        answer[name] = [[value, float(shares.get(value, 0.0))] for value in shown] if side.present else []
    return answer


def _numeric(sides: dict[str, Profile], numeric: list[Profile]) -> dict[str, list[list[Any]]]:
    low = min(float(side.quantiles(np.array([_FAR]))[0]) for side in numeric)
    high = max(float(side.quantiles(np.array([1 - _FAR]))[0]) for side in numeric)
    least, most = min(side.low for side in numeric), max(side.high for side in numeric)
    if low == high:
        low, high = (least, most) if least < most else (low - 0.5, high + 0.5)
    edges = np.linspace(max(low, -LARGEST), min(high, LARGEST), BARS + 1)
    answer: dict[str, list[list[Any]]] = {}
    for name, side in sides.items():
        if side.kind not in NUMERIC:
            answer[name] = []
            continue
        shares = np.diff(np.concatenate([[0.0], side.cdf(edges[1:-1], left=True), [1.0]]))
        answer[name] = [
            [float(a), float(b), float(share)] for a, b, share in zip(edges[:-1], edges[1:], shares, strict=True)
        ]
    return answer
