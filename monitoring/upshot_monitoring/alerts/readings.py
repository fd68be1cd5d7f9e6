"""What each name of the rules' language is worth now: one number out of an answer of drift, performance or the operators' pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from upshot_joiner.clock import EPOCH, Clock
from upshot_joiner.config import ModelConfig
from upshot_joiner.errors import Problem
from upshot_joiner.join.silence import Silence
from upshot_monitoring.alerts.evaluate import Reading
from upshot_monitoring.alerts.expression import Value
from upshot_monitoring.alerts.names import metric_of, window_of
from upshot_monitoring.drift.baselines import Asked as DriftAsked
from upshot_monitoring.drift.baselines import Baseline
from upshot_monitoring.drift.describe import key_of
from upshot_monitoring.performance.answers import Asked as PerformanceAsked

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MEASURED_OVER = timedelta(days=7)
"""So much of the newest matured rows a metric is of, unless a rule says ``window``."""
MOST_COLUMNS = 5


@dataclass(frozen=True)
class Answers:
    """Where the numbers come from. Each may raise Problem (not known) and StoreError (the store is away)."""

    drift: Callable[[str, DriftAsked], dict[str, Any]]
    skew: Callable[[str, DriftAsked], dict[str, Any]]
    freshness: Callable[[str, DriftAsked], dict[str, Any]]
    performance: Callable[[str, PerformanceAsked], dict[str, Any]]
    served_hours: Callable[[str, datetime, str | None], tuple[datetime, datetime] | None]
    """First and last hour of predictions, up to a moment, of a version."""
    primary_label: Callable[[str], str]
    silences: Callable[[str], Mapping[str, Silence]]
    traffic: Callable[[str], Mapping[str, tuple[datetime, Mapping[datetime, int]]]]
    """Per version: when its last prediction was received, and how many were made in each hour."""
    lag: Callable[[], dict[str, Any]]
    """As in ``GET /v1/status``."""
    writers: Callable[[str], dict[str, Any]]
    """The totals of ``GET /v1/writers`` for a model."""
    multivariate: Callable[[str], list[dict[str, Any]]] = lambda _: []
    """The kept verdicts of multivariate methods on the newest closed window."""


@dataclass
class Readings:
    """Reads the values of one model at one moment; answers that several values come from are asked for once."""

    model: str
    config: ModelConfig
    answers: Answers
    clock: Clock
    _asked: dict[Any, Any] = field(default_factory=dict)

    def read(self, of: Value) -> Reading:
        """One value. What cannot be known is a reading that says why; raises StoreError alone."""
        try:
            return self._read(of)
        except Problem as problem:
            return Reading(None, problem.title)

    def _read(self, of: Value) -> Reading:
        metric = metric_of(of.name)
        if metric is not None:
            return self._performance(of, *metric)
        part, _, what = of.name.partition(".")
        if of.name == "drift.multivariate":
            return self._multivariate()
        if part in ("drift", "skew"):
            return self._drift(of, cast(Literal["drift", "skew"], part), what)
        if part == "freshness":
            return self._freshness(of, what)
        if of.name == "labels.base_rate":
            return self._performance(of, "base_rate", "")
        if of.name == "labels.coverage":
            answer, window = self._measured(of)
            overall = answer["overall"]
            reason = "no matured rows" if overall["coverage"] is None else ""
            return Reading(overall["coverage"], reason, overall["matured"], window, is_of_rows=True)
        if of.name == "labels.silence":
            return self._silence(of)
        if part == "traffic":
            return self._traffic(of, what)
        if part == "lag":
            return self._lag(what)
        totals = self._once("writers", lambda: self.answers.writers(self.model))
        return Reading(float(totals["unexplained"] if what == "unexplained" else totals["states"]["lossy"]))

    def _drift(self, of: Value, which: Literal["drift", "skew"], what: str) -> Reading:
        window = of.option("window")
        baseline = cast(Baseline | None, of.option("baseline"))
        asked = DriftAsked(
            window=window_of(window) if window else None, version=of.option("version"), baseline=baseline
        )
        ask = self.answers.drift if which == "drift" else self.answers.skew
        answer = self._once((which, asked), lambda: ask(self.model, asked))
        span = (answer["window"]["start"], answer["window"]["end"])
        columns = tuple(row["feature"] for row in answer["features"] if row["verdict"] == "drift")[:MOST_COLUMNS]
        if what in ("share", "count"):
            rows = max((row["rows_current"] or 0 for row in answer["features"]), default=0)
            if not answer["judged"]:
                why = answer["note"] or next((row["reason"] for row in answer["features"] if row["reason"]), "no rows")
                return Reading(None, f"no verdict on any feature: {why}", rows, span)
            value = answer["drifted_share"] if what == "share" else float(answer["drifted"])
            return Reading(value, "", rows, span, columns)
        role, feature = of.option("role") or "feature", of.option("feature")
        row = next(
            (one for one in answer["features"] if key_of(one)[0] == role and feature in (None, key_of(one)[1])), None
        )
        if row is None:
            return Reading(None, "no such column in the window or its baseline", None, span)
        named = (row["feature"],) if row["verdict"] == "drift" else ()
        if row["verdict"] == "no_verdict":
            return Reading(None, f"no verdict: {row['reason'] or 'not said why'}", row["rows_current"], span)
        value = {"statistic": row["statistic"], "p_value": row["adjusted_p_value"], "verdict": row["verdict"]}[what]
        reason = "" if value is not None else row["reason"] or "it has no statistic"
        return Reading(value, reason, row["rows_current"], span, named)

    def _freshness(self, of: Value, what: str) -> Reading:
        window = of.option("window")
        asked = DriftAsked(window=window_of(window) if window else None, version=of.option("version"))
        answer = self._once(("freshness", asked), lambda: self.answers.freshness(self.model, asked))
        span = (answer["window"]["start"], answer["window"]["end"])
        row = next((one for one in answer["features"] if one["feature"] == of.option("feature")), None)
        if row is None or row["age_s"] is None:
            return Reading(None, "no value of this feature in the window says when it was computed", None, span)
        if what == "stale" and row["stale_share"] is None:
            return Reading(None, "the feature has no max_age", row["rows"], span)
        value = row["stale_share"] if what == "stale" else row["age_s"][what]
        return Reading(float(value), "", round(row["rows"] * row["with_time_share"]), span, (row["feature"],))

    def _multivariate(self) -> Reading:
        if not self.config.drift.multivariate:
            return Reading(None, "drift.multivariate is not configured")
        rows = self._once("multivariate", lambda: self.answers.multivariate(self.model))
        if not rows:
            return Reading(None, "no closed window was judged yet")
        span = (rows[0]["window_start"], rows[0]["window_end"])
        decided = [row for row in rows if row["verdict"] != "no_verdict"]
        if not decided:
            return Reading(None, f"no verdict: {rows[0]['reason'] or 'not said why'}", rows[0]["rows_current"], span)
        drifted = tuple(row["feature"] for row in decided if row["verdict"] == "drift")
        return Reading(float(len(drifted)), "", rows[0]["rows_current"], span, drifted)

    def _performance(self, of: Value, metric: str, end: str) -> Reading:
        answer, window = self._measured(of)
        overall = answer["overall"]
        rows = overall["matured"] - overall["censored"]
        value = overall["metrics"].get(metric)
        if end:
            ends = overall["intervals"].get(metric)
            value = None if ends is None else ends[0 if end == "low" else 1]
        if value is None or not math.isfinite(value):
            reason = "no matured rows" if not rows else "the metric is not defined on these rows"
            return Reading(None, reason, rows, window)
        return Reading(float(value), "", rows, window, is_of_rows=True)

    def _measured(self, of: Value) -> tuple[dict[str, Any], tuple[datetime, datetime]]:
        """The answer about the newest rows whose windows have closed. Raises :class:`Problem` where none were served."""
        label = of.option("label") or self._once("label", lambda: self.answers.primary_label(self.model))
        version, window = of.option("version"), of.option("window")
        length = (window_of(window) if window else None) or MEASURED_OVER
        now = self.clock.now()
        served = self._once(("served", version), lambda: self.answers.served_hours(self.model, now, version))
        if served is None:
            raise Problem(404, "nothing_served", "nothing was served")
        # Days of a longer window, hours of a shorter one: an answer is made of such steps.
        by = DAY if length >= 2 * DAY else HOUR
        last = min(now - self.config.label(label).window, served[1] + HOUR)
        until = EPOCH + (last - EPOCH) // by * by
        if until < last and until < served[1] + HOUR:
            until += by  # what is not matured in it does not count
        start = max(EPOCH, until - length)
        if start >= until:
            raise Problem(404, "nothing_matured", "no matured rows")
        asked = PerformanceAsked(label, start, until, by, version, of.option("segment"), all_metrics=True)
        answer = self._once(("performance", asked), lambda: self.answers.performance(self.model, asked))
        # What is told is the range that counts: the last step may be matured in part.
        return answer, (answer["start"], max(answer["start"], min(answer["end"], answer["matured_until"])))

    def _silence(self, of: Value) -> Reading:
        label = of.option("label") or self._once("label", lambda: self.answers.primary_label(self.model))
        silences = self._once("silences", lambda: self.answers.silences(self.model))
        goes_on = silences[label].goes_on if label in silences else None
        now = self.clock.now()
        if goes_on is None:
            return Reading(0.0)
        return Reading(max(0.0, (now - goes_on.since).total_seconds()), "", None, (goes_on.since, now))

    def _traffic(self, of: Value, what: str) -> Reading:
        version, window = of.option("version"), of.option("window")
        served = self._once("traffic", lambda: self.answers.traffic(self.model))
        chosen = {name: one for name, one in served.items() if version in (None, name)}
        now = self.clock.now()
        if what == "silence":
            if not chosen:
                return Reading(None, "nothing was served")
            last = max(seen for seen, _ in chosen.values())
            return Reading(max(0.0, (now - last).total_seconds()), "", None, (last, max(last, now)))
        end = EPOCH + (now - EPOCH) // HOUR * HOUR
        start = end - ((window_of(window) if window else None) or HOUR)
        count = sum(n for _, by_hour in chosen.values() for hour, n in by_hour.items() if start <= hour < end)
        return Reading(float(count), "", None, (start, end))

    def _lag(self, what: str) -> Reading:
        lag = self._once("lag", self.answers.lag)
        if what == "intake":
            return Reading(float(lag["intake"]["waiting"]))
        if what == "roll_ups":
            return Reading(float(sum(lag["roll_ups"].values())))
        behind = [one["behind_s"] for one in lag["processes"]]
        if any(one is None for one in behind):
            return Reading(None, "a process has not said yet how far it is behind")
        return Reading(float(max([lag["join"]["oldest_waiting_s"] or 0.0, *behind])))

    def _once(self, key: Any, ask: Callable[[], Any]) -> Any:
        """An answer, or the problem that it was: each is asked for once."""
        if key not in self._asked:
            try:
                self._asked[key] = ask()
            except Problem as problem:
                self._asked[key] = problem
        found = self._asked[key]
        if isinstance(found, Problem):
            raise found
        return found
