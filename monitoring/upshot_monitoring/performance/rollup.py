"""The statements that make ``performance_sums``: rows with their outcomes in, one row of sums per hour and version out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from upshot_joiner.config import ModelConfig, Scalar
from upshot_joiner.join import activation
from upshot_joiner.store.keys import name_hash
from upshot_monitoring.performance import score_bins
from upshot_monitoring.performance.binary.losses import EPS
from upshot_monitoring.performance.ranking import slates
from upshot_monitoring.performance.regression import sums as regression
from upshot_monitoring.profiles.columns import CLASS_SQL

_KEY = ("model", "label", "hour", "model_version", "setup", "rows", "group_rows", "group_weights", "sums")
_BINARY_COLUMNS = ("bins", *(f"{sum_}_{group}" for sum_ in "wvx" for group in range(3)))
_REGRESSION_COLUMNS = ("centre", "bins", *(f"{sum_}_{group}" for sum_ in "wvx" for group in (0, 2)))
_MULTICLASS_COLUMNS = (
    *("actual", "predicted", "pair_states", "pair_w", "pair_v"),
    *("score_classes", "score_bins", "score_own", "score_states", "score_w", "score_v"),
)
MAKING = 2
"""Goes into ``setup``: sums that were made in another way are made again."""

# Groups: 0 negative (or labelled, where there is no positive class), 1 positive, 2 unlabelled, 3 retracted.
_JOINED = """
  SELECT toStartOfHour(p.predicted_at) AS hour, p.model_version AS model_version, p.segment AS segment, p.w AS w, {select},
    multiIf(o.state IS NULL, 2, o.state = 'retracted', 3, {positive}, 1, 0) AS g
  FROM (
    SELECT request_key, request_id, model_version, item_id, predicted_at, {segment}, {answer},
      if(keep_probability > 0 AND keep_probability < 1, 1 / keep_probability, 1.) AS w
    FROM {table} FINAL
    WHERE {hours} AND {was_shown} {of_segment}
  ) AS p
  LEFT JOIN (
    SELECT request_key, request_id, model_version, item_id, state, value_number, value_text
    FROM outcomes FINAL
    WHERE model = {{model:String}} AND name = {{label:String}} AND {hours} AND state != 'pending'
  ) AS o USING (request_key, request_id, model_version, item_id)
"""
_HEAD = """
SELECT {{model:String}} AS model, {{label:String}} AS label, hour, model_version, segment, {{setup:UInt64}} AS setup,
  sum(n0 + n1 + n2 + n3) AS rows, [sum(n0), sum(n1), sum(n2), sum(n3)] AS group_rows,
  [sum(w0), sum(w1), sum(w2), sum(w3)] AS group_weights, sumForEach(part) AS sums,
"""
_GROUPS = ", ".join(
    [f"countIf(g = {k}) AS n{k}, sumIf(w, g = {k}) AS w{k}" for k in range(4)]
    + [f"sumIf(w * w, g = {k}) AS v{k}" for k in range(3)]
)


def _sums(numbers: Iterable[str], groups: Iterable[str]) -> str:
    """An array with the sums of each number over the rows of each group."""
    several = list(numbers)
    return ", ".join(f"sumIf({number}, {group})" for group in groups for number in several)


_BINARY_PART = _sums(
    ("w * loss", "w * w * loss", "w * w * loss * loss", "w * error2", "w * w * error2", "w * w * error2 * error2"),
    ("g = 0", "g = 1", "g = 2"),
)
_BINARY = (
    _HEAD
    + """
  arraySort(cell -> cell.1, groupArrayIf((bin, w0, w1, w2, v0, v1, v2, x0, x1, x2), scored AND n0 + n1 + n2 > 0)) AS cells,
  cells.1 AS bins, cells.2 AS w_0, cells.3 AS w_1, cells.4 AS w_2, cells.5 AS v_0, cells.6 AS v_1, cells.7 AS v_2,
  cells.8 AS x_0, cells.9 AS x_1, cells.10 AS x_2
