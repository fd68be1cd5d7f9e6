"""Monitoring as one object: the thread that rolls up, and everything that can be asked."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from upshot_joiner.changes import ChangedHours
from upshot_joiner.clock import Clock
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import StoreError, unknown_model
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_joiner.writers.arrivals import Sharing
from upshot_monitoring.drift.answers import Drift
from upshot_monitoring.drift.baselines import Asked as DriftAsked
from upshot_monitoring.drift.baselines import Baselines
from upshot_monitoring.drift.exact.verification import Verification
from upshot_monitoring.drift.kept import AskedKept, KeptVerdicts
from upshot_monitoring.multivariate.jobs import MultivariateDrifts
from upshot_monitoring.multivariate.kept import KeptMultivariate
from upshot_monitoring.multivariate.prepare import Preparation as MultivariatePreparation
from upshot_monitoring.multivariate.question import Question as MultivariateQuestion
from upshot_monitoring.performance.answers import Asked as PerformanceAsked
from upshot_monitoring.performance.answers import Performance
from upshot_monitoring.performance.compare import Comparison
from upshot_monitoring.performance.estimates.kept import DAY, KeptEstimates, of_all
from upshot_monitoring.policy.answers import Asked as PolicyAsked
from upshot_monitoring.policy.answers import Policies
from upshot_monitoring.profiles import rolled
from upshot_monitoring.profiles.references import References
from upshot_monitoring.profiles.roller import Roller
from upshot_monitoring.profiles.scales import Scales
from upshot_monitoring.reports.prepare import Preparation
from upshot_monitoring.reports.reports import Reports
from upshot_monitoring.row_skew.jobs import RowSkews
from upshot_monitoring.row_skew.rule import read_rule
from upshot_monitoring.row_skew.served_rows import served_rows
from upshot_monitoring.row_skew.table import Form

REPORT_CHUNKS = 50
"""How much of a backlog of roll-ups a report waits for."""
HEALTH_FOR_S = 15.0
"""How long the health of a model is taken as known."""


class Monitor:
    """Everything about monitoring. Every method may be called from any thread.

    Questions about a model that neither served nor was configured raise a 404 :class:`~upshot_joiner.errors.Problem`.
    """

    def __init__(
        self,
        *,
        store: Store,
        served: ServedTables,
        configs: ConfigStore,
        changes: ChangedHours,
        clock: Clock,
        data_dir: Path,
        sharing: Sharing | None = None,
        owner: str = "",
    ) -> None:
        store.migrate("upshot_monitoring.schema")
        self._store = store
        self._served = served
        self._configs = configs
        scales = Scales(store)
        self._roller = Roller(store, served, configs, changes, scales, sharing)
        self._references = References(store, scales, self._roller, clock, data_dir / "references")
        baselines = Baselines(store, scales, self._references, configs, clock)
        self._drift = Drift(store, scales, baselines, configs, clock)
        self._verification = Verification(store, served, configs, self._references, baselines)
        self._kept = KeptVerdicts(store, served, configs, self._drift, clock, sharing)
        self._performance = Performance(store, served, configs, clock)
        self._estimates = KeptEstimates(
            store,
            served,
            configs,
            clock,
            lambda model, label, start, end: self._performance.answer(model, PerformanceAsked(label, start, end)),
            sharing.is_first if sharing is not None else lambda: True,
        )
        self._comparison = Comparison(store, served, configs, clock)
        self._policies = Policies(store, served, configs, clock)
        preparation = Preparation(store, served, configs, self._references, self._drift, baselines)

        def prepare(model: str, request: dict[str, Any], folder: Path) -> dict[str, Any]:
            # A feature whose hours wait to be rolled up (anew, when a reference has just set its scale) has no statistic.
            self._roller.roll(max_chunks=REPORT_CHUNKS)
            return preparation.prepare(model, request, folder)

        self._reports = Reports(store, clock, data_dir / "reports", prepare, owner=owner)
        sampling = MultivariatePreparation(store, served, configs, self._references, baselines)

        def sample(model: str, question: MultivariateQuestion, folder: Path) -> dict[str, Any]:
            self._roller.roll(max_chunks=REPORT_CHUNKS)  # the newest window is the newest that is rolled up
            return sampling.prepare(model, question, folder)

        self._multivariate = MultivariateDrifts(store, configs, clock, data_dir / "multivariate", sample, owner=owner)
        self._kept_multivariate = KeptMultivariate(
            store, served, configs, self._multivariate, self._kept, clock, sharing
        )
        self._row_skews = RowSkews(store, served, clock, data_dir / "row_skews", owner=owner)
        self._health: dict[str, tuple[float, dict[str, Any]]] = {}
        self._health_lock = threading.Lock()

    def start(self) -> None:
        """Begin to roll up and to make reports."""
        self._references.clean_up()
        self._roller.start()
        self._kept.start()
        self._reports.start()
        self._row_skews.start()
        self._multivariate.start()
        self._kept_multivariate.start()
        self._estimates.start()

    def stop(self) -> None:
        """Stop both; nothing that is stored is lost, what is not rolled up is found again at the next start."""
        self._kept.stop()
        self._estimates.stop()
        self._kept_multivariate.stop()
        self._multivariate.stop()
        self._row_skews.stop()
        self._reports.stop()
        self._roller.stop()

    def roll(self) -> int:
        """Roll up everything that is due, now; returns the number of hours."""
        return self._roller.roll()

    def reconcile(self) -> int:
        """Look for hours whose roll-up does not cover what is stored; returns how many are due."""
        return self._roller.reconcile()

    def configured(self, model: str) -> None:
        """A model's configuration changed: what depends on it is rolled up again."""
        self._roller.wake()
        with self._health_lock:
            self._health.pop(model, None)

    @property
    def behind(self) -> int:
        """Hours that wait to be rolled up."""
        return self._roller.behind

    def stats(self) -> dict[str, float]:
        """Counters since the start, for ``/metrics``."""
        return asdict(self._roller.stats)

    def drift(self, model: str, asked: DriftAsked, *, exact: bool = False) -> dict[str, Any]:
        """Serving now against the baseline, per feature; with ``exact``, each number beside that of all rows."""
        self._known(model)
        answer = self._drift.drift(model, asked)
        if exact:
            self._verification.verify(model, asked, answer["features"])
        return answer

    def skew(self, model: str, asked: DriftAsked, *, exact: bool = False) -> dict[str, Any]:
        """Serving now against training, per feature; with ``exact``, each number beside that of all rows."""
        self._known(model)
        answer = self._drift.skew(model, asked)
        if exact:
            self._verification.verify(model, asked, answer["features"])
        return answer

    def feature(
        self, model: str, name: str, asked: DriftAsked, role: str | None = None, *, exact: bool = False
    ) -> dict[str, Any]:
        """One feature: its trend and distribution; with ``exact``, its number beside that of all rows."""
        self._known(model)
        answer = self._drift.feature(model, name, asked, role)
        if exact:
            # Of the same question as the distribution "now"; the start is that of the trend.
            self._verification.verify(model, replace(asked, start=None), [answer])
        return answer

    def freshness(self, model: str, asked: DriftAsked) -> dict[str, Any]:
        """How old feature values were when they were served."""
        self._known(model)
        return self._drift.freshness(model, asked)

    def attributions(self, model: str, asked: DriftAsked) -> dict[str, Any]:
        """What each feature contributed, and whether their ranking is what it was."""
        self._known(model)
        return self._drift.attributions(model, asked)

    def give_verdicts(self, model: str) -> int:
        """Judge what closed and was not judged yet, now; returns the number of verdicts."""
        return self._kept.give(model)

    def verdicts(self, model: str, asked: AskedKept) -> list[dict[str, Any]]:
        """What was said about closed windows, as it was said."""
        self._known(model)
        return self._kept.read(model, asked)

    def make_multivariate(self, model: str, request: dict[str, Any]) -> dict[str, Any]:
        """Ask for a comparison of all features together."""
        self._known(model)
        return self._multivariate.submit(model, request)

    def multivariates(self, model: str) -> list[dict[str, Any]]:
        """The comparisons of a model, newest first."""
        self._known(model)
        return self._multivariate.list(model)

    def multivariate(self, id_: str) -> dict[str, Any]:
        """One comparison."""
        return self._multivariate.get(id_)

    def multivariate_code(self, id_: str, url: str) -> str:
        """The lines of Python that make a comparison again."""
        return self._multivariate.code(id_, url)

    def multivariate_file(self, id_: str, name: str) -> Path:
        """The numbers that a method learnt from and judged."""
        return self._multivariate.file(id_, name)

    def give_multivariate(self, model: str) -> int:
        """Ask for the verdicts on what closed and has none, now; returns how many windows."""
        return self._kept_multivariate.give(model)

    def newest_multivariate(self, model: str) -> list[dict[str, Any]]:
        """The multivariate verdicts on the newest closed window that has any."""
        return self._kept_multivariate.newest(model)

    def performance(self, model: str, asked: PerformanceAsked) -> dict[str, Any]:
        """Metrics by window on matured rows."""
        self._known(model)
        answer = self._performance.answer(model, asked)
        if asked.window == DAY and asked.version is None and asked.segment is None:
            days = self._estimates.of_days(model, answer["label"], answer["start"], answer["end"])
            for window in answer["windows"]:
                if window["start"] in days:
                    window["estimate_was"] = days[window["start"]]
            answer["estimates_were"] = of_all(days)
        return answer

    def keep_estimates(self, model: str) -> int:
        """Keep what is estimated of days that have ended, and score what was; returns how many numbers were written."""
        return self._estimates.keep(model)

    def compare(
        self,
        model: str,
        a: str,
        b: str,
        label: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> dict[str, Any]:
        """Two versions on the same requests."""
        self._known(model)
        return self._comparison.answer(model, a, b, label, start, end)

    def policy(self, model: str, asked: PolicyAsked) -> dict[str, Any]:
        """What other policies would have earned."""
        self._known(model)
        return self._policies.answer(model, asked)

    def references(self, model: str) -> list[dict[str, Any]]:
        """The references of a model, newest first."""
        return [reference.describe() for reference in self._references.of_model(model)]

    def add_reference(self, model: str, file: Path, model_version: str = "") -> dict[str, Any]:
        """Keep a Parquet file as a reference; the model need not have served yet. Raises a 422 :class:`Problem`."""
        config = self._configs.get(model)
        labels = {*config.labels, *rolled.seen_labels(self._store, model)}
        if config.primary_label:
            labels.add(config.primary_label)
        return self._references.add(model, file, config, labels, model_version).describe()

    def make_report(self, model: str, request: dict[str, Any]) -> dict[str, Any]:
        """Ask for an Evidently report; ``request`` holds the parameters of ``/drift``."""
        self._known(model)
        return self._reports.submit(model, request)

    def reports(self, model: str) -> list[dict[str, Any]]:
        """The reports of a model, newest first."""
        return self._reports.list(model)

    def report(self, report_id: str) -> dict[str, Any]:
        """One report."""
        return self._reports.get(report_id)

    def report_html(self, report_id: str) -> Path:
        """The page of one report; never to be shown with the rights of our own pages."""
        return self._reports.html(report_id)

    def report_code(self, report_id: str, url: str) -> str:
        """The lines of Python that make a report again."""
        return self._reports.code(report_id, url)

    def report_file(self, report_id: str, name: str) -> Path:
        """One of the files that a report was made from."""
        return self._reports.file(report_id, name)

    def served_rows(
        self, model: str, *, start: datetime | None, end: datetime | None, version: str | None, limit: int, after: str
    ) -> dict[str, Any]:
        """A page of what a model served: who each row was about, and when."""
        self._known(model)
        return served_rows(
            self._store, self._served, model, start=start, end=end, version=version, limit=limit, after=after
        )

    def check_row_skew(self, model: str, request: dict[str, Any]) -> None:
        """Raise what :meth:`make_row_skew` would, as far as it can be known before the table is here."""
        self._known(model)
        read_rule(request)
        self._row_skews.check()

    def make_row_skew(self, model: str, file: Path, form: Form, request: dict[str, Any]) -> dict[str, Any]:
        """Ask for a comparison of a table of recomputed values with what was served."""
        self._known(model)
        return self._row_skews.submit(model, file, form, request)

    def row_skews(self, model: str) -> list[dict[str, Any]]:
        """The comparisons of a model, newest first."""
        self._known(model)
        return self._row_skews.list(model)

    def row_skew(self, id_: str) -> dict[str, Any]:
        """One comparison."""
        return self._row_skews.get(id_)

    def health(self, model: str) -> dict[str, Any]:
        """``status``: ok, warning (with ``reasons``) or unknown; at most 15 seconds old, and never an error."""
        now = time.monotonic()
        with self._health_lock:
            known = self._health.get(model)
            if known is not None and now - known[0] < HEALTH_FOR_S:
                return known[1]
        try:
            found = self._look_at(model)
        except StoreError:
            found = {"status": "unknown", "reasons": ["the store does not answer"]}
        with self._health_lock:
            self._health[model] = (now, found)
        return found

    def _look_at(self, model: str) -> dict[str, Any]:
        if self._served.table(model) is None:
            return {"status": "unknown", "reasons": ["nothing was served yet"]}
        answer = self._drift.drift(model, DriftAsked())
        if not answer["judged"]:
            return {"status": "unknown", "reasons": ["no feature can be judged yet"], "drifted_share": None}
        share = answer["drifted_share"]
        reasons = [f"{answer['drifted']} of {answer['judged']} features drifted"] if answer["drifted"] else []
        return {"status": "warning" if reasons else "ok", "reasons": reasons, "drifted_share": share}

    def _known(self, model: str) -> None:
        if (
            self._served.table(model) is None
            and model not in self._configs.models()
            and not self._references.of_model(model)
        ):
            raise unknown_model()
