"""The statements that make ``performance_hours``: rows with their outcomes in, one row of sums per hour and version out."""

from __future__ import annotations

import json
from dataclasses import dataclass

from upshot_joiner.config import ModelConfig, Scalar
from upshot_joiner.join import activation
from upshot_joiner.store.keys import name_hash
from upshot_monitoring.performance import score_bins
from upshot_monitoring.profiles.columns import CLASS_SQL

_KEY = ("model", "label", "hour", "model_version", "setup", "rows", "group_rows")
_BINARY_COLUMNS = (
    *("bins", "negatives", "positives", "unlabelled", "negative_scores", "positive_scores", "unlabelled_scores"),
    *("outside", "losses", "losses2", "errors2", "errors4"),
)
_REGRESSION_COLUMNS = ("regression_n", "y_means", "y_m2s", "e_sums", "abs_sums", "e2_sums", "e4_sums")
_MULTICLASS_COLUMNS = ("actual", "predicted", "pair_states", "pairs")

# Groups: 0 negative (or labelled, where there is no positive class), 1 positive, 2 unlabelled, 3 retracted.
_JOINED = """
  SELECT toStartOfHour(p.predicted_at) AS hour, p.model_version AS model_version, p.segment AS segment, {select},
    multiIf(o.state IS NULL, 2, o.state = 'retracted', 3, {positive}, 1, 0) AS g
  FROM (
    SELECT request_key, request_id, model_version, item_id, predicted_at, {segment}, {answer}
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
"""
_GROUP_COUNTS = "countIf(g = 0) AS n0, countIf(g = 1) AS n1, countIf(g = 2) AS n2, countIf(g = 3) AS n3"

# What sklearn clips a float64 probability by before it takes the logarithm.
_EPS = 2.220446049250313e-16
_BINARY = (
    _HEAD
    + """
  arraySort(cell -> cell.1, groupArrayIf((bin, n0, n1, n2, s0, s1, s2), bin >= 0 AND n0 + n1 + n2 > 0)) AS cells,
  cells.1 AS bins, cells.2 AS negatives, cells.3 AS positives, cells.4 AS unlabelled,
  cells.5 AS negative_scores, cells.6 AS positive_scores, cells.7 AS unlabelled_scores,
  sum(beyond) AS outside,
  sumForEach(l) AS losses, sumForEach(l2) AS losses2, sumForEach(e2) AS errors2, sumForEach(e4) AS errors4
FROM (
  SELECT hour, model_version, segment, bin, {counts},
    sumIf(score, g = 0) AS s0, sumIf(score, g = 1) AS s1, sumIf(score, g = 2) AS s2,
    countIf(bin >= 0 AND NOT proper) AS beyond,
    [sumIf(loss, g = 0), sumIf(loss, g = 1), sumIf(loss, g = 2), 0.] AS l,
    [sumIf(loss * loss, g = 0), sumIf(loss * loss, g = 1), sumIf(loss * loss, g = 2), 0.] AS l2,
    [sumIf(error2, g = 0), sumIf(error2, g = 1), sumIf(error2, g = 2), 0.] AS e2,
    [sumIf(error2 * error2, g = 0), sumIf(error2 * error2, g = 1), sumIf(error2 * error2, g = 2), 0.] AS e4
  FROM (
    SELECT hour, model_version, segment, g, ifNull(raw_score, nan) AS raw, isFinite(raw) AS scored, if(scored, raw, 0.5) AS score,
      if(scored, {bin}, -1) AS bin,
      scored AND score >= 0 AND score <= 1 AS proper,
      if(g = 2, {{default_positive:Bool}}, g = 1) AS y,
      if(proper, if(y, score, 1 - score), 1.) AS right,
      -log(greatest({eps}, least(1 - {eps}, right))) AS loss,
      (1 - right) * (1 - right) AS error2
    FROM ({joined})
  )
  GROUP BY hour, model_version, segment, bin
)
GROUP BY hour, model_version, segment
"""
)
_REGRESSION = (
    _HEAD
    + """
  [sum(k0), sum(k2)] AS regression_n, [any(mean0), any(mean2)] AS y_means, [any(m0), any(m2)] AS y_m2s,
  [sum(e0), sum(e_2)] AS e_sums, [sum(a0), sum(a2)] AS abs_sums, [sum(q0), sum(q2)] AS e2_sums, [sum(f0), sum(f2)] AS e4_sums
FROM (
  SELECT hour, model_version, segment, {counts},
    countIf(g = 0 AND ok) AS k0, countIf(g = 2 AND ok) AS k2,
    if(k0 > 0, avgIf(y, g = 0 AND ok), 0.) AS mean0, if(k2 > 0, avgIf(y, g = 2 AND ok), 0.) AS mean2,
    if(k0 > 0, varPopStableIf(y, g = 0 AND ok) * k0, 0.) AS m0, if(k2 > 0, varPopStableIf(y, g = 2 AND ok) * k2, 0.) AS m2,
    sumIf(e, g = 0 AND ok) AS e0, sumIf(e, g = 2 AND ok) AS e_2,
    sumIf(abs(e), g = 0 AND ok) AS a0, sumIf(abs(e), g = 2 AND ok) AS a2,
    sumIf(e * e, g = 0 AND ok) AS q0, sumIf(e * e, g = 2 AND ok) AS q2,
    sumIf(e * e * e * e, g = 0 AND ok) AS f0, sumIf(e * e * e * e, g = 2 AND ok) AS f2
  FROM (
    SELECT hour, model_version, segment, g, ifNull(if(g = 2, {{default_number:Nullable(Float64)}}, value_number), nan) AS y_raw,
      ifNull(raw_score, nan) AS p_raw, isFinite(y_raw) AND isFinite(p_raw) AS ok,
      if(ok, y_raw, 0.) AS y, if(ok, p_raw - y_raw, 0.) AS e
    FROM ({joined})
  )
  GROUP BY hour, model_version, segment
)
GROUP BY hour, model_version, segment
"""
)
_MULTICLASS = (
    _HEAD
    + """
  groupArrayIf((actual_class, predicted_class, toUInt8(pair_state), n0 + n2), n0 + n2 > 0) AS cells,
  cells.1 AS actual, cells.2 AS predicted, cells.3 AS pair_states, cells.4 AS pairs
FROM (
  SELECT hour, model_version, segment, actual_class, predicted_class, if(g = 2, 2, 0) AS pair_state, {counts}
  FROM (
    SELECT hour, model_version, segment, g, ifNull(class, '') AS predicted_class,
      if(g = 2, {{default_class:String}}, ifNull(ifNull(toString(value_number), value_text), '')) AS actual_class
    FROM ({joined})
  )
  GROUP BY hour, model_version, segment, actual_class, predicted_class, pair_state
)
GROUP BY hour, model_version, segment
"""
)