FROM (
  SELECT hour, model_version, segment, scored, bin, {groups},
    sumIf(w * score, g = 0) AS x0, sumIf(w * score, g = 1) AS x1, sumIf(w * score, g = 2) AS x2,
    [{part}, sumIf(w, scored AND NOT proper)] AS part
  FROM (
    SELECT hour, model_version, segment, g, w, ifNull(raw_score, nan) AS raw, isFinite(raw) AS scored,
      if(scored, raw, 0.5) AS score, toInt64(if(scored, {bin}, 0)) AS bin,
      scored AND score >= 0 AND score <= 1 AS proper,
      if(g = 2, {{default_positive:Bool}}, g = 1) AS y,
      if(proper, if(y, score, 1 - score), 1.) AS right,
      if(proper, -log(greatest({eps}, least(1 - {eps}, right))), 0.) AS loss,
      (1 - right) * (1 - right) AS error2
    FROM ({joined})
  )
  GROUP BY hour, model_version, segment, scored, bin
)
GROUP BY hour, model_version, segment
"""
)
_OF_ERROR = {
    "w": "w", "v": "w * w", "e": "w * e", "v_e": "w * w * e", "v_e2": "w * w * e * e", "a": "w * a", "v_a": "w * w * a",
    "e2": "w * e * e", "v_e4": "w * w * e * e * e * e", "rw": "w * (y != 0)", "rv": "w * w * (y != 0)",
    "r": "w * r", "v_r": "w * w * r", "v_r2": "w * w * r * r", "s": "w * s", "v_s": "w * w * s", "v_s2": "w * w * s * s",
    "d": "w * d", "d2": "w * d * d", "v_d": "w * w * d", "v_d2": "w * w * d * d", "v_d3": "w * w * d * d * d",
    "v_d4": "w * w * d * d * d * d", "v_e2_d": "w * w * e * e * d", "v_e2_d2": "w * w * e * e * d * d",
}  # fmt: skip
_REGRESSION_PART = _sums((_OF_ERROR[name] for name in regression.NAMES), ("ok AND g = 0", "ok AND g = 2"))
_ERROR_BIN = "toInt64(if(a = 0, -1099511627776, floor(log2(a) * 346)))"
"""0.2 % wide."""
_EXACT_ERROR = "reinterpretAsInt64(a)"
_REGRESSION = (
    _HEAD
    + """
  any(of_hour) AS centre,
  arraySort(cell -> cell.1, groupArrayIf((bin, w0, w2, v0, v2, x0, x2), ok AND n0 + n2 > 0)) AS cells,
  cells.1 AS bins, cells.2 AS w_0, cells.3 AS w_2, cells.4 AS v_0, cells.5 AS v_2, cells.6 AS x_0, cells.7 AS x_2
FROM (
  SELECT hour, model_version, segment, ok, bin, {groups}, sumIf(w * a, g = 0) AS x0, sumIf(w * a, g = 2) AS x2,
    any(of_the_hour) AS of_hour, [{part}] AS part
  FROM (
    SELECT *, y - of_the_hour AS d, abs(e) AS a, {bin} AS bin, if(ok AND y != 0, a / abs(y), 0.) AS r,
      if(ok AND (y != 0 OR predicted != 0), 2 * a / (abs(y) + abs(predicted)), 0.) AS s
    FROM (
      SELECT hour, model_version, segment, g, w,
        ifNull(if(g = 2, {{default_number:Nullable(Float64)}}, value_number), nan) AS y_raw,
        ifNull(raw_score, nan) AS p_raw, isFinite(y_raw) AND isFinite(p_raw) AS ok,
        if(ok, y_raw, 0.) AS y, if(ok, p_raw, 0.) AS predicted, predicted - y AS e,
        ifNotFinite(avgIf(y, ok) OVER (PARTITION BY hour, model_version, segment), 0.) AS of_the_hour
      FROM ({joined})
    )
  )
  GROUP BY hour, model_version, segment, ok, bin
)
GROUP BY hour, model_version, segment
"""
)
MOST_CLASSES = 50
"""Of rows with more classes there is no AUC."""
_MULTICLASS_PART = _sums(
    ("w", "w * w", "w * loss", "w * w * loss", "w * w * loss * loss", f"w * (classes <= {MOST_CLASSES})"),
    ("classes > 0 AND g = 0", "classes > 0 AND g = 2"),
)
_CLASS_BIN = "toInt64(multiIf(score <= 0, -5001, score >= 1, 5001, floor(log(score / (1 - score)) * 128)))"
_MULTICLASS = (
    "SELECT * FROM ("
    + _HEAD
    + """
  groupArrayIf((actual_class, predicted_class, toUInt8(pair_state), w0 + w2, v0 + v2), n0 + n2 > 0) AS cells,
  cells.1 AS actual, cells.2 AS predicted, cells.3 AS pair_states, cells.4 AS pair_w, cells.5 AS pair_v
