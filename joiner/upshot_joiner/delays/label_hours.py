"""Keeps ``label_hours`` equal to the outcomes: hours whose outcomes changed are rolled up again.

A question waits for the hours that are due, as long as those are few; a flood of labels over months of predictions is rolled up
in the background, newest hour first, and meanwhile the answer is that of the newest roll-up. After a restart, every hour is
compared with what it covers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa

from upshot_joiner.activity import Activity
from upshot_joiner.changes import ChangedHours
from upshot_joiner.config import ConfigStore
from upshot_joiner.delays import bins, positive
from upshot_joiner.errors import StoreError
from upshot_joiner.join import activation
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables

_log = logging.getLogger("upshot.delays")

AT_ONCE_ROWS = 250_000
"""A question waits for the roll-up of hours with so many predictions: a quarter of a second."""
CHUNK_ROWS = 2_000_000
"""About how many predictions the hours of one statement have."""
CHUNK_HOURS = 500
DUTY = 0.33
"""The share of the time that rolling up may take."""
IDLE_S = 1.0
LOOK_S = 0.1
"""Looking for what other processes changed may take so long at every question; beyond,"""
OTHERS_DUTY = 0.1
"""this share of the time."""

DELAY_S = "greatest(0, dateDiff('microsecond', predicted_at, first_received_at) / 1e6)"
BIN = bins.SQL.format(delay_s=DELAY_S)
HOURS = "toStartOfHour(predicted_at) IN {hours:Array(DateTime('UTC'))}"
_ROLL = f"""
SELECT
  name, toUnixTimestamp(hour_of) AS hour, version_of AS model_version, sum(labels) AS labelled, sum(taken_back) AS retracted,
  arrayMap(one -> one.1, arraySort(groupArray((bin, n, good, delays))) AS sorted) AS bins,
  arrayMap(one -> one.2, sorted) AS arrived, arrayMap(one -> one.3, sorted) AS positives,
  arrayMap(one -> one.4, sorted) AS seconds, max(newest) AS covers
