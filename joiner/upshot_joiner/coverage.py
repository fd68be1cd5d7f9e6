"""How far the labels of a model have come: states, coverage, delay, window advice, orphans, and the funnel from logged to exported.

Nothing here reads all outcomes: what is counted comes from hourly roll-ups (``delays/label_hours.py``, ``activity.py``), and row by
row only where a window closes inside an hour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from upshot_joiner.activity import Activity
from upshot_joiner.clock import Clock, to_micros
from upshot_joiner.config import ConfigStore
from upshot_joiner.delays import answers, watched
from upshot_joiner.delays.label_hours import LabelHours
from upshot_joiner.delays.watched import Asked, OfLabel, hour_of
from upshot_joiner.feed.censored import censored
from upshot_joiner.feed.records import FeedRecords
from upshot_joiner.funnel import Exported
from upshot_joiner.join import activation, orphans
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables

_ORPHANS = f"""
SELECT name, count(), min(received_at) FROM ({orphans.WAITING})
WHERE model = '' OR model = {{model:String}}
GROUP BY name
"""
_OF_VERSION = "({any_version:Bool} OR model_version = {version:String})"
_NOT_SHOWN = f"""
SELECT toStartOfHour(predicted_at) AS hour, count(),
  sumForEach(arrayMap(moment -> predicted_at <= fromUnixTimestamp64Micro(moment, 'UTC'), {{closed:Array(Int64)}}))
FROM (%s)
WHERE {_OF_VERSION} AND hour >= {{start:DateTime('UTC')}} AND hour < {{end:DateTime('UTC')}}
GROUP BY hour
"""
_DEFERRED = f"""
SELECT uniqExact(request_key, request_id, model_version, item_id) FROM %s
WHERE shown = false AND {_OF_VERSION}
  AND toStartOfHour(predicted_at) >= {{start:DateTime('UTC')}} AND toStartOfHour(predicted_at) < {{end:DateTime('UTC')}}
"""
_SERVED_UNTIL = f"""
SELECT count() FROM %s FINAL
WHERE predicted_at >= fromUnixTimestamp64Micro({{hour:Int64}}, 'UTC')
  AND predicted_at <= fromUnixTimestamp64Micro({{until:Int64}}, 'UTC') AND {_OF_VERSION}
