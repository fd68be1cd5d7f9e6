"""How far the labels of a model have come: states, coverage, delay, orphans, and the funnel from logged to exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from upshot_joiner.activity import Activity
from upshot_joiner.clock import Clock, to_micros
from upshot_joiner.config import ConfigStore
from upshot_joiner.export.request import ExportRequest
from upshot_joiner.intake.check import EARLIEST_US, LATEST_US
from upshot_joiner.join import activation
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables

HOUR = timedelta(hours=1)
_CURVE = [i / 20 for i in range(21)]

_STATES = """
SELECT
  name,
  countIf(state = 'labelled') AS labelled,
  countIf(state = 'retracted') AS retracted,
  countIf(state = 'labelled' AND predicted_at <= closed) AS matured_labelled,
  countIf(state = 'retracted' AND predicted_at <= closed) AS matured_retracted,
  quantilesIf(0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5,
    0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1, 0.99)(
    greatest(0, dateDiff('microsecond', predicted_at, first_received_at)) / 1e6, state = 'labelled') AS delays
FROM (
  SELECT *,
    fromUnixTimestamp64Micro(transform(name, {names:Array(String)}, {closed:Array(Int64)}, {default_closed:Int64}), 'UTC') AS closed
  FROM outcomes FINAL
  WHERE model = {model:String} AND name != 'shown' %s
)
GROUP BY name
"""
_SHOWN_ONLY = f"AND {activation.IDENTITY} NOT IN (SELECT request_key, request_id, model_version, item_id FROM (%s))"
_ORPHANS = """
SELECT name, count(), min(received_at) FROM orphans FINAL
WHERE waiting AND (model = '' OR model = {model:String})
GROUP BY name
"""
_NOT_SHOWN = """
SELECT count(), sumForEach(arrayMap(moment -> predicted_at <= fromUnixTimestamp64Micro(moment, 'UTC'), {closed:Array(Int64)}))
FROM (%s)
"""
_DEFERRED = """
SELECT uniqExact(request_key, request_id, model_version, item_id) FROM %s WHERE shown = false
"""
_SERVED_UNTIL = """
SELECT count() FROM %s FINAL
WHERE predicted_at >= fromUnixTimestamp64Micro({hour:Int64}, 'UTC')
  AND predicted_at <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')
"""
_EXPORTS = """
SELECT id, request FROM exports FINAL
WHERE status = 'done' AND JSONExtractString(request, 'model') = {model:String}
ORDER BY id
"""
_IN_AN_EXPORT = """
SELECT count() FROM %s FINAL
WHERE ifNull(shown, true) AND arrayExists((start, end, as_of) ->
    predicted_at >= fromUnixTimestamp64Micro(start, 'UTC') AND predicted_at < fromUnixTimestamp64Micro(end, 'UTC')
    AND received_at <= fromUnixTimestamp64Micro(as_of, 'UTC'),
  {starts:Array(Int64)}, {ends:Array(Int64)}, {as_ofs:Array(Int64)})
"""
# A prediction logged with shown=False is in an export when the last of the statements known at its moment says that it was shown.
_ACTIVATED_IN_AN_EXPORT = """
SELECT count() FROM (SELECT * FROM %(table)s FINAL WHERE shown = false) AS p
INNER JOIN (
  SELECT request_key, request_id, item_id,
    arraySort(groupArray((observed_at, label_id, received_at, op = 'set' AND ifNull(value_number, 0) != 0))) AS said
  FROM label_events FINAL
  WHERE name = 'shown' AND (model = '' OR model = {model:String})
    AND request_key IN (SELECT request_key FROM %(table)s WHERE shown = false)
  GROUP BY request_key, request_id, item_id
) AS e USING (request_key, request_id, item_id)
WHERE arrayExists((start, end, as_of) ->
    p.predicted_at >= fromUnixTimestamp64Micro(start, 'UTC') AND p.predicted_at < fromUnixTimestamp64Micro(end, 'UTC')
    AND p.received_at <= fromUnixTimestamp64Micro(as_of, 'UTC')
    AND arrayFilter(one -> one.3 <= fromUnixTimestamp64Micro(as_of, 'UTC'), e.said)[-1].4,
  {starts:Array(Int64)}, {ends:Array(Int64)}, {as_ofs:Array(Int64)})
