"""Attributions: importance by feature, and whether its order is what it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import ndcg_score

from tests.monitoring.conftest import DAY, START, Flywheel
from upshot_monitoring.drift.attributions import ndcg, ranking
from upshot_monitoring.drift.baselines import Asked
from upshot_monitoring.drift.verdict import settle
from upshot_monitoring.profiles.from_values import profile_numbers

QUIET = {"amount": 0.5, "country": 0.3, "age": 0.2}
TURNED = {"amount": 0.2, "country": 0.3, "age": 0.5}


def drawn(scales: Mapping[str, float], rows: int, seed: int) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, scale, rows) for name, scale in scales.items()}


def serve_day(
    flywheel: Flywheel, day: int, scales: Mapping[str, float], *, rows: int = 600, version: str = "1"
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """A day of predictions with attributions of these spreads."""
    values = drawn(scales, rows, day)
    flywheel.serve(
        (
            {
                "request_id": f"{flywheel.model}-{version}-{day}-{i}",
                "features": {"amount": float(i % 7)},
                "prediction": 0.5,
                "attributions": {name: float(of[i]) for name, of in values.items()},
                "at": START + day * DAY + i * (DAY / rows),
            }
            for i in range(rows)
        ),
        version=version,
    )
    flywheel.roll()
    return values


def test_the_measure_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        before, now = rng.gamma(1, 1, 30), rng.gamma(1, 1, 30)
        assert ndcg(before, now) == pytest.approx(ndcg_score([before], [now]), abs=1e-12)


def test_the_example_of_its_description() -> None:
    assert ndcg([0.5, 0.3, 0.2], [0.2, 0.3, 0.5]) == pytest.approx(0.810, abs=5e-4)


def test_features_that_are_equally_important_keep_their_order() -> None:
    assert ndcg([0.5, 0.3, 0.2], [0.1, 0.1, 0.1]) == 1


@pytest.mark.parametrize("center", [0.0, 0.3, 5.0, -5.0])
def test_the_mean_absolute_value_of_a_profile(center: float) -> None:
    """Exact but for the one bucket with both signs."""
    x = np.random.default_rng(1).normal(center, 1, 20_000)
    assert profile_numbers(x).mean_abs == pytest.approx(np.abs(x).mean(), rel=1e-4)


def test_importance_is_the_mean_absolute_attribution(flywheel: Flywheel) -> None:
    before, now = serve_day(flywheel, 0, QUIET), serve_day(flywheel, 1, QUIET)
    answer = flywheel.monitor.attributions(flywheel.model, Asked())
    assert answer["baseline"] == "previous"
    assert [row["feature"] for row in answer["features"]] == ["amount", "country", "age"]
    for rank, row in enumerate(answer["features"], 1):
        assert row["importance"] == pytest.approx(np.abs(now[row["feature"]]).mean(), rel=1e-3)
        assert row["importance_before"] == pytest.approx(np.abs(before[row["feature"]]).mean(), rel=1e-3)
        assert row["rank"] == row["rank_before"] == rank
    assert sum(row["share"] for row in answer["features"]) == pytest.approx(1)
    assert (answer["ranking"]["verdict"], answer["ranking"]["statistic"]) == ("ok", 1)


def test_a_model_that_leans_on_other_features_is_drift(flywheel: Flywheel) -> None:
    serve_day(flywheel, 0, QUIET)
    serve_day(flywheel, 1, TURNED)
    ranking = flywheel.monitor.attributions(flywheel.model, Asked())["ranking"]
    assert ranking["verdict"] == "drift"
    assert ranking["statistic"] == pytest.approx(0.81, abs=0.02)
    assert (ranking["threshold"], ranking["direction"]) == (0.9, "below")
    assert (ranking["rows_reference"], ranking["rows_current"]) == (600, 600)
    drift = {(row["role"], row["feature"]): row for row in flywheel.monitor.drift(flywheel.model, Asked())["features"]}
    assert drift["ranking", "attributions"]["verdict"] == "drift"
    assert drift["attribution", "age"]["verdict"] == "drift"


def test_an_order_that_noise_changed_is_none(flywheel: Flywheel) -> None:
    """Twelve features of about the same importance, few rows: their order is chance."""
    same = {f"f{i}": 0.3 for i in range(12)}
    serve_day(flywheel, 0, same, rows=120)
    serve_day(flywheel, 1, same, rows=120)
    answer = flywheel.monitor.attributions(flywheel.model, Asked())
    assert [row["rank_before"] for row in answer["features"]] != list(range(1, 13))
    assert answer["ranking"]["verdict"] != "drift"


def test_false_alarms_of_the_ranking() -> None:
    """Importances that fall steeply, 200 quiet days of 200 rows: no alarm at a rate of 0.01 a day is at most 6 (99.9 %)."""
    rng = np.random.default_rng(5)
    scales = 0.5 ** np.arange(8)

    def day() -> dict[tuple[str, str], Any]:
        return {
            ("attribution", f"f{i}"): profile_numbers(rng.standard_t(3, 200) * scale) for i, scale in enumerate(scales)
        }

    alarms = 0
    for _ in range(200):
        before, now = day(), day()
        found = ranking(before.get, now, 100)
        assert found is not None
        settle([found])
        alarms += found.verdict == "drift"
    assert alarms <= 6


def test_versions_are_kept_apart(flywheel: Flywheel) -> None:
    serve_day(flywheel, 0, QUIET)
    serve_day(flywheel, 1, QUIET)
    serve_day(flywheel, 0, QUIET, version="2")
    serve_day(flywheel, 1, TURNED, version="2")
    for version, verdict in (("1", "ok"), ("2", "drift")):
        assert flywheel.monitor.attributions(flywheel.model, Asked(version=version))["ranking"]["verdict"] == verdict


def test_the_attributions_of_a_training_set_are_the_baseline(flywheel: Flywheel, tmp_path: Path) -> None:
    training = {f"attribution__{name}": of for name, of in drawn(QUIET, 2000, 99).items()}
    pq.write_table(pa.table({"amount": np.tile(np.arange(7.0), 300)[:2000], **training}), tmp_path / "t.parquet")
    flywheel.monitor.add_reference(flywheel.model, tmp_path / "t.parquet")
    serve_day(flywheel, 0, TURNED)
    answer = flywheel.monitor.attributions(flywheel.model, Asked())
    assert (answer["baseline"], answer["ranking"]["verdict"]) == ("reference", "drift")
    assert answer["ranking"]["rows_reference"] == 2000


def test_a_feature_that_carries_nothing_any_more(flywheel: Flywheel) -> None:
    """It is not in the rows any more: its attributions are missing, which is a finding of its own."""
    serve_day(flywheel, 0, QUIET)
    serve_day(flywheel, 1, {"amount": 0.5, "country": 0.3, "age": 0.0})
    rows = {row["feature"]: row for row in flywheel.monitor.attributions(flywheel.model, Asked())["features"]}
    assert (rows["age"]["importance"], rows["age"]["verdict"]) == (0, "drift")


def test_nothing_contributed_before(flywheel: Flywheel) -> None:
    serve_day(flywheel, 0, dict.fromkeys(QUIET, 0.0))
    serve_day(flywheel, 1, QUIET)
    ranking = flywheel.monitor.attributions(flywheel.model, Asked())["ranking"]
    assert (ranking["verdict"], ranking["statistic"]) == ("no_verdict", None)
    assert "contributed" in ranking["reason"]


def test_one_feature_has_no_order(flywheel: Flywheel) -> None:
    serve_day(flywheel, 0, {"amount": 0.5})
    serve_day(flywheel, 1, {"amount": 0.5})
    assert flywheel.monitor.attributions(flywheel.model, Asked())["ranking"]["verdict"] == "no_verdict"


def test_a_model_without_attributions(flywheel: Flywheel) -> None:
    flywheel.serve([{"request_id": flywheel.model, "features": {"x": 1}, "prediction": 1.0}])
    flywheel.roll()
    answer = flywheel.monitor.attributions(flywheel.model, Asked())
    assert (answer["ranking"], answer["features"]) == (None, [])
