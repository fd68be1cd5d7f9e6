"""Ages of feature values: what is profiled of them, what is a finding, and what is not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from tests.monitoring.conftest import DAY, HOUR, START, Flywheel
from upshot_monitoring.drift.baselines import Asked
from upshot_monitoring.drift.kept import AskedKept
from upshot_monitoring.profiles.maps import MAX_NAMES


def serve_ages(
    flywheel: Flywheel, day: int, ages_s: NDArray[np.float64], *, name: str = "amount", every: int = 1
) -> None:
    """A day of predictions whose feature was computed so many seconds before each; only every n-th says when."""
    predictions = []
    for i, age in enumerate(ages_s.tolist()):
        at = START + day * DAY + i * (DAY / len(ages_s))
        times = {name: (at - timedelta(seconds=age)).timestamp()} if i % every == 0 else None
        one = {
            "request_id": f"{flywheel.model}-{day}-{i}",
            "features": {name: 1.0 + i % 7},
            "prediction": 0.5,
            "at": at,
        }
        predictions.append(one | ({"feature_times": times} if times else {}))
    flywheel.serve(predictions)
    flywheel.roll()


def ages(seed: int, mean: float = 3600.0, rows: int = 600) -> NDArray[np.float64]:
    return np.random.default_rng(seed).gamma(9.0, mean / 9.0, rows)


def row_of(flywheel: Flywheel, name: str = "amount", **asked: Any) -> dict[str, Any]:
    rows = flywheel.monitor.freshness(flywheel.model, Asked(**asked))["features"]
    found: dict[str, Any] = {row["feature"]: row for row in rows}[name]
    return found


def test_ages_are_those_of_the_rows(flywheel: Flywheel) -> None:
    """Least, largest and mean exactly; quantiles within a bucket of the profile."""
    served = ages(1)
    serve_ages(flywheel, 0, served)
    row = row_of(flywheel)
    assert row["rows"] == 600
    assert row["with_time_share"] == 1
    assert row["age_s"]["min"] == pytest.approx(served.min(), abs=1e-5)
    assert row["age_s"]["max"] == pytest.approx(served.max(), abs=1e-5)
    assert row["age_s"]["mean"] == pytest.approx(served.mean(), rel=1e-9)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert row["age_s"][name] == pytest.approx(np.quantile(served, share), rel=0.03)


def test_rows_that_do_not_say_when_are_counted(flywheel: Flywheel) -> None:
    serve_ages(flywheel, 0, ages(1), every=3)
    row = row_of(flywheel)
    assert row["rows"] == 600
    assert row["with_time_share"] == pytest.approx(1 / 3)


def test_values_older_than_the_limit_are_a_finding_without_anything_to_compare_with(flywheel: Flywheel) -> None:
    flywheel.configure(drift={"features": {"amount": {"max_age": "2h"}}})
    served = ages(2, mean=5400)
    serve_ages(flywheel, 0, served)
    row = row_of(flywheel)
    assert row["verdict"] == "drift"
    assert "older than 2 h" in row["reason"]
    assert row["max_age_s"] == 7200
    assert row["stale_share"] == pytest.approx((served > 7200).mean(), abs=0.01)


def test_values_within_the_limit_are_none(flywheel: Flywheel) -> None:
    flywheel.configure(drift={"features": {"amount": {"max_age": "1d"}}})
    serve_ages(flywheel, 0, ages(3))
    serve_ages(flywheel, 1, ages(4))
    row = row_of(flywheel)
    assert (row["verdict"], row["stale_share"]) == ("ok", 0)


def test_a_job_that_stands_still_is_seen_against_the_day_before(flywheel: Flywheel) -> None:
    serve_ages(flywheel, 0, ages(5))
    serve_ages(flywheel, 1, ages(6) + 7200)
    answer = flywheel.monitor.freshness(flywheel.model, Asked())
    assert answer["baseline"] == "previous"
    row = row_of(flywheel)
    assert (row["verdict"], row["method"]) == ("drift", "wasserstein")
    assert row["age_s"]["p50"] - row["age_s_before"]["p50"] == pytest.approx(7200, rel=0.1)


def test_a_day_a_little_later_is_no_finding(flywheel: Flywheel) -> None:
    """A quarter of a standard deviation: rows share the time at which their feature was computed."""
    serve_ages(flywheel, 0, ages(7))
    serve_ages(flywheel, 1, ages(8) + 300)
    assert row_of(flywheel)["verdict"] == "ok"


def test_values_of_the_future_are_a_finding(flywheel: Flywheel) -> None:
    served = ages(9)
    served[::20] = -60
    serve_ages(flywheel, 0, served)
    row = row_of(flywheel)
    assert row["verdict"] == "drift"
    assert "computed after the prediction" in row["reason"]
    assert row["future_share"] == pytest.approx(0.05, abs=0.002)


def test_clocks_that_differ_by_less_than_a_second_are_none(flywheel: Flywheel) -> None:
    serve_ages(flywheel, 0, np.full(600, -0.5))
    row = row_of(flywheel)
    assert row["future_share"] == 0
    assert row["verdict"] == "no_verdict"


def test_too_few_rows_have_no_verdict(flywheel: Flywheel) -> None:
    flywheel.configure(drift={"features": {"amount": {"max_age": "1h"}}})
    serve_ages(flywheel, 0, ages(1, mean=7200, rows=50))
    row = row_of(flywheel)
    assert row["verdict"] == "no_verdict"
    assert row["stale_share"] > 0.5


def test_serving_against_the_ages_of_the_training_set(flywheel: Flywheel, tmp_path: Path) -> None:
    """`feature_time__amount` beside `predicted_at` is an age; without a time zone it is UTC."""
    trained = ages(10, rows=2000)
    at = np.full(2000, np.datetime64("2024-02-01T00:00:00", "us"))
    table = pa.table(
        {
            "predicted_at": pa.array(at, pa.timestamp("us", "UTC")),
            "feature__amount": np.arange(2000.0),
            "feature_time__amount": at - (trained * 1e6).astype("timedelta64[us]"),
        }
    )
    pq.write_table(table, tmp_path / "training.parquet")
    flywheel.monitor.add_reference(flywheel.model, tmp_path / "training.parquet")
    serve_ages(flywheel, 0, ages(11) + 7200)
    answer = flywheel.monitor.freshness(flywheel.model, Asked())
    assert answer["baseline"] == "reference"
    row = row_of(flywheel)
    assert (row["verdict"], row["rows_reference"]) == ("drift", 2000)
    assert row["age_s_before"]["mean"] == pytest.approx(trained.mean(), rel=1e-6)


def test_a_training_set_without_ages_leaves_the_day_before(flywheel: Flywheel, tmp_path: Path) -> None:
    """Drift against the reference has the ages, too: compared with the window before, and it says so."""
    pq.write_table(pa.table({"amount": np.tile(np.arange(1.0, 8.0), 300)}), tmp_path / "training.parquet")
    flywheel.monitor.add_reference(flywheel.model, tmp_path / "training.parquet")
    serve_ages(flywheel, 0, ages(12))
    serve_ages(flywheel, 1, ages(13) + 7200)
    answer = flywheel.monitor.drift(flywheel.model, Asked(), exact=True)
    rows = {(row["role"], row["feature"]): row for row in answer["features"]}
    age, amount = rows["freshness", "amount (freshness)"], rows["feature", "amount"]
    assert (age["baseline"], age["verdict"]) == ("previous", "drift")
    assert age["baseline_id"] == "2024-03-04T00:00Z"
    assert (amount["baseline"], amount["verdict"]) == ("reference", "ok")
    assert answer["drifted"] == 0  # it is no feature
    assert age["exact"]["statistic"] == pytest.approx(age["statistic"], abs=2e-3)
    assert amount["exact"]["statistic"] == pytest.approx(amount["statistic"], abs=2e-3)
    skew = flywheel.monitor.skew(flywheel.model, Asked())
    assert {row["role"] for row in skew["features"]} == {"feature"}


def test_one_feature_over_time(flywheel: Flywheel) -> None:
    for day in range(3):
        serve_ages(flywheel, day, ages(20 + day) + 7200 * (day == 2))
    answer = flywheel.monitor.feature(flywheel.model, "amount", Asked(), "freshness")
    assert answer["role"] == "freshness"
    assert [day["verdict"] for day in answer["windows"]] == ["no_verdict", "ok", "drift"]
    assert flywheel.monitor.feature(flywheel.model, "amount", Asked())["role"] == "feature"


def test_verdicts_on_ages_are_kept(flywheel: Flywheel) -> None:
    flywheel.configure(drift={"features": {"amount": {"max_age": "1h"}}})
    serve_ages(flywheel, 0, ages(30))
    flywheel.clock.set(START + DAY + HOUR)
    flywheel.monitor.give_verdicts(flywheel.model)
    kept = {row["role"]: row for row in flywheel.monitor.verdicts(flywheel.model, AskedKept(feature="amount"))}
    assert (kept["freshness"]["verdict"], kept["freshness"]["baseline"]) == ("drift", "previous")


def test_late_rows_are_counted_as_the_others(flywheel: Flywheel) -> None:
    first, late = ages(40), ages(41)
    serve_ages(flywheel, 0, first)
    assert row_of(flywheel)["rows"] == 600
    flywheel.serve(
        {
            "request_id": f"{flywheel.model}-late-{i}",
            "features": {"amount": 1.0},
            "prediction": 0.5,
            "at": START + HOUR,
            "feature_times": {"amount": (START + HOUR - timedelta(seconds=age)).timestamp()},
        }
        for i, age in enumerate(late.tolist())
    )
    flywheel.roll()
    row = row_of(flywheel)
    assert row["rows"] == 1200
    assert row["age_s"]["mean"] == pytest.approx(np.concatenate([first, late]).mean(), rel=1e-8)


def test_a_model_without_times_has_none(flywheel: Flywheel) -> None:
    flywheel.serve([{"request_id": flywheel.model, "features": {"x": 1}, "prediction": 1.0}])
    flywheel.roll()
    assert flywheel.monitor.freshness(flywheel.model, Asked())["features"] == []


def test_names_beyond_the_bound_are_left_out(flywheel: Flywheel) -> None:
    times = {f"f{i:05}": START.timestamp() for i in range(MAX_NAMES + 1)}
    flywheel.serve([{"request_id": flywheel.model, "features": {"x": 1}, "prediction": 1.0, "feature_times": times}])
    flywheel.roll()
    assert len(flywheel.monitor.freshness(flywheel.model, Asked())["features"]) == MAX_NAMES
