"""``GET /v1/models/{model}/compare``: two versions on the same requests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

from upshot_joiner.clock import Clock, to_micros
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import Problem
from upshot_joiner.feed.records import FeedRecords
from upshot_joiner.join import activation
from upshot_joiner.join import silence as silent
from upshot_joiner.join.silence import NEVER
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_monitoring.performance.delong import delong, difference_error
from upshot_monitoring.performance.intervals import Z, log_odds_interval
from upshot_monitoring.profiles import rolled

MAX_PAIRS = 2_000_000
"""Further pairs are left out, by the hash of the request; the answer says so."""

_PAIRS = """
SELECT anyIf(score, model_version = {{a:String}}) AS score_a, anyIf(score, model_version = {{b:String}}) AS score_b,
  maxIf(y, model_version = {{a:String}}) AS y_a, maxIf(y, model_version = {{b:String}}) AS y_b
FROM (
  SELECT p.request_key AS request_key, p.request_id AS request_id, p.item_id AS item_id, p.model_version AS model_version,
    p.score AS score, multiIf(o.state IS NULL, {{default:Nullable(UInt8)}}, o.state != 'labelled', NULL, {positive}) AS y
  FROM (
    SELECT request_key, request_id, item_id, model_version, assumeNotNull(score) AS score FROM {table} FINAL
    WHERE model_version IN ({{a:String}}, {{b:String}}) AND isFinite(ifNull(score, nan)) AND {range} AND {counts}
      AND NOT {silent}
  ) AS p
  LEFT JOIN (
    SELECT request_key, request_id, item_id, model_version, state, value_number, value_text FROM outcomes FINAL
    WHERE model = {{model:String}} AND name = {{label:String}} AND model_version IN ({{a:String}}, {{b:String}})
      AND state != 'pending' AND {range}
  ) AS o USING (request_key, request_id, item_id, model_version)
)
GROUP BY request_key, request_id, item_id
HAVING uniqExact(model_version) = 2 AND isNotNull(y_a) AND isNotNull(y_b)
ORDER BY cityHash64(request_key, request_id, item_id)
LIMIT {max_pairs}
"""
_RANGE = (
    "toStartOfHour(predicted_at) >= toStartOfHour(fromUnixTimestamp64Micro({start:Int64}, 'UTC')) "
    "AND toStartOfHour(predicted_at) <= toStartOfHour(fromUnixTimestamp64Micro({until:Int64}, 'UTC')) "
    "AND predicted_at >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') "
    "AND predicted_at <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')"
)


class Comparison:
    """Compares versions."""

    def __init__(self, store: Store, served: ServedTables, configs: ConfigStore, clock: Clock) -> None:
        self._store = store
        self._served = served
        self._configs = configs
        self._clock = clock
        self._feeds = FeedRecords(store)

    def answer(
        self,
        model: str,
        a: str,
        b: str,
        label: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> dict[str, Any]:
        """AUC of both with 95 % intervals, and the paired difference b - a; on matured, labelled rows that both scored, less
        those whose windows closed while the label's feed was silent.

        ``values`` and ``difference`` hold None where the pairs do not allow an AUC. Raises a 422 :class:`Problem` for a model
        that is not binary.
        """
        config = self._configs.get(model)
        if config.task not in ("binary", "ranking"):
            raise Problem(422, "not_binary", "Only versions of a binary model can be compared; the metric is its AUC.")
        label = label or config.primary(rolled.seen_labels(self._store, model))
        table = self._served.table(model)
        rules = config.label(label)
        matured = self._clock.now() - rules.window
        positive = config.positive
        sql = _PAIRS.format(
            table=table,
            range=_RANGE,
            counts=activation.counts(_RANGE),
            silent=silent.closes_in("toUnixTimestamp64Micro(predicted_at)"),
            max_pairs=MAX_PAIRS,
            positive="toUInt8(o.value_text = {positive_text:String})"
            if isinstance(positive, str)
            else "toUInt8(ifNull(o.value_number = {positive_number:Float64}, o.value_text = {positive_text:String}))",
        )
        until = matured if end is None else min(matured, end)
        silence = NEVER if rules.default is None else self._feeds.silences(model).get(label, NEVER)
        params = {
            **silent.parameters(silence, rules.window),
            "model": model,
            "label": label,
            "a": a,
            "b": b,
            "start": max(0, to_micros(start)) if start else 0,
            "until": max(0, to_micros(until) - 1),
            "default": None if rules.default is None else int(rules.default == positive),
            "positive_text": str(positive),
            "positive_number": 0.0 if isinstance(positive, str) else float(positive),
        }
        pairs = self._store.arrow(sql, params) if table is not None else None
        y = np.asarray(pairs["y_a"].to_numpy(), np.float64) if pairs is not None else np.empty(0)
        answer: dict[str, Any] = {
            "label": label,
            "a": a,
            "b": b,
            "rows": len(y),
            "metric": "roc_auc",
            "sampled": len(y) >= MAX_PAIRS,
            "values": {"a": {"value": None, "interval": None}, "b": {"value": None, "interval": None}},
            "difference": {"value": None, "interval": None},
        }
        if pairs is None or min(y.sum(), len(y) - y.sum()) < 2:
            return answer
        scores = [np.asarray(pairs[name].to_numpy(), np.float64) for name in ("score_a", "score_b")]
        aucs, covariance = delong(y > 0, scores)
        for k, name in enumerate(("a", "b")):
            value = float(aucs[k])
            interval = log_odds_interval(value, float(np.sqrt(covariance[k, k])))
            answer["values"][name] = {"value": value, "interval": list(interval) if interval else None}
        step, error = float(aucs[1] - aucs[0]), difference_error(covariance)
        answer["difference"] = {"value": step, "interval": [step - Z * error, step + Z * error]}
        return answer
