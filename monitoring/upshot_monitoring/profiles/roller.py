"""Rolls changed hours up: profiles of what was served, profiles and performance of how it turned out."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from upshot_joiner.changes import Changed, ChangedHours
from upshot_joiner.clock import to_micros
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import StoreError
from upshot_joiner.join import activation
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_joiner.writers.arrivals import Sharing
from upshot_monitoring.performance import rollup as performance
from upshot_monitoring.profiles import rolled
from upshot_monitoring.profiles.columns import label_columns, names_parameter, served_columns
from upshot_monitoring.profiles.due import Due
from upshot_monitoring.profiles.hours import KEY_COLUMNS, HourProfiles
from upshot_monitoring.profiles.scales import Scales

_log = logging.getLogger("upshot.monitoring")

ROWS_PER_CHUNK = 1_000_000
"""About how many rows are rolled up at a time: what bounds memory, and how long a stop has to wait."""
HOURS_PER_CHUNK = 500
DUTY = 0.33
"""The share of the time that rolling may take while hours wait for it."""
AGAIN_DUTY = 0.1
"""The same where only what keeps changing is left: the current hour is rolled again and again, and intake needs the machine."""
IDLE_S = 1.0
OTHERS_S = 3.0
"""How often hours are looked for that other processes changed."""
OTHERS_DUTY = 0.1
"""The share of the time that this may take."""

PROFILES = "profiles"
_HOURS = "toStartOfHour(predicted_at) IN {hours:Array(DateTime('UTC'))}"
# The labels of predictions that were shown.
_LABELLED = """(
  SELECT * FROM outcomes FINAL WHERE model = {{model:String}} AND name = {{label:String}} AND {hours} AND {identity} NOT IN (
    SELECT request_key, request_id, model_version, item_id FROM {table} FINAL WHERE {hours} AND shown = false AND NOT {counts}))
