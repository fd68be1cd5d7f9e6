"""The funnel of a model: of what was logged, how much was shown, labelled, matured and exported."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from upshot_joiner.clock import to_micros
from upshot_joiner.delays.watched import Asked
from upshot_joiner.export.request import ExportRequest
from upshot_joiner.intake.check import EARLIEST_US, LATEST_US
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables

_EXPORTS = """
SELECT id, request FROM exports FINAL
WHERE status = 'done' AND JSONExtractString(request, 'model') = {model:String}
ORDER BY id
"""
_COUNTS = "toString(model_version) AS of_version, toStartOfHour(predicted_at) AS hour, count()"
_IN_AN_EXPORT = f"""
SELECT {_COUNTS} FROM %s FINAL
WHERE ifNull(shown, true) AND arrayExists((start, end, as_of) ->
    predicted_at >= fromUnixTimestamp64Micro(start, 'UTC') AND predicted_at < fromUnixTimestamp64Micro(end, 'UTC')
    AND received_at <= fromUnixTimestamp64Micro(as_of, 'UTC'),
  {{starts:Array(Int64)}}, {{ends:Array(Int64)}}, {{as_ofs:Array(Int64)}})
GROUP BY of_version, hour
"""
# A prediction logged with shown=False is in an export when the last of the statements known at its moment says that it was shown.
_ACTIVATED_IN_AN_EXPORT = f"""
SELECT {_COUNTS} FROM (SELECT * FROM %(table)s FINAL WHERE shown = false) AS p
INNER JOIN (
  SELECT request_key, request_id, item_id,
    arraySort(groupArray((observed_at, label_id, received_at, op = 'set' AND ifNull(value_number, 0) != 0))) AS said
  FROM label_events FINAL
  WHERE name = 'shown' AND (model = '' OR model = {{model:String}})
    AND request_key IN (SELECT request_key FROM %(table)s WHERE shown = false)
  GROUP BY request_key, request_id, item_id
) AS e USING (request_key, request_id, item_id)
WHERE arrayExists((start, end, as_of) ->
    p.predicted_at >= fromUnixTimestamp64Micro(start, 'UTC') AND p.predicted_at < fromUnixTimestamp64Micro(end, 'UTC')
    AND p.received_at <= fromUnixTimestamp64Micro(as_of, 'UTC')
    AND arrayFilter(one -> one.3 <= fromUnixTimestamp64Micro(as_of, 'UTC'), e.said)[-1].4,
  {{starts:Array(Int64)}}, {{ends:Array(Int64)}}, {{as_ofs:Array(Int64)}})
GROUP BY of_version, hour
"""


class Exported:
    """How many predictions are in at least one finished export. An export never changes, so only new ones are counted anew."""

    def __init__(self, store: Store, served: ServedTables) -> None:
        self._store = store
        self._served = served
        self._lock = threading.Lock()
        self._known: dict[str, tuple[tuple[str, ...], Mapping[tuple[str, datetime], int]]] = {}

    def predictions(self, model: str, asked: Asked, *, defers: bool) -> int:
        """Of the predictions asked about, those in at least one export."""
        start, end = asked.hours
        return sum(
            count
            for (version, hour), count in self._by_hour(model, defers=defers).items()
            if start <= hour < end and asked.version in (None, version)
        )

    def _by_hour(self, model: str, *, defers: bool) -> Mapping[tuple[str, datetime], int]:
        found = self._store.query(_EXPORTS, {"model": model})
        table = self._served.table(model)
        if not found or table is None:
            return {}
        ids = tuple(id_ for id_, _ in found)
        with self._lock:
            known = self._known.get(model)
        if known is not None and known[0] == ids:
            return known[1]
        requests = [ExportRequest.model_validate_json(request) for _, request in found]
        params = {
            "model": model,
            "starts": [EARLIEST_US if one.start is None else to_micros(one.start) for one in requests],
            "ends": [LATEST_US if one.end is None else to_micros(one.end) for one in requests],
            "as_ofs": [to_micros(one.as_of) for one in requests if one.as_of is not None],
        }
        counts: Counter[tuple[str, datetime]] = Counter()
        for statement in [_IN_AN_EXPORT % table] + [_ACTIVATED_IN_AN_EXPORT % {"table": table}] * defers:
            for version, hour, count in self._store.query(statement, params):
                counts[version, hour] += count
        with self._lock:
            self._known[model] = (ids, counts)
        return counts