@dataclass(frozen=True)
class Statement:
    """A SELECT whose rows are those of ``performance_hours``, the columns it has, and what fills its places."""

    sql: str
    columns: tuple[str, ...]
    params: dict[str, object]


def setup(config: ModelConfig, label: str) -> int:
    """A hash of everything in the configuration that the sums of an hour depend on."""
    rules = config.label(label)
    return name_hash(
        json.dumps([config.task, config.positive, config.performance.threshold, rules.default], sort_keys=True)
    )


def hours_statement(config: ModelConfig, label: str, table: str, hours: str, segment: str | None = None) -> Statement:
    """The sums of the rows for which the SQL condition ``hours`` holds; with ``segment``, an SQL expression over served rows,
    apart for each of its values that is not null, which is then a column ``segment``.

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
        return Statement(
            _REGRESSION.format(joined=joined, counts=_GROUP_COUNTS),
            (*_KEY, *_REGRESSION_COLUMNS),
            {"default_number": None if default is None or isinstance(default, str) else float(default)},
        )
    if config.task == "multiclass":
        joined = _JOINED.format(
            **names,
            select="p.class AS class, o.value_number AS value_number, o.value_text AS value_text",
            # Of a multiclass model, a predicted number is a class, too.
            answer=f"ifNull({CLASS_SQL}, toString(prediction_number)) AS class",
        )
        return Statement(
            _MULTICLASS.format(joined=joined, counts=_GROUP_COUNTS),
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
        select="p.raw_score AS raw_score",
        # A class without a probability is a score, too: the crudest one.
        answer="if(prediction_kind = 'str', ifNull(score, toFloat64(prediction_text = {positive_text:String})), score) "
        "AS raw_score",
    )
    return Statement(
        _BINARY.format(joined=joined, counts=_GROUP_COUNTS, bin=score_bins.SQL, eps=_EPS),
        (*_KEY, *_BINARY_COLUMNS),
        {
            "threshold": config.performance.threshold,
            "positive_text": str(positive),
            "positive_number": 0.0 if isinstance(positive, str) else float(positive),
            "default_positive": default is not None and default == positive,
        },
    )


def class_text(value: Scalar) -> str:
    """A class as the statements spell it: 1, 1.0 and true are one class."""
    if isinstance(value, str):
        return value
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