FROM (
  SELECT hour, model_version, segment, actual_class, predicted_class, if(g = 2, 2, 0) AS pair_state, {groups}, [{part}] AS part
  FROM ({of_classes})
  GROUP BY hour, model_version, segment, actual_class, predicted_class, pair_state
)
GROUP BY hour, model_version, segment
) AS pairs_of_hour LEFT JOIN (
  SELECT hour, model_version, segment, groupArray(class) AS score_classes, groupArray(bin) AS score_bins,
    groupArray(own) AS score_own, groupArray(pair_state) AS score_states, groupArray(sum_w) AS score_w, groupArray(sum_v) AS score_v
  FROM (
    SELECT hour, model_version, segment, class, bin, own, pair_state, sum(w) AS sum_w, sum(w * w) AS sum_v
    FROM (
      SELECT hour, model_version, segment, w, toString(one.1) AS class, one.2 AS score, {bin} AS bin,
        toUInt8(class = actual_class) AS own, toUInt8(if(g = 2, 2, 0)) AS pair_state
      FROM (
        SELECT hour, model_version, segment, g, w, actual_class, arrayJoin(arrayZip(mapKeys(given), mapValues(given))) AS one
        FROM ({of_classes}) WHERE g IN (0, 2) AND classes <= {most_classes}
      )
    )
    GROUP BY hour, model_version, segment, class, bin, own, pair_state
  )
  GROUP BY hour, model_version, segment
) AS scores_of_hour USING (hour, model_version, segment)
"""
)
_OF_CLASSES = """
  SELECT hour, model_version, segment, g, w, ifNull(class, '') AS predicted_class, given, length(given) AS classes,
    if(g = 2, {{default_class:String}}, ifNull(ifNull(toString(value_number), value_text), '')) AS actual_class,
    -log(greatest({eps}, least(1 - {eps}, given[actual_class]))) AS loss
  FROM ({joined})
