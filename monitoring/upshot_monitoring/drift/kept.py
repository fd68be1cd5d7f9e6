"""Verdicts that are kept: what was said about every column of a closed window, by which method, threshold, baseline and rows.

A window is the configured length of time, counted from 1970 in UTC: days, by default. It is judged once it is over and rolled up,
and again whenever it was rolled up anew. An answer of ``/drift`` is computed when it is asked for; what is kept here is what was
said at the time, whatever was configured since.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from upshot_joiner.clock import EPOCH, Clock, to_micros
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import Problem, StoreError
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_joiner.writers.arrivals import Sharing
from upshot_monitoring.drift.answers import Drift
from upshot_monitoring.drift.baselines import Asked
from upshot_monitoring.drift.describe import key_of
from upshot_monitoring.profiles import rolled

_log = logging.getLogger("upshot.monitoring")

EVERY_S = 60.0
WINDOWS = 8
"""So many windows back, late rows make a verdict be given again."""
MAX_ROWS = 50_000
"""Of one answer."""

REVISIONS = """
SELECT toUInt64(intDiv(toUnixTimestamp(hour), {length_s:UInt64})) AS number, max(version) FROM rolled_hours WHERE model =
{model:String} AND task = 'profiles' AND hour >= {start:DateTime('UTC')} AND hour < {end:DateTime('UTC')} GROUP BY number
"""
_JUDGED = """
SELECT toUInt64(intDiv(toUnixTimestamp(window_start), {length_s:UInt64})) AS number, max(revision) FROM drift_verdicts
WHERE model = {model:String} AND role != 'multivariate' AND window_start >= {start:DateTime('UTC')}
  AND toUnixTimestamp(window_end) - toUnixTimestamp(window_start) = {length_s:UInt64} GROUP BY number
"""
FIELDS = (
    *("model_version", "window_start", "window_end", "role", "feature", "kind", "baseline", "baseline_id", "method"),
    *("threshold", "direction", "statistic", "p_value", "adjusted_p_value", "false_discovery_rate", "tested"),
    *("verdict", "reason", "rows_reference", "rows_current", "judged_at"),
)
_READ = f"""
SELECT {", ".join(FIELDS)} FROM drift_verdicts FINAL
WHERE model = {{model:String}} AND window_start >= {{start:DateTime('UTC')}} AND window_start < {{end:DateTime('UTC')}}
  AND ({{feature:String}} = '' OR feature = {{feature:String}}) AND ({{role:String}} = '' OR role = {{role:String}})
  AND model_version = {{version:String}}
