"""One number of one column from all rows of both sides.

What differs from a profile is only where the cells come from: here every row is counted. The formulas are the methods' own; those
that rest on the order of all numbers are computed by the store, from one sorted array.

Checked against SciPy, NumPy and Evidently in ``tests/monitoring/test_exact.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from upshot_joiner.store.client import Store
from upshot_monitoring.drift.cells import FEW_VALUES, Cells, sturges_edges
from upshot_monitoring.drift.exact.centroids import exact_means
from upshot_monitoring.drift.exact.sides import Sides
from upshot_monitoring.drift.methods.wasserstein import LEAST_STD
from upshot_monitoring.drift.registry import NUMERIC, Method
from upshot_monitoring.profiles.profile import Floats
from upshot_monitoring.profiles.scales import Key

MAX_ROWS = 20_000_000
"""Of both sides together: a sorted array of so many numbers takes a gigabyte."""

_MEASURES = f"""
SELECT side, count(), min(x), max(x), uniqUpTo({FEW_VALUES})(x) FROM %s GROUP BY side
"""
# One scan for one sorted array. Every step of the two cumulative distributions: a row of the baseline goes up by the other side's
# row count, a row of the window down by this side's, so that both end at 0 and every sum is a whole number. The deviation is taken
# from the smallest number on: of 1e9 +/- 1, the digits would be lost.
_ORDER = """
SELECT rows_reference, rows_current,
  arraySum((gap, step) -> abs(gap) * step, gaps, steps), arrayMax((gap, step) -> if(step > 0, abs(gap), 0), gaps, steps),
  arrayReduce('stddevPopStableIf', arrayMap(x -> x - xs[1], xs), arrayMap(side -> side = 0, sides))
FROM (
  SELECT xs, sides, toInt64(arraySum(sides)) AS rows_current, toInt64(length(sides)) - rows_current AS rows_reference,
    arrayPopBack(arrayCumSum(arrayMap(side -> if(side = 0, rows_current, -rows_reference), sides))) AS gaps,
    arrayPopFront(arrayDifference(xs)) AS steps
  FROM (SELECT groupArray(x) AS xs, groupArray(side) AS sides FROM (SELECT x, side FROM %s ORDER BY x))
)
"""
# Only how often each value occurs leaves the store, not the value.
_BY_VALUE = """
SELECT r, c, count() FROM (SELECT countIf(side = 0) AS r, countIf(side = 1) AS c FROM %s GROUP BY x) GROUP BY r, c ORDER BY r, c
"""
# As numpy.histogram: an estimate of the bin, put right by its edges.
_BY_BIN = """
SELECT side, count(), bin FROM (
  SELECT side,
    toInt32(greatest(0., least({bins:Float64} - 1, floor((x - {low:Float64}) * {per_unit:Float64})))) AS near,
    near + (x >= {edges:Array(Float64)}[near + 2] AND near < {bins:Float64} - 1) - (x < {edges:Array(Float64)}[near + 1]) AS bin
  FROM %s
) GROUP BY side, bin
"""
_DECILES = """
SELECT arrayMap(rank -> sorted[rank], {ranks:Array(UInt64)}) FROM (SELECT arraySort(groupArray(x)) AS sorted FROM %s WHERE side = 0)
"""
_BY_TENTH = """
SELECT side, count(),
  if({cut_below:Bool} AND x < {edges:Array(Float64)}[1], -1, toInt32(arrayCount(e -> e < x, {edges:Array(Float64)}))) AS tenth