"""
# The items of a slate from the top down, first those that are labelled, then all that have a label or a default.
_SLATES = """
SELECT hour, model_version, segment, arrayConcat(sumForEachIf(part, NOT of_all), sumForEachIf(part, of_all)) AS slates
FROM (
  SELECT hour, model_version, segment, of_all,
    items.1 AS s, items.3 AS r, toInt64(length(s)) AS n, arrayMap(x -> toInt64(indexOf(s, x)), s) AS firsts,
    arrayMap(x -> toInt64(countEqual(s, x)), s) AS ties,
    arrayConcat([0.], arrayCumSum(arrayMap(i -> 1 / log2(i + 1), range(1, toUInt32(n + 1))))) AS discounts,
    arrayReverseSort(r) AS best, arrayMap(x -> toUInt8(x > 0), r) AS relevant, arrayCumSum(relevant) AS hits,
    toInt64(arraySum(relevant)) AS found, arrayMap(i -> toInt64(i), arrayEnumerate(r)) AS places, {depths} AS ks,
    arrayConcat(ks, [toInt64(4294967296)]) AS depths,
    arrayMap(k -> arraySum(arrayMap((x, a, t) ->
      x * (discounts[least(a + t - 1, k) + 1] - discounts[least(a - 1, k, n) + 1]) / t, r, firsts, ties)),
      arrayMap(k -> least(k, n), depths)) AS dcg,
    arrayMap(k -> arraySum(arrayMap((x, i) -> if(i <= k, x / log2(i + 1), 0.), best, places)), depths) AS ideal,
    arrayMap((a, b) -> if(b > 0, a / b, 0.), dcg, ideal) AS ndcg,
    arrayMap(k -> if(found > 0, arraySum(arrayMap((x, h, i) -> if(x AND i <= k, h / i, 0.), relevant, hits, places))
      / least(k, found), 0.), depths) AS mean_precision,
    arrayMap(k -> if(n > 0, toFloat64(hits[least(k, n)] > 0), 0.), ks) AS hit,
    arrayMap(k -> arraySum(arrayMap((x, a, t) -> x * (least(a + t - 1, k) - least(a - 1, k)) / t, relevant, firsts, ties)) / k, ks)
      AS precision,
    [if(found > 0, 1 / indexOf(relevant, 1), 0.)] AS reciprocal,
    arrayConcat(ndcg, mean_precision, hit, precision, reciprocal) AS m,
    arrayMap(i -> if(n > 0 AND (i > {with_relevant} OR found > 0), weight, 0.), arrayEnumerate(m)) AS mw,
    arrayConcat(mw, arrayMap(u -> u * u, mw), arrayMap((u, x) -> u * x, mw, m), arrayMap((u, x) -> u * u * x, mw, m),
      arrayMap((u, x) -> u * u * x * x, mw, m)) AS part
  FROM (
    SELECT hour, model_version, segment, max(w) AS weight,
      arraySort(item -> (-item.1, item.2), groupArrayIf((score, item_id, gain), g < 2)) AS labelled,
      arraySort(item -> (-item.1, item.2), groupArrayIf((score, item_id, gain), g < 3)) AS every
    FROM (
      SELECT hour, model_version, segment, request_key, request_id, item_id, w, g, assumeNotNull(raw_score) AS score,
        if(g = 2, {{default_gain:Float64}}, greatest(0., ifNull(value_number, toFloat64(g = 1)))) AS gain
      FROM ({joined}) WHERE isFinite(ifNull(raw_score, nan))
    )
    GROUP BY hour, model_version, segment, request_key, request_id
  )
  ARRAY JOIN [labelled, every] AS items, [false, true] AS of_all
)
GROUP BY hour, model_version, segment
"""
_RANKING = """
SELECT * FROM ({binary}) AS items_of_hour LEFT JOIN ({slates}) AS slates_of_hour USING (hour, model_version, segment)
"""


@dataclass(frozen=True)
class Statement:
    """A SELECT whose rows are those of ``performance_sums``, the columns it has, and what fills its places."""

    sql: str
    columns: tuple[str, ...]
    params: dict[str, object]


def setup(config: ModelConfig, label: str) -> int:
    """A hash of everything in the configuration that the sums of an hour depend on."""
    rules = config.label(label)
    return name_hash(
        json.dumps([MAKING, config.task, config.positive, config.performance.threshold, rules.default], sort_keys=True)
    )


def hours_statement(
    config: ModelConfig, label: str, table: str, hours: str, segment: str | None = None, *, exact: bool = False
) -> Statement:
    """The sums of the rows for which the SQL condition ``hours`` holds; with ``segment``, an SQL expression over served rows,
    apart for each of its values that is not null, which is then a column ``segment``. ``exact``: a bin for each score.

    Wants the parameters ``model``, ``label``, ``setup`` and those of ``hours`` and ``segment`` besides its own.
    """
    default = config.label(label).default
    names = {
        "table": table,
        "hours": hours,
        "was_shown": activation.counts(hours),
        "segment": f"{segment} AS segment" if segment else "'' AS segment",
        "of_segment": "AND isNotNull(segment)" if segment else "",
        "positive": "false",
    }
    if config.task == "regression":
        joined = _JOINED.format(
            **names, select="p.raw_score AS raw_score, o.value_number AS value_number", answer="score AS raw_score"
        )
        bin_ = _EXACT_ERROR if exact else _ERROR_BIN
        return Statement(
            _REGRESSION.format(joined=joined, groups=_GROUPS, part=_REGRESSION_PART, bin=bin_),
            (*_KEY, *_REGRESSION_COLUMNS),
            {"default_number": None if default is None or isinstance(default, str) else float(default)},
        )
    if config.task == "multiclass":
        joined = _JOINED.format(
            **names,
            select="p.class AS class, p.given AS given, o.value_number AS value_number, o.value_text AS value_text",
            # Of a multiclass model, a predicted number is a class, too.
            answer=f"ifNull({CLASS_SQL}, toString(prediction_number)) AS class, probabilities AS given",
        )
        return Statement(
            _MULTICLASS.format(
                of_classes=_OF_CLASSES.format(joined=joined, eps=EPS),
                groups=_GROUPS,
                part=_MULTICLASS_PART,
                bin=score_bins.EXACT_SQL if exact else _CLASS_BIN,
                most_classes=MOST_CLASSES,
            ),
            (*_KEY, *_MULTICLASS_COLUMNS),
            {"default_class": "" if default is None else class_text(default)},
        )
    positive = config.positive
    names["positive"] = (
        "o.value_text = {positive_text:String}"
        if isinstance(positive, str)
        else "ifNull(o.value_number = {positive_number:Float64}, o.value_text = {positive_text:String})"
    )
    joined = _JOINED.format(
        **names,
        select="p.raw_score AS raw_score, p.request_key AS request_key, p.request_id AS request_id, p.item_id AS item_id, "
        "o.value_number AS value_number",
        # A class without a probability is a score, too: the crudest one.
        answer="if(prediction_kind = 'str', ifNull(score, toFloat64(prediction_text = {positive_text:String})), score) "
        "AS raw_score",
    )
    params = {
        "threshold": config.performance.threshold,
        "positive_text": str(positive),
        "positive_number": 0.0 if isinstance(positive, str) else float(positive),
        "default_positive": default is not None and default == positive,
    }
    bin_ = score_bins.EXACT_SQL if exact else score_bins.SQL
    binary = _BINARY.format(joined=joined, groups=_GROUPS, part=_BINARY_PART, bin=bin_, eps=EPS)
    if config.task != "ranking":
        return Statement(binary, (*_KEY, *_BINARY_COLUMNS), params)
    depths = f"[{', '.join(f'toInt64({k})' for k in slates.KS)}]"
    of_slates = _SLATES.format(joined=joined, depths=depths, with_relevant=slates.WITH_RELEVANT)
    gain = float(default == positive) if default is None or isinstance(default, str) else max(0.0, float(default))
    return Statement(
        _RANKING.format(binary=binary, slates=of_slates),
        (*_KEY, *_BINARY_COLUMNS, "slates"),
        {**params, "default_gain": gain},
    )


def class_text(value: Scalar) -> str:
    """A class as the statements spell it: 1, 1.0 and true are one class."""
    if isinstance(value, str):
        return value
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
