"""The comparison in SQL: what was served (``s``) beside what was recomputed (``r``), for one range of request keys at a time.

Every value is one of the ten states of :mod:`rule`, every pair of values one of its six outcomes. One statement counts the pairs of
states, sums the differences, and keeps the first few rows of each outcome; nothing else of a row leaves the store. Counts and
histograms of differences are whole numbers, so that ranges, shards and repetitions add up to the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upshot_joiner.store.client import Store
from upshot_joiner.store.served import Feature
from upshot_monitoring.row_skew import rule
from upshot_monitoring.row_skew.rule import Rule
from upshot_monitoring.row_skew.staged import Staged, StagedFeature

ROWS_PER_RANGE = 100_000
FEATURES_PER_STATEMENT = 16
GAMMA = 1.02
"""Ratio of two borders of the histogram of differences: its quantiles are within 1 %."""

_NEXT = """
SELECT max(request_key), count() FROM (
  SELECT request_key FROM {staged} WHERE request_key >= {{first:UInt128}} ORDER BY request_key LIMIT {{rows:UInt64}}
)
"""
_STAGED = "SELECT * FROM {staged} WHERE request_key >= {{first:UInt128}} AND request_key <= {{last:UInt128}}"
_ONCE = f"SELECT * FROM ({_STAGED}) ORDER BY n LIMIT 1 BY request_id, item_id, model_version"
_HOURS = f"""
SELECT DISTINCT toStartOfHour(predicted_at) FROM predictions
WHERE model = {{{{model:String}}}} AND request_key >= {{{{first:UInt128}}}} AND request_key <= {{{{last:UInt128}}}}
  AND request_key IN (SELECT request_key FROM ({_STAGED}))
"""
_SERVED = f"""
SELECT {{columns}} FROM {{served}} FINAL
WHERE toStartOfHour(predicted_at) IN {{{{hours:Array(DateTime('UTC'))}}}}
  AND request_key >= {{{{first:UInt128}}}} AND request_key <= {{{{last:UInt128}}}}
  AND request_key IN (SELECT request_key FROM ({_STAGED}))
  AND received_at <= fromUnixTimestamp64Micro({{{{as_of:Int64}}}}, 'UTC') {{version}}