"""


@dataclass(frozen=True)
class _Deferred:
    """What a model logged with ``shown=False``."""

    logged: int
    not_shown: int
    not_shown_until: Sequence[int]
    """Of those not shown, how many were predicted at or before each of the moments asked about."""


class Coverage:
    """Answers ``GET /v1/models/{model}/labels``."""

    def __init__(
        self, store: Store, served: ServedTables, activity: Activity, configs: ConfigStore, clock: Clock
    ) -> None:
        self._store = store
        self._served = served
        self._activity = activity
        self._configs = configs
        self._clock = clock
        self._exported_of: dict[str, tuple[tuple[str, ...], int]] = {}

    def labels(self, model: str) -> dict[str, Any]:
        """Per label: predictions by state, coverage of the matured rows, delay in seconds; and the funnel.

        Only predictions that were shown count (see ``join/activation.py``); ``activation`` says how many were not.
        ``delay_curve`` is the share of the labelled rows whose label was known so many seconds after the prediction.
        """
        table = self._table_that_defers(model)
        now = self._clock.now()
        config = self._configs.get(model)
        names = list(config.labels)
        closed = [to_micros(now - config.label(name).window) for name in names]
        states = {
            row[0]: row[1:]
            for row in self._store.query(
                _STATES % (_SHOWN_ONLY % activation.not_shown(table) if table else ""),
                {
                    "model": model,
                    "names": names,
                    "closed": closed,
                    "default_closed": to_micros(now - config.label("").window),
                },
            )
        }
        orphans = {name: (count, oldest) for name, count, oldest in self._store.query(_ORPHANS, {"model": model})}
        shown_orphans, oldest_shown_orphan = orphans.pop(activation.SHOWN, (0, None))
        names = list(dict.fromkeys([*names, *sorted(states), *sorted(orphans)]))
        moments = [now - config.label(name).window for name in names]
        deferred = self._deferred(model, table, moments) if table else _Deferred(0, 0, [0] * len(names))
        logged = self._activity.predictions(model)
        predictions = logged - deferred.not_shown
        labels = []
        for name, moment, not_shown in zip(names, moments, deferred.not_shown_until, strict=True):
            rules = config.label(name)
            labelled, retracted, matured_labelled, matured_retracted, delays = states.get(name, (0, 0, 0, 0, []))
            matured = self.served_until(model, moment) - not_shown
            defaulted = 0 if rules.default is None else matured - matured_labelled - matured_retracted
            known = bool(labelled)
            waiting, oldest = orphans.get(name, (0, None))
            labels.append(
                {
                    "name": name,
                    "predictions": predictions,
                    "labelled": labelled,
                    "defaulted": defaulted,
                    "pending": predictions - labelled - retracted - defaulted,
                    "retracted": retracted,
                    "censored": 0,
                    "matured": matured,
                    "coverage": (matured_labelled + defaulted) / matured if matured else None,
                    "orphans": waiting,
                    "oldest_orphan": oldest,
                    "window_s": rules.window.total_seconds(),
                    "delay_s": {"p50": delays[10], "p90": delays[18], "p99": delays[21]}
                    if known
                    else {"p50": None, "p90": None, "p99": None},
                    "delay_curve": [[delay, share] for delay, share in zip(delays, _CURVE, strict=False)]
                    if known
                    else [],
                }
            )
        return {
            "labels": labels,
            "funnel": {"logged": logged, **self._funnel(model, predictions, labels)},
            "activation": {
                "deferred": deferred.logged,
                "activated": deferred.logged - deferred.not_shown,
                "not_shown": deferred.not_shown,
                "orphans": shown_orphans,
                "oldest_orphan": oldest_shown_orphan,
            },
        }

    def _table_that_defers(self, model: str) -> str | None:
        """The model's typed table, if any of its predictions was logged with ``shown=False``."""
        table = self._served.table(model)
        return table if table is not None and self._store.query(activation.deferred(table)) else None

    def _deferred(self, model: str, table: str, moments: Sequence[datetime]) -> _Deferred:
        params = {"model": model, "closed": [to_micros(moment) for moment in moments]}
        [(logged,)] = self._store.query(_DEFERRED % table)
        [(not_shown, until)] = self._store.query(_NOT_SHOWN % activation.not_shown(table), params)
        return _Deferred(logged, not_shown, list(until) or [0] * len(moments))

    def served_until(self, model: str, moment: datetime) -> int:
        """Predictions made at or before a moment: whole hours from the counts in memory, the last one from the store."""
        last_hour = moment - timedelta(minutes=moment.minute, seconds=moment.second, microseconds=moment.microsecond)
        by_hour = self._activity.by_hour(model)
        whole = sum(count for hour, count in by_hour.items() if hour < last_hour)
        table = self._served.table(model)
        if table is None or last_hour not in by_hour:
            return whole
        [(rest,)] = self._store.query(_SERVED_UNTIL % table, {"hour": to_micros(last_hour), "until": to_micros(moment)})
        return whole + int(rest)

    def _funnel(self, model: str, predictions: int, labels: list[dict[str, Any]]) -> dict[str, int]:
        primary = self._configs.get(model).primary([label["name"] for label in labels])
        one = next((label for label in labels if label["name"] == primary), None)
        return {
            "shown": predictions,
            "labelled": one["labelled"] if one else 0,
            "matured": one["matured"] if one else 0,
            "exported": self._exported(model),
        }

    def _exported(self, model: str) -> int:
        """Predictions that are in at least one finished export. An export never changes, so only new ones are counted anew."""
        found = self._store.query(_EXPORTS, {"model": model})
        table = self._served.table(model)
        if not found or table is None:
            return 0
        ids = tuple(id_ for id_, _ in found)
        known = self._exported_of.get(model)
        if known is not None and known[0] == ids:
            return known[1]
        requests = [ExportRequest.model_validate_json(request) for _, request in found]
        params = {
            "model": model,
            "starts": [EARLIEST_US if one.start is None else to_micros(one.start) for one in requests],
            "ends": [LATEST_US if one.end is None else to_micros(one.end) for one in requests],
            "as_ofs": [to_micros(one.as_of) for one in requests if one.as_of is not None],
        }
        [(exported,)] = self._store.query(_IN_AN_EXPORT % table, params)
        if self._table_that_defers(model):
            [(activated,)] = self._store.query(_ACTIVATED_IN_AN_EXPORT % {"table": table}, params)
            exported += activated
        self._exported_of[model] = (ids, int(exported))
        return int(exported)