"""


@dataclass(frozen=True)
class _Deferred:
    """What a model logged with ``shown=False``."""

    logged: int = 0
    not_shown: Counter[datetime] = field(default_factory=Counter)
    """Of these, those not shown, by hour of prediction."""
    not_shown_until: Sequence[int] = ()
    """How many of them were predicted at or before each of the moments asked about."""


class Coverage:
    """Answers ``GET /v1/models/{model}/labels``."""

    def __init__(
        self,
        store: Store,
        served: ServedTables,
        activity: Activity,
        configs: ConfigStore,
        clock: Clock,
        label_hours: LabelHours,
    ) -> None:
        self._store = store
        self._served = served
        self._activity = activity
        self._configs = configs
        self._clock = clock
        self._feeds = FeedRecords(store)
        self._label_hours = label_hours
        self._exported = Exported(store, served)

    def labels(self, model: str, asked: Asked | None = None) -> dict[str, Any]:
        """Per label: predictions by state, coverage of the matured rows, delays, window advice; and the funnel.

        Only predictions that were shown count (see ``join/activation.py``); ``activation`` says how many were not. Delays and
        advice: see ``delays/delay_curve.py`` and ``delays/window_advice.py``. ``asked`` narrows all of it but the orphans, which
        nobody knows the version of, to a version and a range of hours of prediction.
        """
        asked = asked or Asked()
        up_to_date = self._label_hours.bring_up_to_date(model)
        table = self._table_that_defers(model)
        now = self._clock.now()
        config = self._configs.get(model)
        waiting_labels = {
            name: (count, oldest) for name, count, oldest in self._store.query(_ORPHANS, {"model": model})
        }
        shown_orphans, oldest_shown_orphan = waiting_labels.pop(activation.SHOWN, (0, None))
        served = self._served_by_hour(model, asked)
        # Labels that are not configured have the default window: one more moment than there are configured labels.
        moments = {name: now - config.label(name).window for name in (*config.labels, "")}
        deferred = self._deferred(model, table, list(moments.values()), asked) if table else _Deferred()
        until = dict(zip(moments, deferred.not_shown_until, strict=False))
        shown = served - deferred.not_shown
        counts = watched.count(
            self._store, model, config, asked, now, shown, self._served.table(model), defers=table is not None
        )
        names = list(dict.fromkeys([*config.labels, *sorted(counts.labels), *sorted(waiting_labels)]))
        predictions = shown.total()
        matured = {
            name: self._served_until(model, moment, asked, served) - until.get(name, 0)
            for name, moment in moments.items()
        }
        silences = self._feeds.silences(model)
        labels = []
        for name in names:
            rules = config.label(name)
            one = counts.labels.get(name) or OfLabel()
            closed = matured.get(name, matured[""])
            silenced = 0
            if name in silences and rules.default is not None:
                silenced = censored(
                    self._store, model, name, rules, silences[name], now, asked,
                    table=self._served.table(model) or "", defers=table is not None, served_by_hour=served,
                )  # fmt: skip
            known = one.matured_labelled + one.matured_retracted
            defaulted = 0 if rules.default is None else max(0, closed - known - silenced)
            waiting, oldest = waiting_labels.get(name, (0, None))
            labels.append(
                {
                    "name": name,
                    "predictions": predictions,
                    "labelled": one.labelled,
                    "defaulted": defaulted,
                    "pending": max(0, predictions - one.labelled - one.retracted - defaulted - silenced),
                    "retracted": one.retracted,
                    "censored": silenced,
                    "matured": closed,
                    "coverage": (one.matured_labelled + defaulted) / closed if closed else None,
                    "orphans": waiting,
                    "oldest_orphan": oldest,
                    "window_s": rules.window.total_seconds(),
                    **answers.delays(one, one.curve(counts.predictions)),
                    "window_advice": answers.advice(one, counts.predictions, name, config),
                }
            )
        return {
            "labels": labels,
            "funnel": {
                "logged": served.total(),
                **self._funnel(model, predictions, labels),
                "exported": self._exported.predictions(model, asked, defers=table is not None),
            },
            "activation": {
                "deferred": deferred.logged,
                "activated": deferred.logged - deferred.not_shown.total(),
                "not_shown": deferred.not_shown.total(),
                "orphans": shown_orphans,
                "oldest_orphan": oldest_shown_orphan,
            },
            "up_to_date": up_to_date,
        }

    def _table_that_defers(self, model: str) -> str | None:
        """The model's typed table, if any of its predictions was logged with ``shown=False``."""
        table = self._served.table(model)
        return table if table is not None and self._store.query(activation.deferred(table)) else None

    def _served_by_hour(self, model: str, asked: Asked) -> Counter[datetime]:
        start, end = asked.hours
        counts: Counter[datetime] = Counter()
        for version, served in self._activity.versions(model).items():
            if asked.version in (None, version):
                counts.update({hour: n for hour, n in served.by_hour.items() if start <= hour < end})
        return counts

    def _deferred(self, model: str, table: str, moments: Sequence[datetime], asked: Asked) -> _Deferred:
        start, end = asked.hours
        params = {
            "model": model,
            "closed": [to_micros(moment) for moment in moments],
            "any_version": asked.version is None,
            "version": asked.version or "",
            "start": start,
            "end": end,
        }
        [(logged,)] = self._store.query(_DEFERRED % table, params)
        rows = self._store.query(_NOT_SHOWN % activation.not_shown(table), params)
        return _Deferred(
            logged,
            Counter({hour: count for hour, count, _ in rows}),
            [sum(until[i] for _, _, until in rows) for i in range(len(moments))],
        )

    def _served_until(self, model: str, moment: datetime, asked: Asked, by_hour: Counter[datetime]) -> int:
        """Predictions made at or before a moment: whole hours from the counts in memory, the last one from the store."""
        last_hour = hour_of(moment)
        whole = sum(count for hour, count in by_hour.items() if hour < last_hour)
        table = self._served.table(model)
        if table is None or last_hour not in by_hour:
            return whole
        params = {
            "hour": to_micros(last_hour),
            "until": to_micros(moment),
            "any_version": asked.version is None,
            "version": asked.version or "",
        }
        [(rest,)] = self._store.query(_SERVED_UNTIL % table, params)
        return whole + int(rest)

    def _funnel(self, model: str, predictions: int, labels: list[dict[str, Any]]) -> dict[str, int]:
        primary = self._configs.get(model).primary([label["name"] for label in labels])
        one = next((label for label in labels if label["name"] == primary), None)
        return {
            "shown": predictions,
            "labelled": one["labelled"] if one else 0,
            "matured": one["matured"] if one else 0,
        }
