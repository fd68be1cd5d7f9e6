"""``GET /v1/models/{model}/policy``: what other policies would have earned."""

from __future__ import annotations

from dataclasses import dataclass
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
from upshot_monitoring.policy.estimators import Evaluation, evaluate, logged_value
from upshot_monitoring.policy.reward_model import predictions, tenths
from upshot_monitoring.profiles import rolled

MAX_ROWS = 2_000_000
"""Further rows are left out, by the hash of the request; the answer says so."""
MAX_ACTIONS = 20
"""So many "always this" policies are evaluated, of the most frequent actions."""

_WHERE = """
predicted_at >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND predicted_at <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')
AND toStartOfHour(predicted_at) >= toStartOfHour(fromUnixTimestamp64Micro({start:Int64}, 'UTC'))
AND toStartOfHour(predicted_at) <= toStartOfHour(fromUnixTimestamp64Micro({until:Int64}, 'UTC'))
"""
_ROWS = """
SELECT p.action AS action, p.propensity AS propensity, p.weight AS weight, p.score AS score, p.half AS half,
  {target} AS target, multiIf(o.state IS NULL, {{default:Nullable(Float64)}}, o.state != 'labelled', NULL, {reward}) AS reward
FROM (
  SELECT request_key, request_id, model_version, item_id, action, assumeNotNull(propensity) AS propensity,
    ifNull(score, nan) AS score,
    if(keep_probability > 0 AND keep_probability < 1, 1 / keep_probability, 1.) AS weight,
    toUInt8(cityHash64(request_key, request_id, 'half') % 2) AS half
  FROM {table} FINAL
  WHERE action_kind != '' AND ifNull(propensity, 0) > 0 AND ifNull(propensity, 0) <= 1
    AND ({{any_version:Bool}} OR model_version = {{version:String}}) AND {where} AND {counts} AND NOT {silent}
) AS p
LEFT JOIN (
  SELECT request_key, request_id, model_version, item_id, state, value_number, value_text FROM outcomes FINAL
  WHERE model = {{model:String}} AND name = {{label:String}} AND state != 'pending' AND {where}
) AS o USING (request_key, request_id, model_version, item_id)
{other}
WHERE isNotNull(reward)
ORDER BY cityHash64(p.request_key, p.request_id, p.item_id)
LIMIT {max_rows}
"""
# What another version would have done: its action, or else its predicted class.
_OTHER = """
LEFT JOIN (
  SELECT request_key, request_id, item_id, if(action_kind != '', action, prediction_text) AS chosen FROM {table} FINAL
  WHERE model_version = {{target_version:String}} AND {where}
) AS other ON p.request_key = other.request_key AND p.request_id = other.request_id AND p.item_id = other.item_id
"""


@dataclass(frozen=True)
class Asked:
    """A question about policies, as it came."""

    label: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    version: str | None = None
    """Whose choices are the log."""
    target: str | None = None
    """A version whose choices are to be valued; none: always the same action, for each."""


class Policies:
    """Evaluates policies."""

    def __init__(self, store: Store, served: ServedTables, configs: ConfigStore, clock: Clock) -> None:
        self._store = store
        self._served = served
        self._configs = configs
        self._clock = clock
        self._feeds = FeedRecords(store)

    def answer(self, model: str, asked: Asked) -> dict[str, Any]:
        """The value of what was chosen, and of other policies, on matured rows with an action and a propensity."""
        config = self._configs.get(model)
        label = asked.label or config.primary(rolled.seen_labels(self._store, model))
        rules, table = config.label(label), self._served.table(model)
        matured = self._clock.now() - rules.window
        until = matured if asked.end is None else min(matured, asked.end)
        positive = config.positive
        answer: dict[str, Any] = {
            "label": label,
            "matured_until": matured,
            "rows": 0,
            "sampled": False,
            "logged": {"value": None, "interval": None},
            "policies": [],
        }
        if table is None:
            return answer
        if asked.target is not None and asked.target == asked.version:
            raise Problem(
                422, "invalid_target", "A version is not compared with itself.", [{"loc": "target", "code": "invalid"}]
            )
        silence = NEVER if rules.default is None else self._feeds.silences(model).get(label, NEVER)
        default = rules.default
        sql = _ROWS.format(
            table=table,
            where=_WHERE,
            counts=activation.counts(_WHERE),
            silent=silent.closes_in("toUnixTimestamp64Micro(predicted_at)"),
            reward="toFloat64(o.value_text = {positive_text:String})"
            if isinstance(positive, str)
            else "ifNull(o.value_number, toFloat64(o.value_text = {positive_text:String}))",
            target="''" if asked.target is None else "ifNull(other.chosen, '')",
            other="" if asked.target is None else _OTHER.format(table=table, where=_WHERE),
            max_rows=MAX_ROWS,
        )
        rows = self._store.arrow(
            sql,
            {
                **silent.parameters(silence, rules.window),
                "model": model,
                "label": label,
                "version": asked.version or "",
                "any_version": asked.version is None,
                "target_version": asked.target or "",
                "start": max(0, to_micros(asked.start)) if asked.start else 0,
                "until": max(0, to_micros(until) - 1),
                "default": None
                if default is None
                else float(default == positive)
                if isinstance(default, str) or isinstance(positive, str)
                else float(default),
                "positive_text": str(positive),
            },
        )
        if not rows.num_rows:
            return answer
        names, logged = np.unique(np.array(rows["action"].to_pylist(), object).astype(str), return_inverse=True)
        propensity, weight, score, reward = (
            np.asarray(rows[name].to_numpy(zero_copy_only=False), np.float64)
            for name in ("propensity", "weight", "score", "reward")
        )
        value = logged_value(reward, weight)
        answer |= {
            "rows": rows.num_rows,
            "sampled": rows.num_rows >= MAX_ROWS,
            "logged": {
                "value": value and value.value,
                "interval": list(value.interval) if value and value.interval else None,
            },
        }
        context, half = tenths(score), np.asarray(rows["half"].to_numpy()) > 0

        def policy(target: Any, rows_of: Any) -> Evaluation:
            """``target``: numbers of actions; one beyond the last was never logged."""
            some = np.flatnonzero(rows_of)
            of_target, of_logged = predictions(
                logged[some], target[some], context[some], reward[some], weight[some], half[some], len(names) + 1
            )
            matches = logged[some] == target[some]
            return evaluate(matches, propensity[some], reward[some], weight[some], of_target, of_logged)

        everywhere = np.ones(rows.num_rows, bool)
        if asked.target is not None:
            chosen = np.array(rows["target"].to_pylist(), object).astype(str)
            place = np.searchsorted(names, chosen).clip(0, len(names) - 1)
            target = np.where(names[place] == chosen, place, len(names))
            answer["policies"] = [_say({"version": asked.target}, policy(target, chosen != ""))]
        else:
            frequent = np.argsort(-np.bincount(logged), kind="stable")[:MAX_ACTIONS]
            answer["policies"] = [
                _say({"action": str(names[k])}, policy(np.full(rows.num_rows, k), everywhere)) for k in frequent
            ]
        return answer


def _say(what: dict[str, Any], found: Evaluation) -> dict[str, Any]:
    return {
        **what,
        "rows": found.rows,
        "matched": found.matched,
        "effective_rows": found.effective_rows,
        "mean_weight": found.mean_weight,
        "largest_weight": found.largest,
        "estimates": {name: one.value for name, one in found.estimates.items()},
        "intervals": {name: list(one.interval) for name, one in found.estimates.items() if one.interval is not None},
        "reason": found.reason or None,
    }