FROM %s GROUP BY side, tenth
"""


@dataclass(frozen=True)
class Exact:
    """A number of all rows, and how many rows it rests on; None where a side has none."""

    statistic: float | None
    rows_reference: int
    rows_current: int


@dataclass(frozen=True)
class _Measures:
    rows: int = 0
    low: float = math.nan
    high: float = math.nan
    distinct: int = 0


def count_rows(store: Store, sides: Sides) -> int:
    """The rows of both sides together."""
    [(rows,)] = store.query(
        f"SELECT (SELECT count() FROM {sides.reference.source}) + (SELECT count() FROM {sides.current.source})",
        sides.params,
    )
    return int(rows)


def exact_statistic(store: Store, sides: Sides, key: Key, kind: str, method: Method) -> Exact:
    """The method's number for a column of this kind. Memory grows with the rows: see :data:`MAX_ROWS`."""
    if method.rests_on == "means":
        means, *of_length = exact_means(store, sides.vectors(key), sides.params)
        return Exact(None if means is None else float(method.formula(means)), *of_length)
    if kind not in NUMERIC:
        cells = _by_value(store, sides.classes(key), sides.params)
        rows = int(cells.reference.sum()), int(cells.current.sum())
        return Exact(float(method.formula(cells)) if all(rows) else None, *rows)
    source, params = sides.numbers(key), sides.params
    if method.rests_on == "order":
        return _ordered(store, source, params, method)
    measures = {row[0]: _Measures(*row[1:]) for row in store.query(_MEASURES % source, params)}
    reference, current = measures.get(0, _Measures()), measures.get(1, _Measures())
    if not reference.rows or not current.rows:
        return Exact(None, reference.rows, current.rows)
    if method.rests_on == "deciles":
        statistic = float(method.formula(_by_tenth(store, source, params, reference)))
    elif reference.distinct <= FEW_VALUES:
        statistic = float(method.formula(_by_value(store, source, params)))
    else:
        statistic = float(method.formula(_by_bin(store, source, params, reference, current)))
    return Exact(min(statistic, 1.7e308), reference.rows, current.rows)


def _ordered(store: Store, source: str, params: Mapping[str, object], method: Method) -> Exact:
    [(rows_r, rows_c, area, gap, std)] = store.query(_ORDER % source, params)
    if not rows_r or not rows_c:
        return Exact(None, rows_r, rows_c)
    distance = float(gap) if method.name == "ks" else float(area) / max(float(std), LEAST_STD)
    return Exact(min(distance / rows_r / rows_c, 1.7e308), rows_r, rows_c)


def _by_value(store: Store, source: str, params: Mapping[str, object]) -> Cells:
    pairs = np.array(store.query(_BY_VALUE % source, params), np.float64).reshape(-1, 3)
    times = pairs[:, 2].astype(np.int64)
    return Cells(np.repeat(pairs[:, 0], times), np.repeat(pairs[:, 1], times))


def _by_bin(store: Store, source: str, params: Mapping[str, object], reference: _Measures, current: _Measures) -> Cells:
    low, high = min(reference.low, current.low), max(reference.high, current.high)
    edges = sturges_edges(low, high, reference.rows + current.rows)
    bins = len(edges) - 1
    places = {"edges": edges.tolist(), "low": float(edges[0]), "bins": float(bins)}
    places["per_unit"] = bins / float(edges[-1] - edges[0])
    return _cells(store.query(_BY_BIN % source, {**params, **places}), 0, bins)


def _by_tenth(store: Store, source: str, params: Mapping[str, object], reference: _Measures) -> Cells:
    ranks = [max(1, math.ceil(reference.rows * share)) for share in np.arange(1, 10) / 10]
    [(deciles,)] = store.query(_DECILES % source, {**params, "ranks": ranks})
    edges = np.unique(deciles)
    places = {"edges": edges.tolist(), "cut_below": bool(edges[0] == reference.low)}
    cells = _cells(store.query(_BY_TENTH % source, {**params, **places}), -1, len(edges) + 1)
    used = (cells.reference > 0) | (cells.current > 0)
    return Cells(cells.reference[used], cells.current[used])


def _cells(rows: list[tuple[int, ...]], first: int, end: int) -> Cells:
    counts: Floats = np.zeros((2, end - first))
    for side, count, cell in rows:
        counts[side, cell - first] = count
    return Cells(counts[0], counts[1])
