"""How many rows are censored: those whose windows closed in a silence, less those that have an outcome all the same.

Whole hours come from counts in memory; the store is asked for the hours in which a silence begins or ends, and for what is known
of the predictions in between, which the order of ``outcomes`` finds without reading others.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from upshot_joiner.clock import MICROSECOND, from_micros, to_micros
from upshot_joiner.config import LabelConfig
from upshot_joiner.delays.watched import Asked
from upshot_joiner.join import activation
from upshot_joiner.join.silence import Silence
from upshot_joiner.store.client import Store

HOUR = timedelta(hours=1)

_BETWEEN = """
predicted_at >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND predicted_at < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
AND toStartOfHour(predicted_at) >= toStartOfHour(fromUnixTimestamp64Micro({start:Int64}, 'UTC'))
AND toStartOfHour(predicted_at) <= toStartOfHour(fromUnixTimestamp64Micro({end:Int64}, 'UTC'))
AND ({any_version:Bool} OR model_version = {version:String})
"""
_SERVED = f"SELECT count() FROM %s FINAL WHERE {_BETWEEN}"
_KNOWN = f"""
SELECT count() FROM outcomes FINAL
WHERE model = {{model:String}} AND name = {{name:String}} AND state != 'pending' AND {_BETWEEN} %s
"""
_NOT_SHOWN = f"SELECT count() FROM (%s) WHERE {_BETWEEN}"
_SHOWN_ONLY = f"AND {activation.IDENTITY} NOT IN (SELECT request_key, request_id, model_version, item_id FROM (%s))"


def censored(
    store: Store,
    model: str,
    name: str,
    rules: LabelConfig,
    silence: Silence,
    now: datetime,
    asked: Asked,
    *,
    table: str,
    defers: bool,
    served_by_hour: Mapping[datetime, int],
) -> int:
    """Censored rows of one label at a moment, of the predictions that were shown.

    ``table`` is the model's typed table, ``served_by_hour`` its predictions as ``asked``; ``defers``: whether any of its
    predictions was logged with ``shown=False``.
    """
    if rules.default is None:
        return 0
    count = 0
    first, last = (to_micros(hour) for hour in asked.hours)
    closed = to_micros(now + MICROSECOND - rules.window)
    for start, until in silence.micros(rules.window):
        start, end = max(start, first), min(until, closed, last)
        if start >= end:
            continue
        within: dict[str, object] = {
            "model": model, "name": name, "start": start, "end": end,
            "any_version": asked.version is None, "version": asked.version or "",
        }  # fmt: skip
        count += _served(store, table, within, from_micros(start), from_micros(end), served_by_hour)
        not_shown = activation.not_shown(table) if defers else ""
        [(known,)] = store.query(_KNOWN % (_SHOWN_ONLY % not_shown if defers else ""), within)
        count -= int(known)
        if defers:
            [(hidden,)] = store.query(_NOT_SHOWN % not_shown, within)
            count -= int(hidden)
    return count


def _served(
    store: Store,
    table: str,
    within: Mapping[str, object],
    start: datetime,
    end: datetime,
    by_hour: Mapping[datetime, int],
) -> int:
    whole = sum(count for hour, count in by_hour.items() if start <= hour and hour + HOUR <= end)
    edges = {moment.replace(minute=0, second=0, microsecond=0) for moment in (start, end)}
    for low, high in {(max(start, hour), min(end, hour + HOUR)) for hour in edges if hour in by_hour}:
        if low < high and high - low < HOUR:
            [(rows,)] = store.query(_SERVED % table, {**within, "start": to_micros(low), "end": to_micros(high)})
            whole += int(rows)
    return whole
