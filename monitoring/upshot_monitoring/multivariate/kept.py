"""Multivariate verdicts on closed windows, for models that are configured so: kept beside those on features.

A window is judged once, some minutes after it closed, all versions together; again only where late rows came and there was no
verdict. It is the first server that asks, and its queue that judges; what a stopped server left is asked for again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from upshot_joiner.clock import EPOCH, Clock, to_micros
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import Problem, StoreError
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_joiner.writers.arrivals import Sharing
from upshot_monitoring.drift.baselines import id_in
from upshot_monitoring.drift.kept import REVISIONS, AskedKept, KeptVerdicts, block
from upshot_monitoring.kept_jobs import Job
from upshot_monitoring.multivariate.jobs import MultivariateDrifts
from upshot_monitoring.multivariate.question import Question

_log = logging.getLogger("upshot.monitoring")

ROLE = "multivariate"
EVERY_S = 60.0
GRACE = timedelta(minutes=5)
"""After a window closed: its last rows are on their way."""
WINDOWS = 4
"""So many windows back are judged where they were not, as after a pause; each costs seconds."""

_JUDGED = """
SELECT toUInt64(intDiv(toUnixTimestamp(window_start), {length_s:UInt64})) AS number, groupUniqArray(feature), max(revision),
  max(verdict != 'no_verdict')
FROM drift_verdicts
WHERE model = {model:String} AND role = 'multivariate' AND window_start >= {start:DateTime('UTC')}
  AND toUnixTimestamp(window_end) - toUnixTimestamp(window_start) = {length_s:UInt64} GROUP BY number
"""


class KeptMultivariate:
    """Asks for the verdicts, and keeps them. Every method may be called from any thread."""

    def __init__(
        self,
        store: Store,
        served: ServedTables,
        configs: ConfigStore,
        drifts: MultivariateDrifts,
        verdicts: KeptVerdicts,
        clock: Clock,
        sharing: Sharing | None = None,
    ) -> None:
        self._store = store
        self._served = served
        self._configs = configs
        self._drifts = drifts
        self._verdicts = verdicts
        self._clock = clock
        self._sharing = sharing
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        drifts.keep = self._keep

    def start(self) -> None:
        """Begin to look for windows that closed."""
        self._thread = threading.Thread(target=self._work, name="upshot-multivariate-verdicts", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; what was not judged is judged after the next start."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def give(self, model: str) -> int:
        """Ask for the verdicts on the closed windows of a model that have none; returns how many were asked for."""
        drift = self._configs.get(model).drift
        if not drift.multivariate or self._served.table(model) is None:
            return 0
        length = max(drift.window, timedelta(hours=1))
        length_s = int(length.total_seconds())
        last = int((self._clock.now() - GRACE - EPOCH).total_seconds()) // length_s
        params = {
            "model": model,
            "length_s": length_s,
            "start": EPOCH + max(0, last - WINDOWS) * length,
            "end": EPOCH + last * length,
        }
        with self._lock:
            judged = {number: rest for number, *rest in self._store.query(_JUDGED, params)}
            waiting = {
                (one.asked.start, one.asked.end) for one in self._drifts.waiting(model) if one.revision is not None
            }
            asked = 0
            for number, revision in sorted(self._store.query(REVISIONS, params), reverse=True):
                start = EPOCH + number * length
                methods, seen, is_judged = judged.get(number, ([], 0, False))
                has_all = set(drift.multivariate) <= set(methods)
                if (start, start + length) in waiting or (has_all and (is_judged or revision <= seen)):
                    continue
                request = {
                    "start": start.isoformat(),
                    "end": (start + length).isoformat(),
                    "methods": list(drift.multivariate),
                    "revision": int(revision),
                }
                self._drifts.submit(model, request)
                asked += 1
            return asked

    def newest(self, model: str) -> list[dict[str, Any]]:
        """The verdicts of the configured methods on the newest window that was judged, of the last few; empty without any."""
        drift = self._configs.get(model).drift
        length = max(drift.window, timedelta(hours=1))
        now = self._clock.now()
        asked = AskedKept(start=now - (WINDOWS + 1) * length, end=now, role=ROLE)
        rows = [one for one in self._verdicts.read(model, asked) if one["feature"] in drift.multivariate]
        return [one for one in rows if one["window_end"] == rows[0]["window_end"]]

    def _keep(self, job: Job, question: Question, result: Mapping[str, Any] | None, error: str) -> None:
        """Write down the verdicts that a comparison came to; a comparison that failed is no verdict, and says why."""
        start, end = question.asked.start, question.asked.end
        assert start is not None and end is not None  # noqa: S101, PT018  # as asked for above
        known = {one["method"]: one for one in result["methods"]} if result else {}
        baseline_id = id_in(result["baseline_detail"]) if result else ""
        drift = self._configs.get(job.model).drift
        rows = []
        for method in question.methods:
            one = known.get(method, {})
            rows.append(
                {
                    "model": job.model,
                    "model_version": "",
                    "window_start": start,
                    "window_end": end,
                    "role": ROLE,
                    "feature": method,
                    "kind": ROLE,
                    "baseline": result["baseline"] if result else drift.baseline,
                    "baseline_id": baseline_id,
                    "method": method,
                    "threshold": question.thresholds[method],
                    "direction": "above",
                    "statistic": one.get("statistic"),
                    "p_value": one.get("p_value"),
                    "adjusted_p_value": one.get("adjusted_p_value"),
                    "false_discovery_rate": drift.false_discovery_rate,
                    "tested": result["false_discovery"]["tested"] if result else 0,
                    "verdict": one.get("verdict", "no_verdict"),
                    "reason": one.get("reason") or error or "",
                    "rows_reference": result["rows"]["reference"] if result else 0,
                    "rows_current": result["rows"]["current"] if result else 0,
                    "revision": question.revision,
                }
            )
        self._store.insert("drift_verdicts", block(rows, to_micros(self._clock.now())))

    def _work(self) -> None:
        while not self._closing.wait(EVERY_S):
            try:
                if self._sharing is not None and not self._sharing.is_first():
                    continue
                for model in self._served.models():
                    if not self._closing.is_set():
                        self.give(model)
            except StoreError as error:
                _log.error("multivariate verdicts could not be asked for (code %d); trying again", error.code)
            except Problem as problem:
                _log.error("multivariate verdicts could not be asked for: %s", problem.title)
            except Exception:  # noqa: BLE001  # nobody would notice that this thread died
                _log.exception("asking for multivariate verdicts failed; trying again")