"""
# Hours and versions that had rows when they were rolled before, and have none now: a prediction can be taken back to not shown.
_NOTHING_LEFT = """
INSERT INTO {table} ({key}, version) SELECT {key}, {{version:UInt64}} FROM {table} FINAL
WHERE model = {{model:String}} AND {label} AND hour IN {{hours:Array(DateTime('UTC'))}} AND version < {{before:UInt64}} AND rows > 0
"""
_NO_LABELS = _NOTHING_LEFT.format(
    table="profiles", key=", ".join(KEY_COLUMNS), label="role = 'label' AND feature = {label:String}"
)
_NO_PERFORMANCE = _NOTHING_LEFT.format(
    table="performance_sums", key="model, label, hour, model_version, setup", label="label = {label:String}"
)


@dataclass
class RollerStats:
    """Counters since the start; read by ``/metrics``."""

    hours: int = 0
    statements: int = 0
    failures: int = 0
    repinned_scales: int = 0
    seconds: float = 0.0
    revision: int = 0
    """Grows whenever an answer may have changed."""


class Roller:
    """A thread that keeps the roll-ups equal to what is stored.

    After a restart it does not rely on notes about where it was: it compares, hour by hour, the newest row that is stored with
    the newest row that the roll-up covers (``rolled_hours``, written after the roll-up itself), and rolls what differs.
    """

    def __init__(
        self,
        store: Store,
        served: ServedTables,
        configs: ConfigStore,
        changes: ChangedHours,
        scales: Scales,
        sharing: Sharing | None = None,
    ) -> None:
        self._store = store
        self._served = served
        self._configs = configs
        self._changes = changes
        self._scales = scales
        self._sharing = sharing
        self._due: defaultdict[str, Due] = defaultdict(Due)
        self._setups: dict[str, dict[str, int]] = {}
        self._seen_labels: dict[str, list[str]] = {}
        self._closing = threading.Event()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self.lock = threading.RLock()
        """Held while rolling; hold it to change scales."""
        self.stats = RollerStats()
        self._versions = rolled.Versions(store)
        self._profiles = HourProfiles(store, scales, self._versions)

    def start(self) -> None:
        """Begin to roll: first what a stopped server left behind, then what changes."""
        self._thread = threading.Thread(target=self._work, name="upshot-roller", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Stop after the statement that is running; what is left is found again at the next start."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def wake(self) -> None:
        """Look soon for what changed besides the rows: labels, configurations."""
        self._woken.set()

    def next_version(self) -> int:
        """A version later than every earlier one, for rows written beside the roller."""
        return self._versions.next()

    def reconcile(self, model: str | None = None) -> int:
        """Find every hour whose roll-up does not cover what is stored; returns how many are now due."""
        with self.lock:
            found = 0
            for name in [model] if model is not None else self._served.models():
                table = self._served.table(name)
                if table is None:
                    continue
                due = self._due[name]
                due.served |= rolled.stale_served(self._store, name, table)
                due.served |= rolled.off_scale(self._store, name, self._scales.read(name))
                due.served |= rolled.without_vectors(self._store, name)
                self._labels(name, fresh=True)
                self._setups[name] = self._setups_of(name)
                for label, setup in self._setups[name].items():
                    due.labels[label] |= rolled.stale_label(self._store, name, table, label, setup)
                found += len(due.hours())
            return found

    def roll(self, max_chunks: int | None = None) -> int:
        """Roll everything that is due now, or some of it; returns the number of hours. For the thread, and for whoever cannot wait.

        While changes keep coming, "everything" has no end: the thread rolls a chunk at a time and rests in between.
        """
        done = chunks = 0
        while not self._closing.is_set() and (max_chunks is None or chunks < max_chunks):
            chunks += 1
            with self.lock:
                self._take()
                model = next((model for model, due in self._due.items() if due.hours()), None)
                if model is None:
                    break
                due = self._due.pop(model)
                try:
                    done += self._roll_chunk(model, due)
                except StoreError as error:
                    self.stats.failures += 1
                    hours = due.hours()
                    self._changes.put_back(Changed(model, hour, hour in due.served, outcomes=True) for hour in hours)
                    _log.error("%d hours could not be rolled up (code %d); trying again", len(hours), error.code)
                    break
                if due.hours():
                    self._due[model].add(due)
        return done

    def _work(self) -> None:
        try:
            self.reconcile()
        except StoreError as error:
            self.stats.failures += 1
            _log.error("could not look for hours to roll up (code %d)", error.code)
        looked, rest = time.monotonic(), OTHERS_S
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                if self._sharing is not None and not self._sharing.is_first():
                    self._changes.take()  # the one that rolls finds them in the store
                    self._closing.wait(IDLE_S)
                    continue
                if self._sharing is not None and began - looked > rest:
                    self.reconcile()
                    looked = time.monotonic()
                    rest = max(OTHERS_S, (looked - began) / OTHERS_DUTY)
                self.roll(max_chunks=1)
            except Exception:  # noqa: BLE001  # nobody would notice that this thread died; answers would grow old
                self.stats.failures += 1
                _log.exception("rolling up failed; trying again")
            took = time.monotonic() - began
            self.stats.seconds += took
            duty = DUTY if self._is_behind() else AGAIN_DUTY
            self._closing.wait(max(IDLE_S, took / duty - took))
            while not (self._closing.is_set() or self._woken.is_set() or self._is_behind()):
                if self._changes.wait(timeout_s=IDLE_S) or self._sharing is not None:
                    break
            self._woken.clear()

    @property
    def behind(self) -> int:
        """Hours that wait to be rolled up, those noted and not looked at yet included. Does not wait for a roll-up that runs."""
        return sum(len(due.hours()) for due in list(self._due.values())) + self._changes.waiting

    def _is_behind(self) -> bool:
        with self.lock:
            return any(due.hours() for due in self._due.values())

    def _take(self) -> None:
        changes = self._changes.take()
        for model in {changed.model for changed in changes if changed.outcomes}:
            self._labels(model, fresh=True)
        for changed in changes:
            if self._served.table(changed.model) is None:
                continue
            due = self._due[changed.model]
            if changed.served:
                due.served.add(changed.hour)
            for label in self._labels(changed.model):
                due.labels[label].add(changed.hour)
        for model in self._models_set_up_anew():
            self.reconcile(model)

    def _models_set_up_anew(self) -> list[str]:
        """Models with a label that is new, or whose configuration the stored sums do not fit any more."""
        return [model for model in self._served.models() if self._setups.get(model) != self._setups_of(model)]

    def _setups_of(self, model: str) -> dict[str, int]:
        config = self._configs.get(model)
        return {label: performance.setup(config, label) for label in self._labels(model)}

    def _labels(self, model: str, *, fresh: bool = False) -> list[str]:
        """The labels that are configured, or were ever seen."""
        if fresh or model not in self._seen_labels:
            self._seen_labels[model] = rolled.seen_labels(self._store, model)
        return list(dict.fromkeys([*self._configs.get(model).labels, *self._seen_labels[model]]))

    def _roll_chunk(self, model: str, due: Due) -> int:
        """Roll the latest of the due hours and take them out of ``due``; the latest, because pages show those."""
        table = self._served.table(model)
        if table is None:
            return 0
        chunk = rolled.newest_chunk(self._store, table, due.hours(), ROWS_PER_CHUNK, HOURS_PER_CHUNK)
        served = [hour for hour in chunk if hour in due.served]
        if served:
            self._roll_served(model, table, served)
        for label, hours in due.labels.items():
            of_label = [hour for hour in chunk if hour in hours]
            if of_label:
                self._roll_label(model, table, label, of_label)
        due.remove(chunk)
        self._due[model].served |= self._profiles.off_scale.pop(model, set())
        self.stats.statements += self._profiles.statements
        self.stats.repinned_scales += self._profiles.repinned_scales
        self._profiles.statements = self._profiles.repinned_scales = 0
        self.stats.hours += len(chunk)
        self.stats.revision += 1
        return len(chunk)

    def _settled(self, covers: rolled.Covers) -> rolled.Covers:
        """Where others write too, a row with an earlier stamp may still come: only what is settled counts as covered."""
        if self._sharing is None:
            return covers
        settled_us = to_micros(self._sharing.settled_until())
        return [(*one[:3], min(one[3], settled_us), min(one[4], settled_us)) for one in covers]

    def _roll_served(self, model: str, table: str, hours: Sequence[datetime]) -> None:
        covers = self._settled(rolled.covered_by_served(self._store, table, hours))
        columns = served_columns(model, self._served, self._configs.get(model))
        source = f"(SELECT * FROM {table} FINAL WHERE {_HOURS})"
        params: dict[str, object] = {"names": names_parameter(columns)}
        # Before the profiles: what those say of vectors is then there.
        self._profiles.roll_vectors(model, columns, hours, source, params)
        self._profiles.roll(model, columns, hours, source, params)
        self._profiles.roll_maps(model, hours, source)
        rolled.note(self._store, model, PROFILES, covers, 0, self._versions.next())

    def _roll_label(self, model: str, table: str, label: str, hours: Sequence[datetime]) -> None:
        config = self._configs.get(model)
        setup = performance.setup(config, label)
        covers = self._settled(rolled.covered_by_label(self._store, model, table, label, hours))
        columns = label_columns(label, config)
        before = self._versions.next()
        source = _LABELLED.format(
            hours=_HOURS, table=table, identity=activation.IDENTITY, counts=activation.counts(_HOURS)
        )
        self._profiles.roll(model, columns, hours, source, {"label": label})
        statement = performance.hours_statement(config, label, table, _HOURS)
        self._store.command(
            f"INSERT INTO performance_sums ({', '.join(statement.columns)}, version)\n"
            f"SELECT {', '.join(statement.columns)}, {{version:UInt64}} FROM (\n{statement.sql})",
            {
                **statement.params,
                "model": model,
                "label": label,
                "hours": list(hours),
                "version": self._versions.next(),
                "setup": setup,
            },
        )
        self.stats.statements += 1
        for cleared in (_NO_LABELS, _NO_PERFORMANCE):
            self._store.command(
                cleared,
                {
                    "model": model,
                    "label": label,
                    "hours": list(hours),
                    "before": before,
                    "version": self._versions.next(),
                },
            )
        rolled.note(self._store, model, f"label:{label}", covers, setup, self._versions.next())
