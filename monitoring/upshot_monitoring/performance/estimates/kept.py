"""Estimates are kept when a day has ended, and scored against the truth when its windows have closed.

What it says: how far the estimates of this model were off, and how often the truth was inside their interval: whether to
believe the next one. An estimate that turns out wrong is the sign of what it cannot see: what a score means has changed
(concept drift).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from upshot_joiner.clock import EPOCH, Clock
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import Problem, StoreError
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_monitoring.profiles import rolled

_log = logging.getLogger("upshot.monitoring")

DAY = timedelta(days=1)
EVERY_S = 300.0
MOST_DAYS = 400


_KNOWN = """
SELECT start, method, metric, made_at, rows, estimated, low, high, actual, scored_at FROM performance_estimates FINAL
WHERE model = {model:String} AND label = {label:String}
  AND start >= {start:DateTime('UTC')} AND start < {end:DateTime('UTC')} ORDER BY start, method, metric
"""
_COLUMNS = ("start", "method", "metric", "made_at", "rows", "estimated", "low", "high", "actual", "scored_at")
_TYPES: dict[str, Any] = {
    "model": pa.string(),
    "label": pa.string(),
    "start": pa.timestamp("s", "UTC"),
    "method": pa.string(),
    "metric": pa.string(),
    "made_at": pa.timestamp("us", "UTC"),
    "rows": pa.uint64(),
    "estimated": pa.float64(),
    "low": pa.float64(),
    "high": pa.float64(),
    "actual": pa.float64(),
    "scored_at": pa.timestamp("us", "UTC"),
    "version": pa.uint64(),
}
Answer = Callable[[str, str, datetime, datetime], dict[str, Any]]
"""Model, label, start and end: the answer about whole days."""


class KeptEstimates:
    """Keeps and scores. Every method may be called from any thread."""

    def __init__(
        self,
        store: Store,
        served: ServedTables,
        configs: ConfigStore,
        clock: Clock,
        answer: Answer,
        is_first: Callable[[], bool],
    ) -> None:
        self._store = store
        self._served = served
        self._configs = configs
        self._clock = clock
        self._answer = answer
        self._is_first = is_first
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to keep and to score."""
        self._thread = threading.Thread(target=self._work, name="upshot-estimates", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; what is left is done after the next start."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(30)

    def keep(self, model: str) -> int:
        """Keep the estimates of days that have ended, score those whose windows have closed; returns how many rows were written."""
        config = self._configs.get(model)
        if config.task != "binary" or self._served.table(model) is None:
            return 0
        label = config.primary(rolled.seen_labels(self._store, model))
        now, window = self._clock.now(), config.label(label).window
        today = EPOCH + (now - EPOCH) // DAY * DAY
        closed = EPOCH + max(timedelta(0), now - window - EPOCH) // DAY * DAY  # days before it are matured
        hours = rolled.served_hours(self._store, model, now, None)
        if hours is None:
            return 0
        with self._lock:
            known = self._read(model, label, max(EPOCH, today - MOST_DAYS * DAY - window), today)
            waiting = {one["start"] for one in known if one["actual"] is None and one["start"] < closed}
            unkept = max(closed, EPOCH + (hours[0] - EPOCH) // DAY * DAY, today - MOST_DAYS * DAY)
            wanted = {unkept + n * DAY for n in range((today - unkept) // DAY)} - {one["start"] for one in known}
            rows = []
            for day, of_day in self._days(model, label, wanted | waiting).items():
                if day in waiting:
                    rows += [
                        {**one, "actual": of_day["metrics"][one["metric"]], "scored_at": now}
                        for one in known
                        if one["start"] == day and one["metric"] in of_day["metrics"]
                    ]
                else:
                    rows += _estimates(day, of_day, now)
            self._write(model, label, rows)
            return len(rows)

    def of_days(self, model: str, label: str, start: datetime, end: datetime) -> dict[datetime, dict[str, Any]]:
        """By day and method: when it was made, and per metric the estimate, its interval, and, once known, the truth."""
        found: defaultdict[datetime, dict[str, Any]] = defaultdict(dict)
        for one in self._read(model, label, start, end):
            method = found[one["start"]].setdefault(one["method"], {"made_at": one["made_at"], "metrics": {}})
            told = {"estimated": one["estimated"], "interval": [one["low"], one["high"]], "actual": one["actual"]}
            if one["actual"] is not None:
                told["error"] = one["estimated"] - one["actual"]
                told["inside"] = one["low"] <= one["actual"] <= one["high"]
            method["metrics"][one["metric"]] = told
        return dict(found)

    def _days(self, model: str, label: str, days: set[datetime]) -> dict[datetime, dict[str, Any]]:
        if not days:
            return {}
        answer = self._answer(model, label, min(days), max(days) + DAY)
        return {one["start"]: one for one in answer["windows"] if one["start"] in days}

    def _read(self, model: str, label: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
        params = {"model": model, "label": label, "start": start, "end": end}
        return [dict(zip(_COLUMNS, row, strict=True)) for row in self._store.query(_KNOWN, params)]

    def _write(self, model: str, label: str, rows: list[dict[str, Any]]) -> None:
        common = {"model": model, "label": label, "version": time.time_ns() // 1000}
        columns = {name: pa.array([{**one, **common}[name] for one in rows], type_) for name, type_ in _TYPES.items()}
        self._store.insert("performance_estimates", pa.table(columns))

    def _work(self) -> None:
        while not self._closing.wait(EVERY_S):
            if not self._is_first():
                continue
            for model in self._served.models():
                try:
                    self.keep(model)
                except (StoreError, Problem):
                    _log.exception("estimates could not be kept; trying again")


def of_all(days: dict[datetime, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By method and metric: over how many days it was scored, the mean absolute error, and how often the truth was inside."""
    scored: defaultdict[str, defaultdict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for of_day in days.values():
        for method, told in of_day.items():
            for metric, one in told["metrics"].items():
                if one["actual"] is not None:
                    scored[method][metric].append(one)
    return {
        method: {
            metric: {
                "days": len(ones),
                "mean_absolute_error": sum(abs(one["error"]) for one in ones) / len(ones),
                "inside": sum(one["inside"] for one in ones) / len(ones),
            }
            for metric, ones in metrics.items()
        }
        for method, metrics in scored.items()
    }


def _estimates(day: datetime, of_day: dict[str, Any], now: datetime) -> list[dict[str, Any]]:
    corrected = of_day.get("delay_corrected", {})
    by_method = {
        "cbpe": (of_day["estimated"], of_day.get("estimated_intervals", {})),
        "delay_corrected": (corrected.get("metrics", {}), corrected.get("intervals", {})),
    }
    return [
        {
            "start": day,
            "method": method,
            "metric": metric,
            "made_at": now,
            "rows": of_day["rows"],
            "estimated": value,
            "low": intervals[metric][0],
            "high": intervals[metric][1],
            "actual": None,
            "scored_at": None,
        }
        for method, (metrics, intervals) in by_method.items()
        for metric, value in metrics.items()
        if metric in intervals
    ]
