"""What rules read: the numbers of the dashboard, and why one is not known."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.monitoring.alerts.conftest import WRITERS, real_answers
from tests.monitoring.conftest import DAY, HOUR, START, Flywheel, requests
from tests.monitoring.test_drift_answers import add_reference, serve_days
from tests.monitoring.test_freshness import ages, serve_ages
from upshot_joiner.feed.records import FeedRecords
from upshot_joiner.join.silence import Change
from upshot_monitoring.alerts.evaluate import Evaluation, Outcome
from upshot_monitoring.alerts.readings import Answers, Readings
from upshot_monitoring.alerts.rules import understood
from upshot_monitoring.performance.answers import Asked


def outcome(flywheel: Flywheel, text: str, answers: Answers | None = None, min_rows: int | None = None) -> Outcome:
    config = flywheel.configs.get(flywheel.model)
    readings = Readings(flywheel.model, config, answers or real_answers(flywheel), flywheel.clock)
    return Evaluation(readings.read).outcome(understood(text, config), min_rows)


def value(flywheel: Flywheel, text: str) -> Any:
    """The value that a name has."""
    [found] = outcome(flywheel, f"{text} >= 0").found
    return found.reading.value


def test_drift_is_that_of_the_dashboard_and_names_what_drifted_most(flywheel: Flywheel, tmp_path: Path) -> None:
    flywheel.clock.set(START + 3 * DAY + HOUR)
    add_reference(flywheel, tmp_path)
    serve_days(flywheel, [0, 0, 1.0])
    shared = outcome(flywheel, "drift.share > 0.3 and drift.count >= 1")
    assert shared.holds is True
    told = shared.describe()
    assert told["value"] == flywheel.monitor._drift.drift(flywheel.model, _asked())["drifted_share"]
    assert told["columns"][0] == "x"
    assert told["window"] == {"start": START + 2 * DAY, "end": START + 3 * DAY}
    assert outcome(flywheel, 'drift.verdict[feature="x"] == drift').holds is True
    assert outcome(flywheel, 'drift.verdict[feature="c"] == drift').holds is False
    assert value(flywheel, 'drift.statistic[feature="x"]') > 0.5
    assert outcome(flywheel, 'skew.p_value[feature="x"] < 0.01').holds is True
    before = outcome(flywheel, 'drift.statistic[feature="x", window=48h, version=1] > 0.9')
    assert before.holds is False, "of two days, one is shifted"


def _asked() -> Any:
    from upshot_monitoring.drift.baselines import Asked as DriftAsked

    return DriftAsked()


def test_what_has_no_verdict_is_not_known_and_says_why(flywheel: Flywheel) -> None:
    """No reference, too few rows, a column that there is not, a model that served nothing."""
    assert outcome(flywheel, "performance.roc_auc < 0.7").why_unknown == "nothing was served"
    flywheel.serve(requests(flywheel.model, [{"x": 1.0}] * 20, prediction=0.5))
    flywheel.roll()
    shared = outcome(flywheel, "drift.share > 0.3")
    assert shared.holds is None
    assert "no reference was uploaded" in shared.why_unknown
    missing = outcome(flywheel, 'drift.verdict[feature="weather"] == drift')
    assert (missing.holds, missing.why_unknown) == (None, "no such column in the window or its baseline")
    assert outcome(flywheel, "drift.share > 0.3 or traffic.predictions == 0").holds is True, "one part decides"


@pytest.fixture
def labelled(flywheel: Flywheel) -> Flywheel:
    """Four days of 100 predictions; labels of one day; scores that are right in Germany alone. The last day is not matured."""
    flywheel.configure(labels={"y": {"window": "1d"}}, primary_label="y", performance={"metrics": ["log_loss"]})
    flywheel.clock.set(START + 4 * DAY)
    values = {}
    for day in range(4):
        events = []
        for i in range(100):
            positive, german = i % 2, i % 4 < 2
            score = 0.9 if positive == german else 0.1
            id_ = f"{flywheel.model}-{day}-{i}"
            at = START + day * DAY + timedelta(minutes=10 * i)
            country = "DE" if german else "FR"
            events.append(
                {"request_id": id_, "features": {"country": country}, "prediction": score + i / 10_000, "at": at}
            )
            if i < 90:
                values[id_] = positive
        flywheel.serve(events, version=str(1 + day // 2))
    flywheel.label(values)
    flywheel.roll()
    return flywheel


def test_metrics_are_of_matured_rows_with_the_ends_of_their_interval(labelled: Flywheel) -> None:
    """Also one that is not among the metrics that the model shows."""
    auc = value(labelled, "performance.roc_auc")
    low, high = value(labelled, "performance.roc_auc.low"), value(labelled, "performance.roc_auc.high")
    answer = labelled.monitor.performance(
        labelled.model, Asked("y", START - 4 * DAY, START + 4 * DAY, timedelta(days=8), all_metrics=True)
    )
    assert auc == pytest.approx(answer["overall"]["metrics"]["roc_auc"], abs=1e-9)
    assert low < auc < high
    [found] = outcome(labelled, "performance.roc_auc < 1.1").found
    assert found.reading.rows == 300, "the rows of three days are matured"
    assert found.reading.window is not None
    assert found.reading.window[1] <= START + 4 * DAY


def test_metrics_of_a_segment_and_of_a_version_are_theirs(labelled: Flywheel) -> None:
    german = value(labelled, 'performance.roc_auc[segment="features.country=DE"]')
    french = value(labelled, 'performance.roc_auc[segment="features.country=FR"]')
    assert german > 0.99
    assert french < 0.01
    [of_one] = outcome(labelled, "performance.roc_auc[version=1] < 2").found
    assert of_one.reading.rows == 200
    nothing = outcome(labelled, "performance.roc_auc[version=7] < 2")
    assert nothing.holds is None


def test_coverage_and_base_rate(labelled: Flywheel) -> None:
    assert value(labelled, "labels.coverage") == pytest.approx(0.9)
    assert value(labelled, "labels.base_rate") == pytest.approx(0.5)
    assert outcome(labelled, "labels.coverage < 0.95").holds is True


def test_too_few_rows_are_not_enough(labelled: Flywheel) -> None:
    """100 unless a rule says otherwise; for what drifts, drift.min_rows unless a rule says otherwise."""
    few = outcome(labelled, "performance.roc_auc < 0.7", min_rows=301)
    assert (few.holds, few.why_unknown) == (None, "too few rows: 300, 301 needed")
    assert outcome(labelled, "performance.roc_auc < 2", min_rows=300).holds is True


def test_nothing_is_measured_before_anything_is_matured(labelled: Flywheel) -> None:
    labelled.clock.set(START + 12 * HOUR)
    found = outcome(labelled, "performance.roc_auc < 0.7")
    assert (found.holds, found.why_unknown) == (None, "no matured rows")


def test_a_silent_feed_is_seconds_of_silence(flywheel: Flywheel) -> None:
    flywheel.configure(labels={"y": {"window": "1d"}}, primary_label="y")
    assert value(flywheel, "labels.silence") == 0
    since = flywheel.clock.now() - 3 * HOUR
    records = FeedRecords(flywheel.store)

    class Ran:
        def __init__(self, made: Any) -> None:
            self._made = made

        def result(self) -> Any:
            return self._made

    records.append(
        flywheel.model, "y", Change("open", since, None, "operator", ""), flywheel.stamper, lambda work: Ran(work())
    )
    assert value(flywheel, "labels.silence[label=y]") == 3 * 3600
    assert outcome(flywheel, "labels.silence > 2h").holds is True


def test_lag_writers_and_traffic_are_those_of_the_operators_pages(flywheel: Flywheel) -> None:
    flywheel.clock.set(START + 2 * HOUR + timedelta(minutes=30))
    lag: dict[str, Any] = {
        "intake": {"waiting": 7},
        "join": {"oldest_waiting_s": 4.0},
        "roll_ups": {"profiles": 2, "labels": 3},
        "processes": [{"behind_s": 0.5}, {"behind_s": 90.0}],
    }
    totals = {**WRITERS, "unexplained": 12, "states": {"complete": 3, "waiting": 0, "lossy": 2}}
    hours = {START: 5, START + HOUR: 6, START + 2 * HOUR: 50}

    def nothing(*_: Any) -> Any:
        raise AssertionError

    answers = Answers(*(nothing,) * 7, lambda _: {"1": (START + 2 * HOUR, hours)}, lambda: lag, lambda _: totals)

    def read(text: str) -> Any:
        [found] = outcome(flywheel, f"{text} >= 0", answers).found
        return found.reading.value

    assert read("lag.intake") == 7
    assert read("lag.join") == 90, "of the slowest process"
    assert read("lag.roll_ups") == 5
    assert read("writers.unexplained") == 12
    assert read("writers.lossy") == 2
    assert read("traffic.silence") == 1800
    assert read("traffic.predictions") == 6, "of the last whole hour"
    assert read("traffic.predictions[window=2h]") == 11
    lag["processes"] = [{"behind_s": None}]
    assert read("lag.join") is None


def test_ages_of_a_feature_are_those_of_the_freshness_page(flywheel: Flywheel) -> None:
    flywheel.configure(drift={"features": {"amount": {"max_age": "2h"}}})
    flywheel.clock.set(START + DAY + HOUR)
    served = ages(2, mean=5400)
    serve_ages(flywheel, 0, served)
    assert value(flywheel, 'freshness.max[feature="amount"]') == pytest.approx(served.max(), abs=1e-5)
    assert value(flywheel, 'freshness.p50[feature="amount"]') == pytest.approx(np.median(served), rel=0.03)
    assert outcome(flywheel, 'freshness.p99[feature="amount"] > 2h').holds is True
    assert value(flywheel, 'freshness.stale[feature="amount"]') == pytest.approx((served > 7200).mean(), abs=0.01)
    assert outcome(flywheel, 'drift.verdict[role=freshness, feature="amount"] == drift').holds is True


def test_ages_that_nobody_logs_are_not_known(flywheel: Flywheel) -> None:
    serve_ages(flywheel, 0, ages(2))
    missing = outcome(flywheel, 'freshness.p99[feature="weather"] > 1h')
    assert (missing.holds, missing.why_unknown) == (
        None,
        "no value of this feature in the window says when it was computed",
    )
    assert outcome(flywheel, 'freshness.stale[feature="amount"] > 0.1').why_unknown == "the feature has no max_age"
