"""Which hours are rolled up and what they cover: the bookkeeping behind :class:`~upshot_monitoring.profiles.roller.Roller`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from upshot_joiner.clock import EPOCH
from upshot_joiner.store.client import Store
from upshot_monitoring.profiles.scales import Key, Scale

Covers = list[tuple[datetime, str, int, int, int]]
"""(hour, model version, rows, newest ``received_at`` of a row, newest ``folded_at`` of an outcome)."""

_STALE_SERVED = """
SELECT hour FROM (
  SELECT toStartOfHour(predicted_at) AS hour, model_version, toUInt64(toUnixTimestamp64Micro(max(received_at))) AS newest
  FROM %s GROUP BY hour, model_version
) AS stored
LEFT JOIN (
  SELECT hour, model_version, covers FROM rolled_hours FINAL WHERE model = {model:String} AND task = 'profiles'
) AS done USING (hour, model_version)
GROUP BY hour HAVING max(newest > ifNull(covers, 0))
"""
_BY_HOUR = """
  SELECT hour, model_version, sum(stored_rows) AS stored_rows, max(row) AS newest_row, max(outcome) AS newest_outcome FROM (
    SELECT toStartOfHour(predicted_at) AS hour, model_version, count() AS stored_rows,
      toUInt64(toUnixTimestamp64Micro(max(received_at))) AS row, 0 AS outcome
    FROM {table} WHERE {where} GROUP BY hour, model_version
    UNION ALL
    SELECT toStartOfHour(predicted_at) AS hour, model_version, 0 AS stored_rows, 0 AS row,
      toUInt64(toUnixTimestamp64Micro(max(folded_at))) AS outcome
    FROM outcomes WHERE model = {{model:String}} AND name IN ({{label:String}}, 'shown') AND {where} GROUP BY hour, model_version
  ) GROUP BY hour, model_version
"""
# Also the rows that were never labelled count: an hour is stale, too, when it was served after it was rolled, or when a
# prediction was shown (see activation.py in the joiner) after that.
_STALE_LABEL = """
SELECT hour FROM ({by_hour}) AS stored
LEFT JOIN (
  SELECT hour, model_version, covers, covers_outcomes, setup FROM rolled_hours FINAL
  WHERE model = {{model:String}} AND task = {{task:String}}
) AS done USING (hour, model_version)
GROUP BY hour
HAVING max(newest_row > ifNull(covers, 0) OR newest_outcome > ifNull(covers_outcomes, 0) OR ifNull(setup, 0) != {{setup:UInt64}})
"""
_END = datetime(2106, 1, 1, tzinfo=UTC)
"""After every hour that a DateTime can hold, nearly."""
_OFF_SCALE = """
SELECT DISTINCT hour FROM profiles FINAL
WHERE model = {model:String} AND hour >= {start:DateTime('UTC')} AND hour < {end:DateTime('UTC')}
  AND n > 0 AND scale_id NOT IN {scale_ids:Array(UInt64)}
"""
# Rolled by a version that kept nothing of vectors but their norm.
_WITHOUT_VECTORS = """
SELECT DISTINCT hour FROM profiles FINAL
WHERE model = {model:String} AND vectors > 0 AND (hour, role, feature, model_version) NOT IN (
  SELECT hour, role, feature, model_version FROM vector_profiles WHERE model = {model:String})
"""
_ANY_ROLLED = """
SELECT count() > 0 FROM rolled_hours FINAL
WHERE model = {model:String} AND task = 'profiles' AND hour >= {start:DateTime('UTC')} AND hour < {end:DateTime('UTC')}
"""
_GIVEN_HOURS = "hour IN {hours:Array(DateTime('UTC'))}"
_COVERED_BY_SERVED = """
SELECT toStartOfHour(predicted_at) AS hour, model_version, count(), toUInt64(toUnixTimestamp64Micro(max(received_at))), 0
FROM %s WHERE hour IN {hours:Array(DateTime('UTC'))} GROUP BY hour, model_version
"""
_ROWS = """
SELECT toStartOfHour(predicted_at) AS hour, count() FROM %s WHERE hour IN {hours:Array(DateTime('UTC'))} GROUP BY hour
"""
_RECENT = """
SELECT hour, sum(rows) FROM rolled_hours FINAL WHERE model = {model:String} AND task = 'profiles'
GROUP BY hour ORDER BY hour DESC LIMIT 500
"""
_LAST = """
SELECT min(hour), max(hour), count() FROM rolled_hours FINAL
WHERE model = {model:String} AND task = 'profiles' AND hour <= {until:DateTime('UTC')}
  AND (model_version = {version:String} OR {any:Bool})