FROM (
  SELECT
    toString(name) AS name, toStartOfHour(predicted_at) AS hour_of, toString(model_version) AS version_of, {BIN} AS bin,
    countIf(state = 'labelled') AS labels, countIf(state = 'retracted') AS taken_back, count() AS n,
    countIf({positive.SQL}) AS good, sum({DELAY_S}) AS delays,
    toUInt64(toUnixTimestamp64Micro(max(folded_at))) AS newest
  FROM outcomes FINAL
  WHERE model = {{model:String}} AND name != 'shown' AND {HOURS} %s
  GROUP BY name, hour_of, version_of, bin
)
GROUP BY name, hour_of, version_of
"""
SHOWN_ONLY = f"AND {activation.IDENTITY} NOT IN (SELECT request_key, request_id, model_version, item_id FROM (%s))"
_KNOWN = """
SELECT toString(name), toUnixTimestamp(hour), toString(model_version) FROM label_hours FINAL
WHERE model = {model:String} AND hour IN {hours:Array(DateTime('UTC'))} AND notEmpty(bins)
"""
_STALE = """
SELECT hour FROM (
  SELECT toString(name) AS name, toStartOfHour(predicted_at) AS hour,
    toUInt64(toUnixTimestamp64Micro(max(folded_at))) AS newest
  FROM outcomes WHERE model = {model:String} GROUP BY name, hour
) AS stored
LEFT JOIN (
  SELECT toString(name) AS name, hour, max(covers) AS covers, min(setup) AS setup FROM label_hours FINAL
  WHERE model = {model:String} GROUP BY name, hour
) AS done USING (name, hour)
WHERE newest > ifNull(covers, 0) AND name != 'shown' OR ifNull(setup, {setup:UInt64}) != {setup:UInt64}
GROUP BY hour
"""
_HOURS = "SELECT DISTINCT toStartOfHour(predicted_at) FROM outcomes WHERE model = {model:String}"


class LabelHours:
    """The roll-up. Every method may be called from any thread."""

    def __init__(
        self, store: Store, served: ServedTables, configs: ConfigStore, activity: Activity, changes: ChangedHours
    ) -> None:
        self._store = store
        self._served = served
        self._configs = configs
        self._activity = activity
        self._changes = changes
        self._due: defaultdict[str, set[datetime]] = defaultdict(set)
        self._lock = threading.RLock()
        self._looked: dict[str, tuple[float, float]] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        [(newest,)] = store.query("SELECT max(version) FROM label_hours")
        self._version = int(newest)
        self.reconcile()

    def start(self) -> None:
        """Begin to roll up in the background."""
        self._thread = threading.Thread(target=self._work, name="upshot-label-hours", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what is left is found again at the next start."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(30)

    @property
    def behind(self) -> int:
        """Hours that wait to be rolled up. Does not wait for a roll-up that runs."""
        return sum(len(hours) for hours in list(self._due.values())) + self._changes.waiting

    def reconcile(self, only: str | None = None) -> None:
        """Find every hour that does not cover its outcomes, of a model or of all."""
        with self._lock:
            for model in self._served.models() if only is None else [only]:
                params = {"model": model, "setup": positive.setup(self._configs.get(model))}
                self._due[model] |= {hour for (hour,) in self._store.query(_STALE, params)}

    def configured(self, model: str) -> None:
        """The configuration of a model changed: its hours are counted anew."""
        with self._lock:
            self._due[model] |= {hour for (hour,) in self._store.query(_HOURS, {"model": model})}

    def bring_up_to_date(self, model: str) -> bool:
        """Roll up what is due of a model, unless that is too much to wait for; whether nothing is due any more."""
        self._take()
        if self._store.is_shared and self._may_look(model):
            began = time.monotonic()
            self.reconcile(model)  # another process may have joined labels
            self._looked[model] = (time.monotonic(), time.monotonic() - began)
        with self._lock:
            due = self._due.get(model)
            if due and self._rows(model, due) <= AT_ONCE_ROWS:
                self._roll(model, CHUNK_HOURS)
            return not self._due.get(model)

    def roll(self) -> int:
        """Roll up everything that is due; returns the number of hours."""
        done = 0
        while not self._closing.is_set() and (hours := self._roll_some()):
            done += hours
        return done

    def _roll_some(self) -> int:
        self._take()
        with self._lock:
            model = next((model for model, hours in self._due.items() if hours), None)
            return self._roll(model, CHUNK_HOURS) if model is not None else 0

    def _take(self) -> None:
        changed = [one for one in self._changes.take() if one.outcomes]
        if changed:
            with self._lock:
                for one in changed:
                    self._due[one.model].add(one.hour)

    def _work(self) -> None:
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                rolled = self._roll_some()
            except Exception:  # noqa: BLE001  # nobody would notice that this thread died; answers would grow old
                rolled = 0
                _log.exception("rolling up labels failed; trying again")
            took = time.monotonic() - began
            self._closing.wait(max(IDLE_S, took / DUTY - took) if rolled else IDLE_S)

    def _may_look(self, model: str) -> bool:
        """Looking for what others changed reads two columns of all outcomes: of very many, it is not done at every question."""
        at, took = self._looked.get(model, (0.0, 0.0))
        return took < LOOK_S or time.monotonic() - at > took / OTHERS_DUTY

    def _rows(self, model: str, hours: set[datetime]) -> int:
        by_hour = self._activity.by_hour(model)
        return sum(by_hour.get(hour, 0) for hour in hours)

    def _roll(self, model: str, most_hours: int) -> int:
        """Roll up the latest hours that are due; they are due again when that fails."""
        by_hour = self._activity.by_hour(model)
        hours: list[datetime] = []
        size = 0
        for hour in sorted(self._due[model], reverse=True)[:most_hours]:
            size += by_hour.get(hour, 0)
            if hours and size > CHUNK_ROWS:
                break
            hours.append(hour)
        # Taken out before the outcomes are read: what changes meanwhile makes the hour due again.
        self._due[model].difference_update(hours)
        try:
            self._write(model, hours)
        except StoreError:
            self._due[model].update(hours)
            raise
        return len(hours)

    def _write(self, model: str, hours: Sequence[datetime]) -> None:
        config = self._configs.get(model)
        table = self._served.table(model)
        params = {"model": model, "hours": list(hours)}
        defers = table is not None and bool(self._store.query(activation.deferred(table)))
        only = SHOWN_ONLY % activation.not_shown(table) if defers and table is not None else ""
        rolled = self._store.arrow(_ROLL % only, {**params, **positive.parameters(config)})
        keys = set(zip(*(rolled[column].to_pylist() for column in ("name", "hour", "model_version")), strict=True))
        if defers:  # what was shown can be taken back: then nothing is left of an hour
            keys_before = {(name, hour, version) for name, hour, version in self._store.query(_KNOWN, params)}
            rolled = pa.concat_tables([rolled, _empty(sorted(keys_before - keys), rolled.schema)])
        self._version = max(self._version + 1, time.time_ns() // 1000)
        self._store.insert(
            "label_hours",
            rolled.append_column("model", pa.array([model] * rolled.num_rows, pa.string()))
            .append_column("setup", pa.array([positive.setup(config)] * rolled.num_rows, pa.uint64()))
            .append_column("version", pa.array([self._version] * rolled.num_rows, pa.uint64())),
        )


def _empty(keys: Sequence[tuple[str, int, str]], schema: pa.Schema) -> pa.Table:
    columns: dict[str, list[object]] = {field.name: [0] * len(keys) for field in schema}
    columns |= {name: [[]] * len(keys) for name in ("bins", "arrived", "positives", "seconds")}
    columns["name"], columns["hour"], columns["model_version"] = (
        [list(column) for column in zip(*keys, strict=True)] if keys else ([], [], [])
    )
    return pa.table(columns, schema=schema)