ORDER BY window_start DESC, window_end DESC, role, feature, judged_at DESC %s LIMIT {MAX_ROWS}
"""
_NEWEST = "LIMIT 1 BY window_start, window_end, role, feature"


@dataclass(frozen=True)
class AskedKept:
    """A question about kept verdicts; by default, the newest on every column of the last 30 days, of all versions together."""

    start: datetime | None = None
    end: datetime | None = None
    feature: str = ""
    version: str = ""
    history: bool = False
    """Also the verdicts that a later one on the same window replaced."""
    role: str = ""


class KeptVerdicts:
    """Gives, keeps and reads verdicts. Every method may be called from any thread; one process gives them."""

    def __init__(
        self,
        store: Store,
        served: ServedTables,
        configs: ConfigStore,
        drift: Drift,
        clock: Clock,
        sharing: Sharing | None = None,
    ) -> None:
        self._store = store
        self._served = served
        self._configs = configs
        self._drift = drift
        self._clock = clock
        self._sharing = sharing
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to give verdicts on windows that close."""
        self._thread = threading.Thread(target=self._work, name="upshot-verdicts", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; what was not judged is judged after the next start."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def give(self, model: str) -> int:
        """Judge the closed windows of a model that were not judged as they are now; returns the number of verdicts."""
        if self._served.table(model) is None:
            return 0
        length = max(self._configs.get(model).drift.window, timedelta(hours=1))
        length_s = int(length.total_seconds())
        last = int((self._clock.now() - EPOCH).total_seconds()) // length_s
        first = max(0, last - WINDOWS)
        params = {
            "model": model,
            "length_s": length_s,
            "start": EPOCH + first * length,
            "end": EPOCH + last * length,
        }
        with self._lock:
            judged = dict(self._store.query(_JUDGED, params))
            given = 0
            for number, revision in sorted(self._store.query(REVISIONS, params)):
                if revision > judged.get(number, 0):
                    given += self._judge(model, EPOCH + number * length, length, revision)
            return given

    def read(self, model: str, asked: AskedKept) -> list[dict[str, Any]]:
        """Kept verdicts, the newest window first."""
        end = asked.end or self._clock.now()
        rows = self._store.query(
            _READ % ("" if asked.history else _NEWEST),
            {
                "model": model,
                "start": max(EPOCH, asked.start or end - timedelta(days=30)),
                "end": end,
                "feature": asked.feature,
                "role": asked.role,
                "version": asked.version,
            },
        )
        return [{**dict(zip(FIELDS, row, strict=True)), "reason": row[FIELDS.index("reason")] or None} for row in rows]

    def _judge(self, model: str, start: datetime, length: timedelta, revision: int) -> int:
        versions = rolled.versions(self._store, model, start, start + length)
        rows: list[dict[str, Any]] = []
        for version in [None, *(versions if len(versions) > 1 else [])]:
            answer = self._drift.drift(model, Asked(start=start, end=start + length, version=version))
            for row in answer["features"]:
                role, feature = key_of(row)
                rows.append(
                    {
                        **{name: row[name] for name in row if name in FIELDS},
                        "model": model,
                        "model_version": version or "",
                        "window_start": start,
                        "window_end": start + length,
                        "role": role,
                        "feature": feature,
                        "false_discovery_rate": answer["false_discovery"]["rate"],
                        "tested": answer["false_discovery"]["tested"],
                        "reason": row["reason"] or "",
                        "revision": revision,
                    }
                )
        self._store.insert("drift_verdicts", block(rows, to_micros(self._clock.now())))
        return len(rows)

    def _work(self) -> None:
        while not self._closing.wait(EVERY_S):
            try:
                if self._sharing is not None and not self._sharing.is_first():
                    continue
                for model in self._served.models():
                    if not self._closing.is_set():
                        self.give(model)
            except StoreError as error:
                _log.error("verdicts could not be given (code %d); trying again", error.code)
            except Problem as problem:
                _log.error("verdicts could not be given: %s", problem.title)
            except Exception:  # noqa: BLE001  # nobody would notice that this thread died
                _log.exception("giving verdicts failed; trying again")


def block(rows: Sequence[dict[str, Any]], judged_us: int) -> pa.Table:
    """Rows of ``drift_verdicts``, judged at one moment."""
    numbers = {
        "rows_reference": pa.uint64(),
        "rows_current": pa.uint64(),
        "revision": pa.uint64(),
        "tested": pa.uint32(),
    }
    floats = ("threshold", "statistic", "p_value", "adjusted_p_value", "false_discovery_rate")
    names = ["model", *(name for name in FIELDS if name != "judged_at"), "revision"]
    columns: dict[str, Any] = {}
    for name in names:
        values = [row[name] for row in rows]
        if name in ("window_start", "window_end"):
            columns[name] = pa.array([int(value.timestamp()) for value in values], pa.int64()).cast(
                pa.timestamp("s", "UTC")
            )
        else:
            columns[name] = pa.array(values, numbers.get(name, pa.float64() if name in floats else pa.string()))
    columns["judged_at"] = pa.array([judged_us] * len(rows), pa.int64()).cast(pa.timestamp("us", "UTC"))
    return pa.table(columns)