"""
_VERSIONS = """
SELECT DISTINCT model_version FROM rolled_hours
WHERE model = {model:String} AND task = 'profiles' AND hour >= {start:DateTime('UTC')} AND hour < {end:DateTime('UTC')}
ORDER BY model_version
"""
_LABELS = "SELECT DISTINCT name FROM outcomes WHERE model = {model:String} AND name != 'shown' ORDER BY name"


class Versions:
    """Versions for ReplacingMergeTree: microseconds of the machine's clock, but always later than every one given before, also
    by an earlier process. Not the server's clock: that may stand still or be set back."""

    def __init__(self, store: Store) -> None:
        tables = (
            "profiles",
            "vector_profiles",
            "performance_sums",
            "rolled_hours",
            "profile_scales",
            "model_references",
        )
        [row] = store.query("SELECT " + ", ".join(f"(SELECT max(version) FROM {table})" for table in tables))
        self._last = max(int(version or 0) for version in row)
        self._lock = threading.Lock()

    def next(self) -> int:
        """A version later than every earlier one."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return self._last


def seen_labels(store: Store, model: str) -> list[str]:
    """The labels that were ever seen of a model."""
    return [name for (name,) in store.query(_LABELS, {"model": model})]


def stale_served(store: Store, model: str, table: str) -> set[datetime]:
    """Hours with served rows that their profiles do not cover."""
    return {hour for (hour,) in store.query(_STALE_SERVED % table, {"model": model})}


def stale_label(store: Store, model: str, table: str, label: str, setup: int) -> set[datetime]:
    """Hours with rows or outcomes that their performance does not cover, or rolled under another configuration."""
    sql = _STALE_LABEL.format(by_hour=_BY_HOUR.format(table=table, where="true"))
    params = {"model": model, "label": label, "task": f"label:{label}", "setup": setup}
    return {hour for (hour,) in store.query(sql, params)}


def is_rolled(store: Store, model: str, start: datetime, end: datetime) -> bool:
    """Whether the profiles of at least one hour of a range are there, all of them."""
    [(found,)] = store.query(_ANY_ROLLED, {"model": model, "start": start, "end": end})
    return bool(found)


def off_scale(
    store: Store, model: str, pinned: Mapping[Key, Scale], start: datetime = EPOCH, end: datetime = _END
) -> set[datetime]:
    """Hours of a range with a profile on a scale that is not pinned any more."""
    ids = [scale.scale_id for scale in pinned.values()]
    params = {"model": model, "scale_ids": ids, "start": start, "end": end}
    return {hour for (hour,) in store.query(_OFF_SCALE, params)}


def without_vectors(store: Store, model: str) -> set[datetime]:
    """Hours with vectors of which the norm alone was profiled."""
    return {hour for (hour,) in store.query(_WITHOUT_VECTORS, {"model": model})}


def covered_by_served(store: Store, table: str, hours: Sequence[datetime]) -> Covers:
    """What profiles of these hours will cover: to be asked before rolling, so that a row that comes between is rolled again."""
    return [_cover(row) for row in store.query(_COVERED_BY_SERVED % table, {"hours": list(hours)})]


def covered_by_label(store: Store, model: str, table: str, label: str, hours: Sequence[datetime]) -> Covers:
    """The same for the performance of one label."""
    params = {"model": model, "label": label, "hours": list(hours)}
    return [_cover(row) for row in store.query(_BY_HOUR.format(table=table, where=_GIVEN_HOURS), params)]


def _cover(row: Sequence[Any]) -> tuple[datetime, str, int, int, int]:
    return row[0], row[1], row[2], row[3], row[4]


def note(store: Store, model: str, task: str, covers: Covers, setup: int, version: int) -> None:
    """Write down that hours are rolled up."""
    store.insert(
        "rolled_hours",
        pa.table(
            {
                "model": pa.array([model] * len(covers), pa.string()),
                "task": pa.array([task] * len(covers), pa.string()),
                "hour": pa.array([hour for hour, *_ in covers], pa.timestamp("s", "UTC")),
                "model_version": pa.array([one[1] for one in covers], pa.string()),
                "rows": pa.array([one[2] for one in covers], pa.uint64()),
                "covers": pa.array([one[3] for one in covers], pa.uint64()),
                "covers_outcomes": pa.array([one[4] for one in covers], pa.uint64()),
                "setup": pa.array([setup] * len(covers), pa.uint64()),
                "version": pa.array([version] * len(covers), pa.uint64()),
            }
        ),
    )


def newest_chunk(store: Store, table: str, hours: Iterable[datetime], max_rows: int, max_hours: int) -> list[datetime]:
    """The latest of the hours, with about ``max_rows`` rows together (one hour at least). Hours without rows come first."""
    latest = sorted(hours, reverse=True)[:max_hours]
    rows: dict[datetime, int] = dict(store.query(_ROWS % table, {"hours": latest}))
    chunk: list[datetime] = []
    size = 0
    for hour in latest:
        size += rows.get(hour, 0)
        if chunk and size > max_rows:
            break
        chunk.append(hour)
    return chunk


def recent_hours(store: Store, model: str, max_rows: int) -> list[datetime]:
    """The latest rolled hours, with about ``max_rows`` rows together."""
    found: list[datetime] = []
    total = 0
    for hour, rows in store.query(_RECENT, {"model": model}):
        total += rows
        if total > max_rows:
            break
        found.append(hour)
    return found


def served_hours(store: Store, model: str, until: datetime, version: str | None) -> tuple[datetime, datetime] | None:
    """The first and the last rolled hour of a model up to a moment; None without any."""
    [(first, last, count)] = store.query(
        _LAST, {"model": model, "until": until, "version": version or "", "any": version is None}
    )
    return (first, last) if count else None


def versions(store: Store, model: str, start: datetime, end: datetime) -> list[str]:
    """The versions that served in a window."""
    return [version for (version,) in store.query(_VERSIONS, {"model": model, "start": start, "end": end})]