"""
_PAIRS = f"""
({_SERVED}) AS s INNER JOIN ({_ONCE}) AS r
ON s.request_key = r.request_key AND s.request_id = r.request_id AND s.item_id = r.item_id
WHERE (isNull(r.model_version) OR r.model_version = s.model_version)
"""
_COUNT = (
    f"SELECT count(), uniqExact(request_id, item_id, isNull(model_version), ifNull(model_version, '')) FROM ({_STAGED})"
)
_ROWS = f"SELECT count(), uniqExact(r.n) FROM {_PAIRS}"
_NOT_SERVED = f"""
SELECT request_id, item_id, ifNull(model_version, '') AS version FROM ({_ONCE})
WHERE n NOT IN (SELECT r.n FROM {_PAIRS}) ORDER BY request_id, item_id, version LIMIT {{{{examples:UInt64}}}}
"""
_COMPARE = """
SELECT {aggregates} FROM (
  SELECT {measures}, id, item, version FROM (
    SELECT {states}, s.request_id AS id, s.item_id AS item, toString(s.model_version) AS version FROM {pairs}
  )
)
"""
_IDENTITY = "request_key, request_id, model_version, item_id"


@dataclass(frozen=True)
class Side:
    """The expressions of one feature on one side, by slot; and what says that it is absent, or other."""

    columns: Mapping[str, str]
    absent: str
    other: str | None

    @property
    def state(self) -> str:
        """Its state as a number, in the order in which served rows are read."""
        tests = [(self.absent, rule.ABSENT)]
        if self.other:
            tests.append((f"isNotNull({self.other})", rule.OTHER))
        for slot, number in (("int", rule.INT), ("float", rule.FLOAT), ("bool", rule.BOOL), ("str", rule.STR)):
            if column := self.columns.get(slot):
                shown = f"if(isNaN({column}), {rule.NAN}, {number})" if slot == "float" else str(number)
                tests.append((f"isNotNull({column})", shown))  # type: ignore[arg-type]
        for slot, number in (("ints", rule.INTS), ("floats", rule.FLOATS)):
            if column := self.columns.get(slot):
                tests.append((f"notEmpty({column})", number))
        branches = ", ".join(f"{test}, {shown}" for test, shown in tests)
        return f"toUInt16(ifNull(multiIf({branches}, {rule.NULL}), {rule.NULL}))"

    def number(self) -> str:
        """Its number, whichever kind it has."""
        parts = [f"toFloat64({self.columns['int']})"] if "int" in self.columns else []
        parts += [self.columns["float"]] if "float" in self.columns else []
        return f"ifNull(coalesce({', '.join(parts) or 'NULL'}), 0.)"

    def vector(self) -> str:
        """Its vector, whichever kind it has."""
        parts = [f"arrayMap(v -> toFloat64(v), {self.columns['ints']})"] if "ints" in self.columns else []
        parts += [self.columns["floats"]] if "floats" in self.columns else []
        return f"arrayConcat({', '.join(parts)})"

    def has(self, *slots: str) -> bool:
        """Whether it may have values in one of the slots."""
        return any(slot in self.columns for slot in slots)


@dataclass(frozen=True)
class Pair:
    """One feature on both sides."""

    name: str
    served: Feature | None
    recomputed: StagedFeature


@dataclass(frozen=True)
class Range:
    """What one statement found of some features in one range of keys of one shard."""

    rows: int
    distinct: int
    pairs: int
    matched: int
    not_served: list[tuple[str, str, str]]
    features: dict[str, dict[str, Any]]


class Comparison:
    """Compares a staged table with what a model served."""

    def __init__(
        self,
        staged: Staged,
        served: str,
        features: Mapping[str, Feature],
        shapes: Mapping[int, frozenset[str]],
        asked: Rule,
        *,
        model: str,
        as_of_us: int,
        version: str | None,
    ) -> None:
        self._rule = asked
        self._pairs = [Pair(one.name, features.get(one.name), one) for one in staged.features]
        self._shapes = shapes
        self._names = {
            "staged": staged.table,
            "served": served,
            "version": "" if version is None else "AND model_version = {version:String}",
        }
        self._params: dict[str, object] = {
            "model": model,
            "as_of": as_of_us,
            "version": version or "",
            "examples": asked.examples,
            "rows": ROWS_PER_RANGE,
        }

    def ranges(self, shard: Store) -> Iterator[Range]:
        """One range of keys after the other, of one shard."""
        first = 0
        while True:
            [(last, rows)] = shard.query(_NEXT.format(**self._names), {**self._params, "first": first})
            if not rows:
                return
            yield self._range(shard, {**self._params, "first": first, "last": last})
            first = last + 1
            if first >= 2**128:
                return

    def _range(self, shard: Store, params: dict[str, object]) -> Range:
        rows, distinct = self._one(shard, _COUNT, params)
        hours = [hour for (hour,) in shard.query(_HOURS.format(**self._names), params)]
        params = {**params, "hours": hours}
        pairs, matched = self._one(shard, _ROWS, params, columns=f"{_IDENTITY}, received_at, predicted_at")
        not_served: list[Any] = []
        if matched < distinct:
            statement = _NOT_SERVED.format(**self._names, columns=f"{_IDENTITY}, received_at, predicted_at")
            not_served = [tuple(row) for row in shard.query(statement, params)]
        features: dict[str, dict[str, Any]] = {}
        if pairs:
            for start in range(0, len(self._pairs), FEATURES_PER_STATEMENT):
                features |= self._compare(shard, params, self._pairs[start : start + FEATURES_PER_STATEMENT])
        return Range(rows, distinct, pairs, matched, not_served, features)

    def _one(self, shard: Store, statement: str, params: Mapping[str, object], columns: str = "") -> tuple[int, int]:
        [(first, second)] = shard.query(statement.format(**self._names, columns=columns), params)
        return int(first), int(second)

    def _compare(self, shard: Store, params: Mapping[str, object], pairs: Sequence[Pair]) -> dict[str, dict[str, Any]]:
        places = {
            "features": [pair.name for pair in pairs],
            "absolute": [self._rule.of(pair.name).absolute for pair in pairs],
            "relative": [self._rule.of(pair.name).relative for pair in pairs],
        }
        used = [column for pair in pairs if pair.served for column in pair.served.columns.values()]
        columns = ", ".join([_IDENTITY, "received_at", "predicted_at", "shape", "extra", *used])
        states, measures, aggregates = [], [], []
        for i, pair in enumerate(pairs):
            found = _expressions(i, pair, self._shapes, self._rule)
            states += found.states
            measures += found.measures
            aggregates += _aggregates(i, self._rule.examples)
        statement = _COMPARE.format(
            aggregates=", ".join(aggregates),
            measures=", ".join(measures),
            states=", ".join(states),
            pairs=_PAIRS.format(**self._names, columns=columns),
        )
        [row] = shard.arrow(statement, {**params, **places}).to_pylist()
        return {pair.name: {name: row[f"{name}_{i}"] for name in _FOUND} for i, pair in enumerate(pairs)}


@dataclass(frozen=True)
class _Expressions:
    states: list[str]
    measures: list[str]


def _expressions(i: int, pair: Pair, shapes: Mapping[int, frozenset[str]], asked: Rule) -> _Expressions:
    """Both states (``s_i``, ``r_i``) and the outcome (``o_i``); the difference (``d_i``), whether there is one (``y_i``), and its
    share of the larger value (``f_i``)."""
    s, r = _served_side(i, pair.served, shapes), _recomputed_side(pair.recomputed)
    absolute, relative = f"{{absolute:Array(Float64)}}[{i + 1}]", f"{{relative:Array(Float64)}}[{i + 1}]"
    blank = f"s_{i} <= {rule.NAN} AND n_{i} = {rule.NULL} AND {'true' if asked.same_blanks else 'false'}"
    states = [f"{s.state} AS s_{i}", f"{r.state} AS n_{i}", f"if({blank}, s_{i}, n_{i}) AS r_{i}"]
    numbers = s.has("int", "float") and r.has("int", "float")
    vectors = s.has("ints", "floats") and r.has("ints", "floats")
    tests: list[tuple[str, str]] = []
    size, ratio = "nan", "0."
    if numbers:
        states += [f"{s.number()} AS a_{i}", f"{r.number()} AS b_{i}", f"{_gap(i, s, r)} AS g_{i}"]
        both = f"s_{i} IN ({rule.INT}, {rule.FLOAT}) AND r_{i} IN ({rule.INT}, {rule.FLOAT})"
        far = f"greatest(abs(a_{i}), abs(b_{i}))"
        close = f"isFinite(a_{i}) AND isFinite(b_{i}) AND g_{i} <= greatest({absolute}, {relative} * {far})"
        tests.append((both, _equal_or_not(i, f"g_{i} = 0 OR ({close})", asked.same_numbers)))
        size, ratio = f"if({both}, g_{i}, {size})", f"if({both}, g_{i} / {far}, {ratio})"
    if vectors:
        states += [f"{s.vector()} AS v_{i}", f"{r.vector()} AS w_{i}", f"{_gaps(i, s, r)} AS e_{i}"]
        both = f"s_{i} IN ({rule.INTS}, {rule.FLOATS}) AND r_{i} IN ({rule.INTS}, {rule.FLOATS})"
        elements = f"e_{i}, arrayResize(v_{i}, length(e_{i})), arrayResize(w_{i}, length(e_{i}))"
        far = "greatest(abs(a), abs(b))"
        close = f"isFinite(a) AND isFinite(b) AND e <= greatest({absolute}, {relative} * {far})"
        same = f"notEmpty(e_{i}) AND arrayAll((e, a, b) -> e = 0 OR ({close}), {elements})"
        tests.append((both, _equal_or_not(i, same, asked.same_numbers)))
        measured = f"{both} AND notEmpty(e_{i}) AND arrayAll(e -> isFinite(e), e_{i})"
        size = f"if({measured}, arrayMax(e_{i}), {size})"
        ratio = f"if({measured}, arrayMax(arrayMap((e, a, b) -> if(e = 0, 0., e / {far}), {elements})), {ratio})"
    for slot, number in (("bool", rule.BOOL), ("str", rule.STR)):
        if s.has(slot) and r.has(slot):
            states.append(f"ifNull({s.columns[slot]} = {r.columns[slot]}, false) AS q_{slot}_{i}")
            tests.append((f"s_{i} = {number} AND r_{i} = {number}", f"if(q_{slot}_{i}, {rule.EQUAL}, {rule.MISMATCH})"))
    if s.other and r.other:
        states.append(f"ifNull({s.other} = {r.other}, false) AS q_other_{i}")
        both = f"s_{i} = {rule.OTHER} AND r_{i} = {rule.OTHER}"
        tests.append((both, f"if(q_other_{i}, {rule.EQUAL}, {rule.MISMATCH})"))
    outcome = ", ".join(
        [
            f"s_{i} = {rule.ABSENT} AND r_{i} = {rule.ABSENT}, {rule.NONE}",
            f"s_{i} = {rule.ABSENT}, {rule.EXTRA}",
            f"r_{i} = {rule.ABSENT}, {rule.MISSING}",
            f"s_{i} <= {rule.NAN} AND s_{i} = r_{i}, {rule.EQUAL}",
            f"s_{i} <= {rule.NAN} OR r_{i} <= {rule.NAN}, {rule.MISMATCH}",
            *[f"{test}, {shown}" for test, shown in tests],
            str(rule.KIND_MISMATCH),
        ]
    )
    measures = [
        f"toUInt16(multiIf({outcome})) AS o_{i}",
        f"s_{i}",
        f"r_{i}",
        f"toFloat64({size}) AS d_{i}",
        f"d_{i} > 0 AND isFinite(d_{i}) AS y_{i}",
        f"if(y_{i}, {ratio}, 0.) AS f_{i}",
    ]
    return _Expressions(states, measures)


def _equal_or_not(i: int, same: str, same_numbers: bool) -> str:
    kinds = f"s_{i} = r_{i} OR {'true' if same_numbers else 'false'}"
    return f"if({same}, if({kinds}, {rule.EQUAL}, {rule.KIND_MISMATCH}), {rule.MISMATCH})"


def _gap(i: int, s: Side, r: Side) -> str:
    """The difference of two numbers; of two integers exactly, however large."""
    between = f"if(a_{i} = b_{i}, 0., abs(a_{i} - b_{i}))"
    whole = {}
    for name, side in (("s", s), ("r", r)):
        exact = [f"toInt128({side.columns['int']})"] if side.has("int") else []
        if side.has("float"):
            value = f"ifNull({side.columns['float']}, 0.5)"
            is_whole = f"isFinite({value}) AND abs({value}) < 1e19 AND {value} = trunc({value})"
            exact.append(f"if({is_whole}, toInt128(if({is_whole}, {value}, 0.)), NULL)")
        whole[name] = f"coalesce({', '.join(exact)})"
    return f"ifNull(toFloat64(abs({whole['s']} - {whole['r']})), {between})"


def _gaps(i: int, s: Side, r: Side) -> str:
    """The differences of two vectors of one length, element by element; else none."""
    plain = f"arrayMap((a, b) -> if(a = b OR (isNaN(a) AND isNaN(b)), 0., abs(a - b)), v_{i}, arrayResize(w_{i}, length(v_{i})))"
    if s.has("ints") and r.has("ints"):
        ints = f"{s.columns['ints']}, arrayResize({r.columns['ints']}, length({s.columns['ints']}))"
        exact = f"arrayMap((a, b) -> toFloat64(abs(toInt128(a) - toInt128(b))), {ints})"
        plain = f"if(s_{i} = {rule.INTS} AND r_{i} = {rule.INTS}, {exact}, {plain})"
    return f"if(length(v_{i}) = length(w_{i}), {plain}, emptyArrayFloat64())"


def _served_side(i: int, feature: Feature | None, shapes: Mapping[int, frozenset[str]]) -> Side:
    name = f"{{features:Array(String)}}[{i + 1}]"
    without = [str(shape) for shape, names in shapes.items() if feature is None or feature.name not in names]
    absent = f"s.shape IN ({', '.join(without)})" if without else "false"
    columns: dict[str, str] = {kind: f"s.{column}" for kind, column in feature.columns.items()} if feature else {}
    return Side(columns, absent, f"if(mapContains(s.extra, {name}), s.extra[{name}], NULL)")


def _recomputed_side(feature: StagedFeature) -> Side:
    columns: dict[str, str] = {slot: f"r.{column}" for slot, column in feature.columns.items()}
    return Side(columns, columns.get("absent", "false"), columns.get("json"))


_FOUND = ("states", "sized", "sum", "sum_relative", "max", "max_relative", "sizes", "sizes_relative", "first")


def _aggregates(i: int, examples: int) -> list[str]:
    def bin_of(value: str) -> str:
        # What is no difference is not counted, and yet must have a bin.
        return f"[toInt32(ceil(log(greatest(if(y_{i}, {value}, 1.), 5e-324)) / log({GAMMA})))], [toUInt64(1)]"

    kept = ", ".join(
        f"groupArraySortedIf({max(1, examples)})((if(y_{i}, -f_{i}, -2.), id, item, version), o_{i} = {outcome})"
        for outcome in rule.DIFFERENT
    )
    return [
        f"sumMap([o_{i} * 100 + s_{i} * 10 + r_{i}], [toUInt64(1)]) AS states_{i}",
        f"countIf(y_{i}) AS sized_{i}",
        f"sumIf(d_{i}, y_{i}) AS sum_{i}",
        f"sumIf(f_{i}, y_{i}) AS sum_relative_{i}",
        f"maxIf(d_{i}, y_{i}) AS max_{i}",
        f"maxIf(f_{i}, y_{i}) AS max_relative_{i}",
        f"sumMapIf({bin_of(f'd_{i}')}, y_{i}) AS sizes_{i}",
        f"sumMapIf({bin_of(f'f_{i}')}, y_{i}) AS sizes_relative_{i}",
        f"[{kept}] AS first_{i}",
    ]
